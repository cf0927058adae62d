#!/usr/bin/env bash
# make distcheck: the tarball holds all that a build, its tests, install and uninstall need.
# All tests are built from it, and by day those are run that read files of the tarball; by night all of them are.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$PWD/build/test/distcheck.make.log
mkdir -p build/gcc build/test
[ -f build/gcc/config.status ] || { ./autogen.sh && (cd build/gcc && ../../configure -q); } >"$log" 2>&1
echo 1..1
few=()
[ "${ASSAY_NIGHT:-0}" != 0 ] || few=("AM_MAKEFLAGS=TESTS='$(grep -rhoE 'tests/(fuzz/[a-z0-9_]+_fuzz|unit/(cli|simulate)_test\.py)' --include=room.mk . | sort -u | tr '\n' ' ')'")
if make -C build/gcc -j"$(nproc)" "${few[@]}" distcheck >"$log" 2>&1; then
  echo "ok 1 - make distcheck"
else
  echo "not ok 1 - make distcheck"
  tail -n 30 "$log" | sed 's/^/# /'
  exit 1
fi
