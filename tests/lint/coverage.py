#!/usr/bin/env python3
"""Every promise of tests/coverage.map has tests, and every test that it names is there and is run.

"Run" means: in a cmocka program the name stands in the list of tests, not only at a function; in a Python file the function
is defined where its runner finds it; a file that is a test as a whole ("*") is one of a kind that runtests or make check runs.
Then mistakes are planted in copies of the map, and each must be caught.  A check of the source tree, by runtests: the tarball has
no end-to-end tests, so `make check` does not run it.  TAP on standard output.  Standard library only.
"""

import os
import pathlib
import re
import sys

MAP = "tests/coverage.map"
WHOLE = {  # a file that is a test as a whole: where it must be named for that to be so
    "tests/fuzz/": ["tests/room.mk", "gateway/room.mk", "plugins/warden/room.mk", "plugins/unpack/room.mk", "plugins/imgfilter/room.mk", "services/auth/room.mk", "services/runner/room.mk", "services/agents/room.mk",
                    "services/benchmarks/room.mk", "services/pits/room.mk", "plugins/aws/room.mk", "plugins/blob_s3/room.mk", "plugins/broker_sqs/room.mk", "plugins/session_redis/room.mk"],
    "tests/mutation/": ["runtests"],
    "tests/vm/": ["runtests"],
    "tests/": ["runtests"],
    "bench/": ["bench/room.mk", "bench/run"],
}


def c_tests(text):
    """The names in the arrays of struct CMUnitTest, and in the macros that such arrays are put together from."""
    names = set(re.findall(r"\bcmocka_unit_test\w*\((\w+)", text))
    for body in re.findall(r"struct CMUnitTest \w+\[\] = \{(.*?)\n\s*\};", text, re.S):
        names |= set(re.findall(r"\b\w+\((\w+)", body))
    return names


def tests_of(path):
    text = path.read_text()
    return c_tests(text) if path.suffix == ".c" else set(re.findall(r"^def (test_\w+)\(", text, re.M))


def whole(root, name):
    listed = next(v for k, v in WHOLE.items() if name.startswith(k))
    stem = pathlib.Path(name).stem if name.endswith(".c") else pathlib.Path(name).name
    return any(re.search(rf"\b{re.escape(stem)}\b", (root / f).read_text()) for f in listed if (root / f).exists())


def faults(root, text):
    """What is wrong with the map, and how many promises and names it holds."""
    out, promises, named = [], {}, 0
    promise, known = None, {}
    for n, line in enumerate(text.splitlines(), 1):
        where = f"{MAP}:{n}"
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            promise = line.strip()
            if promise in promises:
                out.append(f"{where}: this promise stands here twice: {promise}")
            promises[promise] = (n, 0)
            continue
        m = re.fullmatch(r"  ([\w./-]+): (\*|\w+(?: \w+)*)", line)
        if promise is None or m is None:
            out.append(f"{where}: neither a promise nor \"  FILE: TEST ...\" under one")
            continue
        name, tests = m.group(1), m.group(2).split()
        promises[promise] = (promises[promise][0], promises[promise][1] + len(tests))
        path = root / name
        if not path.is_file():
            out.append(f"{where}: there is no file {name}")
            continue
        if tests == ["*"]:
            if not whole(root, name):
                out.append(f"{where}: nothing runs {name}")
        else:
            if name not in known:
                known[name] = tests_of(path)
            out += [f"{where}: {name} runs no test {t}" for t in tests if t not in known[name]]
        named += len(tests)
    out += [f"{MAP}:{n}: no test holds this: {p}" for p, (n, k) in promises.items() if k == 0]
    return out, len(promises), named


def main():
    root = pathlib.Path(os.environ.get("top_srcdir") or pathlib.Path(__file__).resolve().parents[2]).resolve()
    text = (root / MAP).read_text()
    found, promises, named = faults(root, text)
    results = [(not found, f"{promises} promises are held by {named} tests that are there", found)]
    first = "  tests/unit/router_test.c: each_path_finds_its_route"
    plants = [
        ("a test that went", text.replace(first, first.replace("each_path", "every_path"), 1), "runs no test every_path_finds_its_route"),
        ("a function that no list names", text.replace(first, "  tests/unit/router_test.c: main", 1), "runs no test main"),
        ("a file that went", text.replace("tests/unit/gate_test.c", "tests/unit/gates_test.c", 1), "there is no file tests/unit/gates_test.c"),
        ("a promise without a test", text + "\nIt makes coffee\n", "no test holds this: It makes coffee"),
        ("a promise said twice", text + "\nIt is\n  tests/mutation/run.py: *\nIt is\n  tests/mutation/run.py: *\n", "stands here twice"),
        ("a line of no form", text + "\nIt is\n  tests/mutation/run.py *\n", "neither a promise"),
        ("a script that nothing runs", text + "\nIt is\n  tests/tap_run.sh: *\n", "nothing runs tests/tap_run.sh"),
    ]
    for what, planted, want in plants:
        said, _, _ = faults(root, planted)
        new = [f for f in said if f not in found]
        results.append((planted != text and any(want in f for f in new), f"a plant is caught: {what}", [f"wanted \"{want}\", got {new}"]))
    print(f"1..{len(results)}")
    for i, (ok, name, notes) in enumerate(results, 1):
        print(f"{'ok' if ok else 'not ok'} {i} - {name}")
        for n in notes if not ok else []:
            print(f"# {n}")
    return 0 if all(ok for ok, _, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
