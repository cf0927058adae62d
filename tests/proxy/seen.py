#!/usr/bin/env python3
"""What a suite has seen of the contract: a table of operations and statuses, and what must not be missing from it.

    python3 tests/proxy/seen.py [--calls] SUITE

reads what the proxy left of each test program (build/test/seen/SUITE; harness.main writes it) and writes build/test/seen/SUITE.txt.
A documented operation that the suite never called is a failure, and, without --calls, so is a documented status that it has not
produced, unless unproduced.txt says why; a line of it that is not needed any more fails too.  TAP on standard output.
"""

import collections
import json
import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "contract"))
from contract import Contract  # noqa: E402

SEEN = pathlib.Path(os.environ.get("ASSAY_SEEN", ROOT / "build" / "test" / "seen"))
UNPRODUCED = pathlib.Path(__file__).with_name("unproduced.txt")
PAGES = {"dashboard_file", "swagger_file"}  # files of the dashboard, which npm must have built


def read(suite):
    """(what was seen, programs without a record, connections that were not read, seconds of processor that the proxy took)"""
    seen, absent, unread, cpu_s = collections.Counter(), [], 0, 0.0
    for program in sorted((ROOT / "tests" / suite).glob("test_*.py")):
        record = SEEN / suite / f"{program.stem}.json"
        if not record.exists():
            absent.append(f"{suite}/{program.stem}")
            continue
        d = json.loads(record.read_text())
        unread += d["unread"]
        cpu_s += d["cpu_s"]
        for op, statuses in d["operations"].items():
            for status, n in statuses.items():
                seen[op, status] += n
    return seen, absent, unread, cpu_s


def reasons(text):
    """{(operation id, status): why}; a name may be a pattern, with "*"."""
    out = {}
    for n, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            m = re.fullmatch(r"([\w*]+) (\d{3}) (sometimes: |)(\S.{10,})", line)
            if not m:
                raise SystemExit(f"{UNPRODUCED.name}:{n}: not OPERATION STATUS [sometimes: ]WHY: {line}")
            out[m.group(1), m.group(2)] = (bool(m.group(3)), m.group(4))
    return out


def judge(contract, seen, why):
    """(operations never called, statuses never produced, reasons that are not needed)"""
    uncalled, unproduced, needed = [], [], set()
    for method, path, op in contract.operations():
        name = op["operationId"]
        if not any(o == name for o, _ in seen):
            uncalled.append(f"{method} {path} ({name})")
        for status in op["responses"]:
            if status == "default" or (name, status) in seen:
                continue
            excuse = next((k for k in ((name, status), ("*", status)) if k in why), None)
            needed.add(excuse)
            if excuse is None:
                unproduced.append(f"{name} {status}")
    return uncalled, unproduced, [f"{' '.join(k)}: {v[1]}" for k, v in why.items() if k not in needed and not v[0]]


def table(contract, seen):
    lines = [f"{'operation':28} statuses: how often each was seen; - never", ""]
    for _, _, op in contract.operations():
        name = op["operationId"]
        cells = [f"{s} {seen.get((name, s)) or '-'}" for s in op["responses"] if s != "default"]
        cells += [f"({s} {n})" for (o, s), n in sorted(seen.items()) if o == name and s not in op["responses"]]
        lines.append(f"{name:28} {'  '.join(cells)}")
    lines += ["", "in brackets: what any request may get.  What asked for no operation: " + "  ".join(f"{s} {n}" for (o, s), n in sorted(seen.items()) if o == "-")]
    return "\n".join(lines) + "\n"


def planted(contract):
    """Mistakes that must be found; gives those that were not."""
    everything = collections.Counter({(op["operationId"], s): 1 for _, _, op in contract.operations() for s in op["responses"]})
    less = everything.copy()
    for key in [k for k in less if k[0] == "me"]:
        del less[key]
    one = everything.copy()
    del one["login", "429"]
    tries = [
        ("all is seen", judge(contract, everything, {}), ([], [], [])),
        ("an operation without a call", judge(contract, less, {})[0], ["GET /me (me)"]),
        ("a status without a test", judge(contract, one, {})[1], ["login 429"]),
        ("one that has a reason", judge(contract, one, {("login", "429"): (False, "a reason of its own")}), ([], [], [])),
        ("a reason too many", judge(contract, everything, {("login", "429"): (False, "a reason of its own")})[2], ["login 429: a reason of its own"]),
    ]
    return [f"{name}: {got}" for name, got, want in tries if got != want]


def main():
    calls, suite = sys.argv[1:2] == ["--calls"], sys.argv[-1]
    if suite.startswith("-") or not (ROOT / "tests" / suite).is_dir():
        sys.exit("usage: seen.py [--calls] SUITE")
    contract = Contract()
    seen, absent, unread, cpu_s = read(suite)
    uncalled, unproduced, idle = judge(contract, seen, reasons(UNPRODUCED.read_text()))
    if not any(o in PAGES and s == "200" for o, s in seen):  # they were not built
        unproduced = [u for u in unproduced if u.split()[0] not in PAGES | {"swagger_ui", "index_get"}]
    SEEN.mkdir(parents=True, exist_ok=True)
    text = table(contract, seen)
    (SEEN / f"{suite}.txt").write_text(text)
    for line in text.splitlines():
        print("#", line)
    print(f"# {sum(seen.values())} answers in {cpu_s:.0f} s of processor; {unread} connections were longer than is kept, and not judged")
    rows = [
        ("planted gaps are found", planted(contract)),
        ("each program of the suite left its record", absent),
        ("each documented operation was called", uncalled),
    ]
    if not calls:
        rows += [
            ("each documented status was produced, or unproduced.txt says why not", unproduced),
            ("each reason in unproduced.txt is needed", idle),
        ]
    print(f"1..{len(rows)}")
    for i, (what, faults) in enumerate(rows, 1):
        print(f"{'not ok' if faults else 'ok'} {i} - {suite} has seen: {what}")
        for f in faults:
            print("#", f)
    sys.exit(any(f for _, f in rows))


if __name__ == "__main__":
    main()
