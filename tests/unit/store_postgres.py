#!/usr/bin/env python3
"""Starts a private PostgreSQL and runs the tests of stores and of services against it.

The promises of every store, PostgreSQL's own, and every service's: the same programs that run on SQLite elsewhere.
"""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "parts"))
sys.dont_write_bytecode = True
from postgres import Missing, Postgres  # noqa: E402

STORE = ["store_common_postgres_test", "store_postgres_test"]
SERVICES = ["sdk_request_test", "auth_http_test", "agents_http_test", "benchmarks_http_test", "submissions_test", "leases_test", "intake_test", "scoring_test",
            "traces_test", "leaderboard_test", "leaderboard_buckets_test", "leaderboard_rules_test", "rejudge_test", "runner_test", "runner_builds_test",
            "runner_languages_test"]
BUILD = pathlib.Path(os.environ.get("abs_top_builddir", os.getcwd()))

TRACER_DIED = "LeakSanitizer has encountered a fatal error"


def run(program, env):
    return subprocess.run([str(program)], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")


def main():
    programs = [BUILD / "tests" / "unit" / name for name in STORE + SERVICES]
    if not all(p.exists() for p in programs):
        print("1..0 # SKIP the PostgreSQL store was not built: libpq was not there (Debian: libpq-dev)")
        return 0
    try:
        server = Postgres()
    except Missing as why:
        print(f"1..0 # SKIP {why}")
        return 0
    ok, number = True, 0
    with server as pg:
        env = {**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP", "ASSAY_TEST_POSTGRES": pg.dsn, "ASSAY_TEST_POSTGRES_DIR": str(pg.dir)}
        for p in programs:
            a = run(p, env)
            if a.returncode != 0 and TRACER_DIED in a.stderr:
                # gcc 12's leak tracer crashes at the end of auth_http_test, with one thread left and every test passed;
                # the same code has its leaks counted on SQLite.
                print(f"# {p.name}: the leak sanitizer's own tracer crashed; run again without it")
                a = run(p, {**env, "ASAN_OPTIONS": env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"})
            sys.stderr.write(a.stderr)
            for line in a.stdout.splitlines():
                if line.startswith("ok ") or line.startswith("not ok "):
                    number += 1
                    head, rest = line.split(" - ", 1)
                    print(f"{'ok' if head.startswith('ok') else 'not ok'} {number} - {p.name} on PostgreSQL: {rest}")
                elif not line.startswith(("1..", "TAP", "ok - ", "not ok - ")):
                    print("#", line)
            ok = ok and a.returncode == 0
            if a.returncode < 0:
                number += 1
                print(f"not ok {number} - {p.name} was ended by signal {-a.returncode}")
    print(f"1..{number}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
