#!/usr/bin/env bash
# A language image for the tests of other rooms: prints its directory, and builds it first when it is absent or
# not that of the lock.
#   tests/images/rootfs.sh [--tar] NAME...      one line each; --tar prints the tar (the Docker layer) instead
#
# What it builds stays in build/images (ASSAY_IMAGES names another place, which several source trees may share)
# and is used again. The committed locks are tried first; where the mirror has moved on since they were written,
# a lock of what it has now is made in build/images/locks, and standard error says so. Ends with 77 where images
# cannot be built here, after one line that says why.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
images=${ASSAY_IMAGES:-$top/build/images}
ending=
if [ "${1:-}" = --tar ]; then
  ending=.tar
  shift
fi
[ $# -gt 0 ] || { echo "usage: tests/images/rootfs.sh [--tar] NAME..." >&2; exit 2; }

command -v apt-get >/dev/null || { echo "rootfs.sh: images are built from Debian packages, and there is no apt here" >&2; exit 77; }
"$top/packaging/install-deps" images >&2 || exit 77
mkdir -p "$images"

build() { # definitions, more arguments...
  local definitions=$1
  shift
  "$top/packaging/images/assay-images" --output "$images" --definitions "$definitions" --no-docker "$@" >&2
}

for name in "$@"; do
  rc=0
  build "$top/packaging/images" "$name" || rc=$?
  if [ $rc = 3 ] || [ $rc = 4 ]; then
    echo "rootfs.sh: $name is built from a lock of today in $images/locks" >&2
    mkdir -p "$images/locks"
    cp "$top/packaging/images/$name.image" "$images/locks/"
    rc=0
    # a lock of an earlier run does, as long as its packages are there
    build "$images/locks" "$name" || build "$images/locks" --relock "$name" || rc=$?
  fi
  [ $rc = 0 ] || exit $rc
  echo "$images/$name$ending"
done
