#!/usr/bin/env python3
"""Starts a private Redis and runs the tests of its driver against it."""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "parts"))
sys.dont_write_bytecode = True
from redis import Missing, Redis  # noqa: E402

BUILD = pathlib.Path(os.environ.get("abs_top_builddir", os.getcwd()))


def main():
    program = BUILD / "tests" / "unit" / "session_redis_test"
    if not program.exists():
        print("1..0 # SKIP the Redis driver was not built: hiredis was not there (Debian: libhiredis-dev)")
        return 0
    try:
        server = Redis(password="p/ss:w@rd")
    except Missing as why:
        print(f"1..0 # SKIP {why}")
        return 0
    with server as r:
        env = {**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP", "ASSAY_TEST_REDIS_PORT": str(r.port), "ASSAY_TEST_REDIS_SOCKET": str(r.dir / "s"),
               "ASSAY_TEST_REDIS_PID": str(r.process.pid)}
        return subprocess.run([str(program)], env=env, stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
