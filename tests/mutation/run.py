#!/usr/bin/env python3
"""Applies the mutations of table.py one at a time to a scratch copy of the tree, builds, and runs the tests that must catch each.

    tests/mutation/run.py [--scratch DIR] [--list] [NAME ...]

TAP on stdout: "ok" for a mutation that was caught, "not ok" for one that survived (every named test passed on it), does not apply any
more, or does not build.  Before the first one the tests are run on the unchanged copy, so that a catch means something.  The scratch
copy is kept when --scratch names it: a second run then builds only what changed.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from table import M  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEST_TIMEOUT = 300


def say(ok, n, text, detail=""):
    print(f"{'ok' if ok else 'not ok'} {n} - mutation {text}", flush=True)
    for line in detail.splitlines()[-25:]:
        print("#", line.encode("ascii", "replace").decode(), flush=True)


def run(argv, cwd, timeout=1800, env=None):
    try:
        p = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, env=env)
        return p.returncode, p.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as e:
        return 124, (e.stdout or b"").decode(errors="replace") + "\n(time-out)"


def copy_tree(src):
    """What git knows and what is new but not ignored; a distributed tree without git as it is."""
    rc, names = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT)
    if rc != 0:
        shutil.copytree(ROOT, src, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build", ".git"))
        return
    for name in filter(None, names.split("\0")):
        a, b = ROOT / name, src / name
        if not a.is_file() or (b.exists() and a.read_bytes() == b.read_bytes()):
            continue
        b.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(a, b)


class Tree:
    def __init__(self, scratch):
        self.src, self.build = scratch / "src", scratch / "build"
        self.jobs = f"-j{len(os.sched_getaffinity(0))}"

    def prepare(self, tests):
        copy_tree(self.src)
        self.build.mkdir(parents=True, exist_ok=True)
        steps = []
        if not (self.src / "configure").exists():
            steps.append((["./autogen.sh"], self.src))
        if not (self.build / "config.status").exists():
            steps.append(([str(self.src / "configure"), "-q", "CFLAGS=-O1"], self.build))
        for argv, cwd in steps:
            rc, out = run(argv, cwd)
            if rc != 0:
                return out
        rc, out = self.make(tests)
        if rc == 0:
            # the programs that the tests themselves run: check builds them, with no test to run after
            rc, out = run(["make", self.jobs, "check", "TESTS="], self.build)
        return out if rc != 0 else None

    def make(self, tests):
        # one after the other: "all" is a make of its own, and two at once would build the same files
        rc, out = run(["make", self.jobs, "all"], self.build)
        if rc == 0:
            rc, out = run(["make", self.jobs] + [f"tests/unit/{t}_test" for t in tests], self.build)
        return rc, out

    def test(self, name):
        env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", top_srcdir=str(self.src), srcdir=str(self.src))
        return run([f"tests/unit/{name}_test"], self.build, TEST_TIMEOUT, env)


def mutate(tree, n, m):
    name, file, old, new, why, tests = m
    path = tree.src / file
    text = path.read_text()
    if text.count(old) != 1:
        say(False, n, f"{name}: its text occurs {text.count(old)} times in {file}")
        return False
    started = time.monotonic()
    path.write_text(text.replace(old, new))
    try:
        rc, out = tree.make(tests.split())
        if rc != 0:
            say(False, n, f"{name}: does not build", out)
            return False
        caught = next((t for t in tests.split() if tree.test(t)[0] != 0), None)
        say(caught is not None, n, f"{name}: {'caught by ' + caught + '_test' if caught else 'SURVIVED'} ({time.monotonic() - started:.0f} s)",
            "" if caught else f"{file}\n- {old}\n+ {new}\n{why}")
        return caught is not None
    finally:
        path.write_text(text)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--scratch")
    p.add_argument("--list", action="store_true")
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    wanted = [m for m in M if not a.names or m[0] in a.names]
    if a.list:
        for m in wanted:
            print(f"{m[0]:26} {m[1]:34} {m[4]}")
        return 0
    scratch = pathlib.Path(a.scratch or tempfile.mkdtemp(prefix="assay-mutation-", dir="/var/tmp")).resolve()
    tree = Tree(scratch)
    tests = sorted({t for m in wanted for t in m[5].split()})
    print(f"1..{len(wanted) + 1}", flush=True)
    try:
        fault = tree.prepare(tests)
        sound = {} if fault else {t: tree.test(t) for t in tests}
        bad = [t for t, (rc, _) in sound.items() if rc != 0]
        say(not fault and not bad, 1, "none: the unchanged copy builds and passes", fault or "".join(f"{t}_test:\n{sound[t][1]}" for t in bad))
        if fault or bad:
            return 1
        return 0 if all([mutate(tree, n, m) for n, m in enumerate(wanted, 2)]) else 1
    finally:
        if not a.scratch:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
