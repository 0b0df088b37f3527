#!/usr/bin/env bash
# A registry of images on loopback, with a login (launch, and the password below), its state in the folder $1.
# Port: $2 (15000). Stop it by $1/registry.pid.
set -euo pipefail
D=${1:?folder}; PORT=${2:-15000}; mkdir -p "$D/images"; D=$(cd "$D" && pwd)
command -v docker-registry > /dev/null && command -v htpasswd > /dev/null || { echo "docker-registry or htpasswd is not installed: apt-get install docker-registry apache2-utils" >&2; exit 1; }
htpasswd -Bbn launch 'pass:wörd>>>???' > "$D/htpasswd"
cat > "$D/config.yml" << END
version: 0.1
log: {level: warn, accesslog: {disabled: false}}
storage: {filesystem: {rootdirectory: $D/images}}
http: {addr: 127.0.0.1:$PORT}
auth: {htpasswd: {realm: test, path: $D/htpasswd}}
END
setsid nohup docker-registry serve "$D/config.yml" > "$D/log" 2>&1 < /dev/null &
echo $! > "$D/registry.pid"
for _ in $(seq 100); do curl -s -o /dev/null "http://127.0.0.1:$PORT/v2/" && exit 0; sleep 0.1; done
echo "the registry did not start:" >&2; tail -5 "$D/log" >&2; exit 1
