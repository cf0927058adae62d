"""Each block of commands in the README and in docs/ works as written, or says why it is not run here.

A block is what stands between ```sh and ```. On a fresh server in development mode, page by page and each page as one script in a new
folder, blocks are run as they stand. A comment above a block changes that:

    <!-- first: COMMANDS -->   are run before it: what the reader has, or has done before
    <!-- tested: FILE -->      that test runs these commands, or their like
    <!-- not run: WHY -->      needs what is not here

docs/guide.md is run by test_guide.py.
"""

import re
import sys

from contract import ROOT
from test_guide import run

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OWN = {"docs/guide.md"}
MARK = re.compile(r"<!-- (first|tested|not run): ((?:(?!-->).)*) -->\n\Z", re.S)


def blocks(text):
    """(line, mark or None, its text, commands) of each."""
    for m in re.finditer(r"^```sh\n(.*?)^```$", text, re.M | re.S):
        before = text[:m.start()]
        mark = MARK.search(before)
        yield before.count("\n") + 1, mark and mark.group(1), mark and mark.group(2), m.group(1)


def name(page):
    return str(page.relative_to(ROOT))


def test_the_commands_of_the_pages(server):
    faults, ran = [], 0
    for page in PAGES:
        script = f"ROOT={ROOT}\n"
        own = [b for b in blocks(page.read_text()) if b[1] in (None, "first")]
        if name(page) in OWN or not own:
            continue
        for line, mark, text, commands in own:
            script += f"echo '### {name(page)}:{line}'\n{text if mark else ''}\n{commands}"
            ran += 1
        a = run(server, script)
        if a.returncode != 0:
            at = re.findall(r"^### (.*)$", a.stdout, re.M)
            faults.append(f"{at[-1] if at else name(page)}: status {a.returncode}\n{a.stdout[-1500:]}\n{a.stderr[-1500:]}")
    assert not faults, "\n\n".join(faults)
    assert ran >= 8, f"only {ran} blocks were run"


def test_what_is_not_run_says_why():
    faults = []
    for page in PAGES:
        text = page.read_text()
        for line, mark, what, _ in blocks(text):
            if mark == "tested" and not all((ROOT / f).is_file() for f in what.split()):
                faults.append(f"{name(page)}:{line}: {what} is not there")
            if mark == "not run" and len(what.split()) < 3:
                faults.append(f"{name(page)}:{line}: why is it not run?")
        fences = re.findall(r"^```(.*)$", text, re.M)
        if "" in fences[::2]:
            faults.append(f"{name(page)}: a block says not what it is: ```sh for commands, ```text for what is not")
        if re.search(r"^<!-- (?:first|tested|not run): (?:(?!-->).)*-->\n(?!```)", text, re.M | re.S):
            faults.append(f"{name(page)}: a comment on a block that does not stand right above one")
    packed = (ROOT / "docs" / "room.mk").read_text().split()
    faults += [f"docs/room.mk leaves {name(p)} out of the tarball" for p in PAGES if name(p) != "README.md" and name(p) not in packed]
    assert not faults, "\n".join(faults)


def test_the_messages_of_troubleshooting_are_in_the_program():
    rooms = ("gateway", "services", "plugins", "boxkeeper", "cli", "queue")
    source = "\n".join(p.read_text(errors="replace") for r in rooms for p in sorted((ROOT / r).rglob("*.[ch]")))
    source = re.sub(r'"\s*"', "", source)  # adjacent literals are one
    told = [c for line in re.findall(r"^\| (.*?) \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.M) for c in re.findall("`([^`]+)`", line)]
    missing = [c for c in told if not all(part.strip() in source for part in c.split("…"))]
    assert len(told) > 30 and not missing, missing


def test_a_block_that_fails_is_seen(server):
    assert run(server, "ROOT=/\necho '### x:1'\nfalse | cat\n").returncode != 0
    text = "a\n<!-- first: true -->\n```sh\nfalse\n```\n<!-- not run: it needs a moon -->\n```sh\nx\n```\n```sh\ny\n```\n"
    assert [b[1:] for b in blocks(text)] == [("first", "true", "false\n"), ("not run", "it needs a moon", "x\n"), (None, None, "y\n")]


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
