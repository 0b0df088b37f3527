#!/usr/bin/env bash
# Starts a Docker Engine of its own on a unix socket in the folder $1. Stop it by $1/dockerd.pid.
set -euo pipefail
D=${1:?folder}; mkdir -p "$D"
setsid nohup dockerd --data-root "$D/root" --exec-root "$D/exec" -H "unix://$D/docker.sock" -p "$D/dockerd.pid" > "$D/log" 2>&1 < /dev/null &
for _ in $(seq 150); do DOCKER_HOST=unix://$D/docker.sock docker info > /dev/null 2>&1 && exit 0; sleep 0.2; done
echo "dockerd did not start:"; tail -20 "$D/log"; exit 1
