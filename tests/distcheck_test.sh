#!/usr/bin/env bash
# make distcheck: the tarball holds all that a build, its tests, install and uninstall need.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$PWD/build/test/distcheck.make.log
mkdir -p build/gcc build/test
[ -f build/gcc/config.status ] || { ./autogen.sh && (cd build/gcc && ../../configure -q); } >"$log" 2>&1
echo 1..1
if make -C build/gcc -j"$(nproc)" distcheck >"$log" 2>&1; then
  echo "ok 1 - make distcheck"
else
  echo "not ok 1 - make distcheck"
  tail -n 30 "$log" | sed 's/^/# /'
  exit 1
fi
