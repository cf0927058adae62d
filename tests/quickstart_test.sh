#!/usr/bin/env bash
# The README's first command, run as a newcomer would, in a fresh clone; then once more, warm.
set -uo pipefail
cd "$(dirname "$0")/.."

clone=$(mktemp -d /var/tmp/assay-quickstart-XXXXXX)
chmod 755 "$clone"
trap '"$clone/assay/quickstart" stop >/dev/null 2>&1; rm -rf "$clone"' EXIT
n=0 failed=0
ok() { # what, command...
  local what=$1
  shift
  n=$((n + 1))
  if "$@"; then echo "ok $n - $what"; else echo "not ok $n - $what"; failed=1; fi
}
# the working tree as it stands, with what is not committed yet
mkdir "$clone/assay"
git ls-files -z --cached --others --exclude-standard | xargs -0 -r sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' sh |
  tar -c --null -T - -f - | tar -x -C "$clone/assay" -f -
cd "$clone/assay"

# a newcomer has none of the test suite's variables
for v in ${!ASSAY_@}; do unset "$v"; done
cold=$SECONDS
ok "quickstart succeeds in a fresh clone" sh -c './quickstart >cold.log 2>&1 </dev/null'
cold=$((SECONDS - cold))
sed 's/^/# /' cold.log | tail -n 70
rows=$(grep -vc '^#' fixtures/demo/submissions.tsv)
ok "all $rows verdicts stand beside the expected ones and agree" test "$(grep -c ' as expected$' cold.log)" = "$rows"
ok "it shows the leaderboard" grep -q 'Leaderboard' cold.log
ok "it names the URL and the credentials of this run" sh -c 'grep -q "http://127.0.0.1:" cold.log && grep -q "admin" cold.log'
url=$(grep -o 'http://127.0.0.1:[0-9]*' cold.log | head -n 1)
ok "the server is up afterwards" sh -c "curl -fsS '$url/readyz' >/dev/null"
warm=$SECONDS
ok "a second run succeeds" sh -c './quickstart >warm.log 2>&1 </dev/null'
warm=$((SECONDS - warm))
echo "# cold ${cold} s (the packages were there), warm ${warm} s"
# 13 s on two quiet cores; the bound is one that a busy machine keeps too
ok "the second run takes less than a minute (took ${warm} s)" test "$warm" -lt 60
ok "quickstart stop ends it" ./quickstart stop
ok "nothing answers any more" sh -c "! curl -fsS --max-time 2 '$url/readyz' >/dev/null 2>&1"
echo "1..$n"
exit $failed
