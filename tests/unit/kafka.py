#!/usr/bin/env python3
"""The Kafka driver's own tests: against librdkafka's mock cluster, and those that can be against a real broker.

Each test is a process of its own with topics of its own, and they run side by side: they wait for groups to form more than they work.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "parts"))
sys.dont_write_bytecode = True
from kafka import Kafka, Missing  # noqa: E402

BUILD = pathlib.Path(os.environ.get("abs_top_builddir", os.getcwd()))
PROGRAM = BUILD / "tests" / "unit" / "kafka_test"


def tests():
    text = (HERE / "kafka_test.c").read_text()
    return re.findall(r"cmocka_unit_test\((\w+)\)", text)


def run(name, env):
    e = {**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP", "KAFKA_TEST": name, **env}
    return subprocess.run([str(PROGRAM)], env=e, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=600)


def main():
    if not PROGRAM.exists():
        print("1..0 # SKIP the Kafka driver was not built: librdkafka was not there (Debian: librdkafka-dev)")
        return 0
    there, stack, skipped, pools = os.environ.pop("ASSAY_TEST_KAFKA", None), contextlib.ExitStack(), None, []
    with stack:
        pools.append(("mock cluster", {}))
        if there:
            pools.append((f"broker {there}", {"ASSAY_TEST_KAFKA": there}))
        else:
            try:
                k = stack.enter_context(Kafka())
                pools.append(("Apache Kafka 0.9", {"ASSAY_TEST_KAFKA": k.brokers, "ASSAY_TEST_KAFKA_PROPERTIES": k.properties}))
            except Missing as why:
                skipped = why
        number, ok, ran, left_out = 0, True, set(), {}
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            for label, name, a in [(label, name, pool.submit(run, name, env)) for label, env in pools for name in tests()]:
                a = a.result()
                if a.returncode == 0 and re.search(rf"^(not )?ok 1 # SKIP {name}", a.stdout, re.M):
                    left_out.setdefault(name, []).append(label)
                    print(f"# {name}: what it needs is not to be had with the {label}")
                    continue
                ran.add(name)
                good, number = a.returncode == 0 and re.search(rf"^ok 1 - {name}", a.stdout, re.M), number + 1
                ok = ok and bool(good)
                print(f"{'ok' if good else 'not ok'} {number} - {name}, {label}")
                if not good:
                    print(*("# " + line for line in (a.stdout + a.stderr).splitlines()[-30:]), sep="\n")
                sys.stdout.flush()
    for name in sorted(set(left_out) - ran):  # where no broker could have it
        number += 1
        print(f"ok {number} - {name} # SKIP not with the {', '.join(left_out[name])}")
    if skipped:
        number += 1
        print(f"ok {number} - a real broker # SKIP {skipped}")
    print(f"1..{number}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
