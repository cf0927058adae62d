#!/usr/bin/env bash
# The queue's test programs under valgrind: no read of what was not written, nothing touched after its end, nothing left behind.
#
#   tests/valgrind_test.sh BUILD_DIR
#
# TAP on stdout.  The programs are those of `make check`, built without sanitizers; threads take fair turns, since valgrind runs one
# at a time.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: tests/valgrind_test.sh BUILD_DIR}
programs=(ring topics mailbox pool)
log=$(mktemp)
trap 'rm -f "$log"' EXIT

grind() { # a program of the build tree, which libtool may have wrapped in a script
  "$build/libtool" --mode=execute valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,possible \
    --errors-for-leak-kinds=definite,possible --fair-sched=try "$@" >"$log" 2>&1 </dev/null
}

echo "1..$((${#programs[@]} + 1))"
if ! command -v valgrind >/dev/null; then
  for n in $(seq $((${#programs[@]} + 1))); do echo "ok $n - the queue under valgrind # SKIP valgrind is not installed"; done
  exit 0
fi
bad=0 n=0
for p in "${programs[@]}"; do
  n=$((n + 1))
  if make -C "$build" -s "tests/unit/${p}_test" >"$log" 2>&1 && grind "$build/tests/unit/${p}_test" && grep -q '^\[  PASSED  \] [1-9]\|^ok [1-9]' "$log"; then
    echo "ok $n - ${p}_test is clean under valgrind"
  else
    bad=1
    echo "not ok $n - ${p}_test is clean under valgrind"
    tail -n 40 "$log" | sed 's/^/# /'
  fi
done

# that a fault would be seen
n=$((n + 1))
if printf '#include <stdlib.h>\nint main(void) { volatile int *p = malloc(4); return *p ? 0 : 1; }\n' | cc -x c -g -O0 -o "$log.bin" - 2>/dev/null &&
  { grind "$log.bin"; [ $? = 99 ]; }; then
  echo "ok $n - a planted fault is reported"
else
  bad=1
  echo "not ok $n - a planted fault is reported"
  tail -n 20 "$log" | sed 's/^/# /'
fi
rm -f "$log.bin"
exit $bad
