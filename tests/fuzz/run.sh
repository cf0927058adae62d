#!/usr/bin/env bash
# Builds every fuzz target with clang and libFuzzer, and runs each for SECONDS, as many at a time as there are cores.
#
#   tests/fuzz/run.sh SECONDS [TARGET ...]      TARGET as in tests/fuzz/TARGET_fuzz.c
#
# TAP on stdout.  What a target finds stays in build/fuzz/found/; an input that it finds worth keeping is copied into the corpus by
# hand.  A fault found here comes back in every `make check`, once its input lies in tests/fuzz/corpus/.
set -uo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:?usage: tests/fuzz/run.sh SECONDS [TARGET ...]}
shift
top=$PWD build=${ASSAY_FUZZ_BUILD:-$PWD/build/fuzz} jobs=$(nproc)
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cd tests/fuzz && ls ./*_fuzz.c | sed 's|^\./||; s|_fuzz\.c$||')

mkdir -p "$build/found"
[ -x configure ] || ./autogen.sh >"$build/log" 2>&1 || { cat "$build/log"; exit 1; }
programs=("${targets[@]/#/tests/fuzz/}")
if ! { { [ -f "$build/config.status" ] || (cd "$build" && "$top/configure" -q CC=clang CFLAGS="-O1 -g" --enable-fuzz --enable-asan --enable-ubsan); } &&
  make -C "$build" -j"$jobs" "${programs[@]/%/_fuzz}"; } >"$build/log" 2>&1; then
  echo "1..1"
  echo "not ok 1 - fuzz targets build"
  tail -n 40 "$build/log" | sed 's/^/# /'
  exit 1
fi

one() { # target: grows a scratch corpus of its own, so that the tree stays as it is
  local t=$1 dir=$build/found/$1
  mkdir -p "$dir/corpus"
  "$build/tests/fuzz/${t}_fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
    -artifact_prefix="$dir/" "$dir/corpus" "$top/tests/fuzz/corpus/$t" >"$dir/log" 2>&1
}
export -f one
export build top seconds
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -c 'one {}; echo $? >"$build/found/{}/status"'

echo "1..${#targets[@]}"
n=0 bad=0
for t in "${targets[@]}"; do
  n=$((n + 1))
  dir=$build/found/$t
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$dir/log")
  if [ "$(cat "$dir/status")" = 0 ] && [ -n "$runs" ]; then
    echo "ok $n - fuzz $t: $runs runs in $seconds s"
  else
    bad=1
    echo "not ok $n - fuzz $t"
    tail -n 30 "$dir/log" | sed 's/^/# /'
  fi
done
exit $bad
