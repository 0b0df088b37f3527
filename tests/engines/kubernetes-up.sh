#!/usr/bin/env bash
# Starts an API server of Kubernetes 1.20.2 with etcd and the controllers, but no nodes, on loopback, with its state in the
# folder $1. The tests play the nodes. Ports: $2 (API server, 16443) and $3 (etcd, 12379).
# $1/kubeconfig is its administrator's. Stop it by the process ids in $1/*.pid; $1/apiserver.sh starts the API server again.
# Debian has only the source of it, which is built once, in some minutes, and kept in the user's cache folder.
set -euo pipefail
D=${1:?folder}; PORT=${2:-16443}; ETCD=${3:-12379}; VERSION=1.20.2
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/wandblaunch-kubernetes; BIN=$CACHE/$VERSION
mkdir -p "$D" "$CACHE"; D=$(cd "$D" && pwd); umask 077

build() {
  for needed in go rsync make dpkg-source; do
    command -v "$needed" > /dev/null || { echo "$needed is not installed: apt-get install golang-go rsync make dpkg-dev" >&2; exit 1; }
  done
  work=$(mktemp -d "$CACHE/build.XXXXXX"); trap 'rm -rf "$work"' EXIT
  mkdir -p "$work"/apt/lists/partial "$work"/apt/cache/archives/partial "$work"/home
  # A list of its own: the machine's stays as it is. From the same place as its packages.
  local from; from=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' | grep -v updates | head -1)
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${from:?apt knows no packages of Debian} main" > "$work/apt/sources.list"
  local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  (
    cd "$work"; "${apt[@]}" source --only-source kubernetes > source.log 2>&1 || { tail -5 source.log >&2; exit 1; }
    # Its own reflect2 crashes in maps since Go 1.18; Debian's package of the next one does not.
    apt-get -qq -o APT::Sandbox::User=root download golang-github-modern-go-reflect2-dev && dpkg -x golang-github-modern-go-reflect2-dev_*.deb reflect2
    cd kubernetes-*"$VERSION"
    rm -rf vendor/github.com/modern-go/reflect2
    cp -r "$work/reflect2/usr/share/gocode/src/github.com/modern-go/reflect2" vendor/github.com/modern-go/
    env -u GOPATH -u GOFLAGS HOME="$work/home" CGO_ENABLED=0 KUBE_GIT_VERSION=v$VERSION KUBE_GIT_COMMIT=0 KUBE_GIT_TREE_STATE=archive \
      make all WHAT="cmd/kube-apiserver cmd/kube-controller-manager" GOLDFLAGS="-s -w" > "$work/build.log" 2>&1 || { tail -20 "$work/build.log" >&2; exit 1; }
    mkdir "$work/bin"; cp _output/local/bin/linux/*/kube-{apiserver,controller-manager} "$work/bin"
  )
  mv "$work/bin" "$BIN"
}

(
  flock 9
  [ -d "$BIN" ] || build
) 9> "$CACHE/lock"
command -v etcd > /dev/null || { echo "etcd is not installed: apt-get install etcd-server" >&2; exit 1; }

# Keys: an authority, the server, its administrator, and the one that signs the tokens of service accounts.
if [ ! -f "$D/ca.crt" ]; then
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=test-authority -keyout "$D/ca.key" -out "$D/ca.crt" 2> /dev/null
  issue() {
    openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$D/$1.key" -out "$D/$1.csr" 2> /dev/null
    openssl x509 -req -in "$D/$1.csr" -CA "$D/ca.crt" -CAkey "$D/ca.key" -CAcreateserial -days 3650 -extfile <(echo "$3") -out "$D/$1.crt" 2> /dev/null
  }
  issue server /CN=kube-apiserver "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:10.96.0.1"
  issue admin /O=system:masters/CN=test-admin "extendedKeyUsage=clientAuth"
  openssl genrsa -out "$D/accounts.key" 2048 2> /dev/null
fi
B64() { base64 -w0 < "$1"; }
cat > "$D/kubeconfig" << END
apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$PORT", certificate-authority-data: $(B64 "$D/ca.crt")}}]
users: [{name: admin, user: {client-certificate-data: $(B64 "$D/admin.crt"), client-key-data: $(B64 "$D/admin.key")}}]
contexts: [{name: test, context: {cluster: test, user: admin, namespace: default}}]
END

start() { local name=$1; shift; setsid nohup "$@" >> "$D/$name.log" 2>&1 < /dev/null & echo $! > "$D/$name.pid"; }
start etcd etcd --data-dir "$D/etcd" --listen-client-urls "http://127.0.0.1:$ETCD" --advertise-client-urls "http://127.0.0.1:$ETCD" \
  --listen-peer-urls "http://127.0.0.1:$((ETCD + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((ETCD + 1))" --initial-cluster "default=http://127.0.0.1:$((ETCD + 1))" --unsafe-no-fsync

cat > "$D/apiserver.sh" << END
#!/usr/bin/env bash
# Starts the API server, and returns when it is ready.
setsid nohup "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:$ETCD --bind-address=127.0.0.1 --secure-port=$PORT \\
  --tls-cert-file="$D/server.crt" --tls-private-key-file="$D/server.key" --client-ca-file="$D/ca.crt" --authorization-mode=RBAC \\
  --kubelet-client-certificate="$D/admin.crt" --kubelet-client-key="$D/admin.key" --kubelet-preferred-address-types=InternalIP \\
  --service-account-issuer=https://localhost --service-account-key-file="$D/accounts.key" --service-account-signing-key-file="$D/accounts.key" \\
  --service-cluster-ip-range=10.96.0.0/16 --allow-privileged --feature-gates=TTLAfterFinished=true \\
  >> "$D/apiserver.log" 2>&1 < /dev/null &
echo \$! > "$D/apiserver.pid"
for _ in \$(seq 300); do
  curl -sf --cacert "$D/ca.crt" --cert "$D/admin.crt" --key "$D/admin.key" https://127.0.0.1:$PORT/readyz > /dev/null && exit 0
  sleep 0.1
done
echo "kube-apiserver did not start:" >&2; tail -5 "$D/apiserver.log" >&2; exit 1
END
chmod +x "$D/apiserver.sh"; "$D/apiserver.sh"

start controllers "$BIN/kube-controller-manager" --kubeconfig="$D/kubeconfig" --leader-elect=false --kube-api-qps=500 --kube-api-burst=1000 --bind-address=127.0.0.1 --secure-port=0 --port=0 \
  --controllers=job,garbagecollector,namespace,serviceaccount,serviceaccount-token,resourcequota,ttl-after-finished \
  --service-account-private-key-file="$D/accounts.key" --root-ca-file="$D/ca.crt" --feature-gates=TTLAfterFinished=true
# Pods need it, and a controller makes it.
for _ in $(seq 200); do
  curl -sf --cacert "$D/ca.crt" --cert "$D/admin.crt" --key "$D/admin.key" "https://127.0.0.1:$PORT/api/v1/namespaces/default/serviceaccounts/default" | grep -q '"secrets"' && exit 0
  sleep 0.1
done
echo "kube-controller-manager did not start:" >&2; tail -5 "$D/controllers.log" >&2; exit 1
