#!/usr/bin/env python3
"""The form of the sources: what an editor does by itself, so that a difference shows what was changed.  TAP on standard output.

Text files are UTF-8, have no carriage returns, no spaces at the ends of lines and one line feed at the end; C is indented with spaces; JSON, Python and
shell can be read as such.  Files that are data (fixtures, corpora, Markdown's own line breaks) are theirs to be.
"""

import ast
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE = {".c", ".h", ".py", ".sh", ".mk", ".ac", ".yml", ".yaml", ".service", ".socket", ".map"}
NOT_OURS_TO_CHANGE = ("fixtures/", "tests/fuzz/corpus/", "datasets/", "tests/hostile/programs/", "languages/")


def tracked(root):
    a = subprocess.run(["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True)
    if a.returncode == 0:
        names = [n for n in a.stdout.split("\0") if n]
    else:  # a tarball
        names = [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and "build" not in p.relative_to(root).parts]
    return sorted(n for n in names if not n.startswith(NOT_OURS_TO_CHANGE) and (root / n).is_file())


def faults(name, data):
    path = pathlib.Path(name)
    shell = data.startswith((b"#!/usr/bin/env bash", b"#!/bin/sh", b"#!/bin/bash"))
    python = path.suffix == ".py" or data.startswith(b"#!/usr/bin/env python3")
    if path.suffix == ".json":
        try:
            json.loads(data)
        except ValueError as e:
            yield f"{name}: {e}"
    if not (path.suffix in CODE or shell or python):
        return
    try:
        text = data.decode()
    except UnicodeDecodeError as e:
        yield f"{name}: not UTF-8: {e}"
        return
    if text and not text.endswith("\n"):
        yield f"{name}: no line feed at the end"
    if text.endswith("\n\n"):
        yield f"{name}: empty lines at the end"
    for n, line in enumerate(text.split("\n"), 1):
        if line.endswith((" ", "\t", "\r")):
            yield f"{name}:{n}: spaces at the end of the line"
        if path.suffix in (".c", ".h", ".py") and line.startswith("\t"):
            yield f"{name}:{n}: indented with a tab"
    if python:
        try:
            ast.parse(text)
        except SyntaxError as e:
            yield f"{name}:{e.lineno}: {e.msg}"
    if shell:
        program = "bash" if b"bash" in data.split(b"\n", 1)[0] else "sh"
        a = subprocess.run([program, "-n"], input=data, capture_output=True)
        if a.returncode != 0:
            yield f"{name}: {a.stderr.decode().strip()}"


def main():
    found = [f for n in tracked(ROOT) for f in faults(n, (ROOT / n).read_bytes())]
    planted = {"a.c": b"int x; \n", "b.py": b"def f(:\n", "c.json": b"{,}", "d.h": b"\tint x;\n", "e.sh": b"#!/bin/sh\nif\n", "f.yml": b"a: 1", "g.c": b"\xff\n",
               "h.mk": b"x = 1\r\n", "i.py": b"x = 1\n\n"}
    missed = [n for n, data in planted.items() if not list(faults(n, data))]
    print("1..2")
    for i, (ok, what, detail) in enumerate(((not found, "the sources have their form", found[:40]), (not missed, "planted faults are found", missed)), 1):
        print(f"{'ok' if ok else 'not ok'} {i} - form: {what}")
        for line in detail:
            print("#", line)
    sys.exit(0 if not found and not missed else 1)


if __name__ == "__main__":
    main()
