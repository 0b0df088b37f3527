#!/usr/bin/env bash
# sshd on 127.0.0.1:$2 with a key and a bare repository in the folder $1; $1/ssh is a program for GIT_SSH.
set -euo pipefail
D=${1:?folder}; P=${2:-12222}; mkdir -p "$D" /run/sshd; chmod 755 /run/sshd; chmod 700 "$D"
ssh-keygen -q -t ed25519 -N '' -f "$D/host"; ssh-keygen -q -t ed25519 -N '' -f "$D/id"
cp "$D/id.pub" "$D/authorized_keys"; chmod 600 "$D/authorized_keys"
cat > "$D/sshd_config" <<C
Port $P
ListenAddress 127.0.0.1
HostKey $D/host
PidFile $D/sshd.pid
AuthorizedKeysFile $D/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
AcceptEnv SLURM_CONF
C
/usr/sbin/sshd -f "$D/sshd_config" -E "$D/sshd.log"
printf '#!/bin/sh\nexec ssh -i %s -o LogLevel=ERROR -o SendEnv=SLURM_CONF -o IdentitiesOnly=yes -o UserKnownHostsFile=%s -o StrictHostKeyChecking=no "$@"\n' "$D/id" "$D/known" > "$D/ssh"; chmod 755 "$D/ssh"
git init -q --bare "$D/private.git"; git -C "$D/private.git" symbolic-ref HEAD refs/heads/main
