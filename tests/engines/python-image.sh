#!/usr/bin/env bash
# Makes the image mini-python:3.11 from this machine's Debian packages (busybox-static, python3, python3-pip): no registry is needed.
set -euo pipefail
R=$(mktemp -d); trap 'rm -rf "$R"' EXIT
mkdir -p "$R"/{bin,tmp,etc,root,app,usr/bin,usr/lib,proc,sys,dev}; chmod 1777 "$R/tmp"; chmod 755 "$R"
cp /bin/busybox "$R/bin/"; for a in $(/bin/busybox --list); do [ -e "$R/bin/$a" ] || ln -s busybox "$R/bin/$a"; done
V=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cp -L "/usr/bin/python$V" "$R/usr/bin/"; ln -s "python$V" "$R/usr/bin/python3"; ln -s "python$V" "$R/usr/bin/python"; ln -s /bin/env "$R/usr/bin/env"
cp -a "/usr/lib/python$V" "$R/usr/lib/"; rm -rf "$R/usr/lib/python$V"/{test,idlelib,lib2to3,EXTERNALLY-MANAGED,sitecustomize.py} "$R/usr/lib/python$V"/config-*
for f in "/usr/bin/python$V" "/usr/lib/python$V"/lib-dynload/*.so; do ldd "$f"; done 2>/dev/null | grep -oE '/[^ ]+\.so[^ ]*' | sort -u | while read -r l; do mkdir -p "$R$(dirname "$l")"; cp -L "$l" "$R$l"; done
mkdir -p "$R/usr/lib/python3/dist-packages"; cp -a /usr/lib/python3/dist-packages/{pip,setuptools,pkg_resources,wheel} "$R/usr/lib/python3/dist-packages/" 2>/dev/null || true
printf 'root:x:0:0:root:/root:/bin/sh\n' > "$R/etc/passwd"; printf 'root:x:0:\n' > "$R/etc/group"
tar -C "$R" -c . | docker import --change 'CMD ["sh"]' --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' - mini-python:3.11 > /dev/null
