#!/usr/bin/env bash
# git smart HTTP on 127.0.0.1:$2 behind basic auth (user ci, password s3cret): nginx and fcgiwrap in the folder $1.
set -euo pipefail
D=${1:?folder}; P=${2:-18080}; mkdir -p "$D/git" "$D/tmp"
git init -q --bare "$D/git/private.git"; git -C "$D/git/private.git" config http.receivepack true; git -C "$D/git/private.git" symbolic-ref HEAD refs/heads/main
printf 'ci:%s\n' "$(openssl passwd -apr1 s3cret)" > "$D/htpasswd"
cat > "$D/nginx.conf" <<C
user root; worker_processes 1; pid $D/nginx.pid; error_log $D/err.log;
events {}
http { access_log $D/acc.log; client_body_temp_path $D/tmp/b; proxy_temp_path $D/tmp/p; fastcgi_temp_path $D/tmp/f; uwsgi_temp_path $D/tmp/u; scgi_temp_path $D/tmp/s; client_max_body_size 0;
 server { listen 127.0.0.1:$P;
  location / { auth_basic git; auth_basic_user_file $D/htpasswd;
   include /etc/nginx/fastcgi_params;
   fastcgi_param SCRIPT_FILENAME /usr/lib/git-core/git-http-backend;
   fastcgi_param GIT_PROJECT_ROOT $D/git; fastcgi_param GIT_HTTP_EXPORT_ALL "";
   fastcgi_param PATH_INFO \$uri; fastcgi_param REMOTE_USER \$remote_user;
   fastcgi_param HTTP_CONTENT_ENCODING \$http_content_encoding;
   fastcgi_pass unix:$D/fcgi.sock; } } }
C
setsid nohup fcgiwrap -c 2 -s "unix:$D/fcgi.sock" > "$D/fcgi.log" 2>&1 < /dev/null & echo $! > "$D/fcgi.pid"
for _ in $(seq 100); do [ -S "$D/fcgi.sock" ] && break; sleep 0.05; done
nginx -c "$D/nginx.conf"
