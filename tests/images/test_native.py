#!/usr/bin/env python3
"""Native boxes over the image "languages" instead of this machine's own /usr: the demo's programs, by the real server.

The image is not built here, which takes minutes: the suite "hostile-docker" leaves it in build/images, and by night "images"
(ASSAY_IMAGES names another folder).  Where there is none the tests are skipped.
"""

import contextlib
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import harness  # noqa: E402
import test_nonroot  # noqa: E402
from harness import FIXTURES, ROOT, Server, Skip, program, wait_for  # noqa: E402

IMAGES = pathlib.Path(os.environ.get("ASSAY_IMAGES", ROOT / "build" / "images"))
LANGUAGES = {"c", "cpp", "python", "java", "go"}
# so far from the host's that a box which saw the host's could not say yes
STRANGER = "import os, sys\nprint(6 if not os.path.exists(sys.stdin.read().strip()) else 'the host')\n"


def image():
    root = IMAGES / "languages"
    if not (root / "usr" / "bin").is_dir():
        raise Skip(f"{root} is not built (tests/images/rootfs.sh languages builds it; ASSAY_IMAGES names another folder)")
    return root.resolve()


def settled(admin):
    known = {i["name"]: i for i in admin.get("/languages").json["items"]}
    return all(i["state"] != "testing" for i in known.values()) and known


def check_demo(server, root):
    admin = server.login()
    known = wait_for("the languages", lambda: settled(admin), 240)
    assert all(known[name]["offered"] for name in LANGUAGES), [known[name] for name in LANGUAGES]
    benchmark = json.loads((FIXTURES / "demo" / "benchmark.json").read_text())
    benchmark["limits"]["wall_limit_ms"] = 8000  # only a sleeper needs it, however busy the machine
    admin.post("/benchmarks", benchmark, expect=201)
    admin.post("/agents", {"id": "ada", "name": "Ada"}, expect=201)
    lines = [line.split("\t")[1:] for line in (FIXTURES / "demo" / "submissions.tsv").read_text().splitlines() if line[:1] not in ("#", "")]
    assert {line[0] for line in lines} == LANGUAGES, lines
    sent = [(admin.post("/submissions", {"benchmark_id": benchmark["id"], "agent_id": "ada", "language": language,
                                         "source": program(file)}, expect=202).json["id"], file, verdict)
            for language, file, verdict in lines]
    digest = root.with_name(root.name + ".digest").read_text().strip()
    wrong = []
    for sid, file, verdict in sent:
        got = server.wait_done(admin, sid, timeout=240)
        r = admin.get(f"/results/{sid}").json
        if got["verdict"] != verdict:
            wrong.append(f"{file}: want {verdict}, got {got['status']} {got['verdict']}: {str(r)[:1500]}")
            continue
        for part in ("build", "run"):
            place = (r["environment"][part] or {}).get("place")
            if place and (place["driver"], place["image"], place["digest"]) != ("native", str(root), digest):
                wrong.append(f"{file}: {part} in {place}")
    assert not wrong, "\n".join(wrong)
    # a file that this machine has and the image has not
    here = next(str(p) for p in pathlib.Path("/usr/bin").iterdir() if p.is_file() and not os.path.lexists(root / "usr" / "bin" / p.name))
    admin.post("/benchmarks", {"id": "view", "name": "view", "tests": [{"input": here + "\n", "expected_output": "6\n"}]}, expect=201)
    s = admin.post("/submissions?wait=60", {"benchmark_id": "view", "agent_id": "ada", "language": "python", "source": STRANGER},
                   expect=200).json
    assert s["verdict"] == "OK", (here, admin.get(f"/results/{s['id']}").json)


def test_the_demo_in_an_image_that_is_every_boxs_root():
    root = image()
    with contextlib.closing(Server(env={"ASSAY_SANDBOX": "native", "ASSAY_NATIVE_ROOTFS": str(IMAGES / "languages")})) as server:
        check_demo(server.start(), root)


def test_the_demo_in_an_image_that_each_language_names():
    root = image()
    each = {f"{name.upper()}_IMAGE": str(IMAGES / "languages") for name in LANGUAGES}
    with contextlib.closing(Server(env={"ASSAY_SANDBOX": "native", "ASSAY_NATIVE_IMAGES": str(IMAGES), **each})) as server:
        check_demo(server.start(), root)


def test_the_demo_in_an_image_for_an_ordinary_user():
    root = image()
    test_nonroot.need()
    with contextlib.closing(test_nonroot.ordinary()) as server:
        server.env.update({"ASSAY_SANDBOX": "native", "ASSAY_NATIVE_ROOTFS": str(IMAGES / "languages")})
        check_demo(server.start(), root)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
