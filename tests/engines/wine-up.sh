#!/usr/bin/env bash
# A Windows of Wine's for the tests: makes a prefix in the folder $1 where there is none of this version, and says where.
set -euo pipefail
D=${1:?folder}; command -v wine > /dev/null || { echo "wine is not installed: apt-get install wine64 wine" >&2; exit 1; }
P=$D/$(wine --version 2> /dev/null | tail -1 | tr -c 'A-Za-z0-9.\n' _)
mkdir -p "$D"
exec 9> "$D/lock"; flock 9
if [ ! -f "$P/ready" ]; then
  rm -rf "$P"
  # No menus, no browser, no .NET Framework: nothing of it is used, and its questions would wait for ever.
  WINEPREFIX=$P WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml,winemenubuilder.exe=' wine winecfg -v win10 > /dev/null 2>&1 9>&-
  WINEPREFIX=$P wineserver -w 9>&-
  touch "$P/ready"
fi
echo "$P"
