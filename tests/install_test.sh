#!/usr/bin/env bash
# make install into a staged prefix puts each thing where the documentation says, and nothing elsewhere.
#   tests/install_test.sh BUILD-DIRECTORY PREFIX
set -uo pipefail
build=$1 prefix=$2 n=0 failed=0
ok() { # what, command...
  local what=$1
  shift
  n=$((n + 1))
  if "$@"; then echo "ok $n - $what"; else echo "not ok $n - $what"; failed=1; fi
}
rm -rf "$prefix"
ok "make install succeeds" make -C "$build" -s install
for f in bin/assayd bin/assay libexec/assay/assay-boxkeeper libexec/assay/assay-warden libexec/assay/assay-unpack libexec/assay/assay-imgfilter share/assay/processors/image.json share/assay/pits/default.json lib/assay/plugins/assay_store_sqlite.so \
  lib/assay/plugins/assay_blob_fs.so lib/assay/plugins/assay_sandbox_native.so lib/assay/plugins/assay_sandbox_docker.so share/assay/docker-seccomp.json lib/pkgconfig/assay-plugin.pc lib/libassay_sdk.a \
  include/assay/plugin.h share/assay/languages/c.json share/assay/languages/python.json share/assay/docs/openapi.json \
  share/assay/fixtures/demo/benchmark.json bin/assay-images share/assay/images/languages.image share/assay/images/languages.lock; do
  ok "installs $f" test -s "$prefix/$f"
done
for s in auth agents benchmarks submissions runner scoring traces leaderboard; do
  ok "installs the service $s" test -s "$prefix/lib/assay/plugins/assay_$s.so"
done
static() { ! LC_ALL=C readelf -d "$prefix/libexec/assay/assay-warden" 2>&1 | grep -q NEEDED; }
ok "the warden is static" static
only_symbol() { [ "$(nm -D --defined-only "$1" | grep -vc ' [RDB] assay_plugin$')" = 0 ]; }
for p in "$prefix"/lib/assay/plugins/*.so; do
  ok "$(basename "$p") exports assay_plugin and nothing else" only_symbol "$p"
done
pages() { test ! -f "$(dirname "$0")/../build/dashboard/www/index.html" || { test -s "$prefix/share/assay/www/index.html" && test -s "$prefix/share/assay/www/ui/licenses.txt" && test -s "$prefix/share/assay/www/swagger/index.html"; }; }
ok "the dashboard is installed when it was built" pages
hardened() { LC_ALL=C readelf -lW "$prefix/bin/assayd" | grep -q GNU_RELRO && LC_ALL=C readelf -dW "$prefix/bin/assayd" | grep -q BIND_NOW && LC_ALL=C readelf -hW "$prefix/bin/assayd" | grep -q 'DYN (Pos'; }
ok "assayd is position-independent with full RELRO" hardened
ok "assayd --version names the program" grep -q '^assayd ' <("$prefix/bin/assayd" --version)
ok "assay --version names the program" grep -q '^assay ' <("$prefix/bin/assay" --version)
locks_read() { "$prefix/bin/assay-images" --check >/dev/null; }
ok "the installed assay-images finds its definitions and locks" locks_read
echo "1..$n"
exit $failed
