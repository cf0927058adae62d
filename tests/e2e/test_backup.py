"""assayd backup beside a server that works, and assayd restore: what comes back is what was there."""

import json
import pathlib
import re
import sqlite3
import subprocess
import sys

import harness
from harness import PREFIX, Server, program, wait_for


PROGRAMS = ("right.c", "wrong.c", "crashing.py", "right.py", "uncompilable.c")


def assayd(server, *args, **env):
    """The command with the server's own environment, as an operator has it."""
    return subprocess.run([str(PREFIX / "bin" / "assayd"), *args], env={**server.env, **env}, capture_output=True, text=True, timeout=120)


def fill(server, admin, programs=PROGRAMS):
    server.demo(admin)
    for name in programs:
        language = {"c": "c", "py": "python"}[name.rsplit(".", 1)[1]]
        admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": language, "source": program(name)}, expect=202)


def settled(server, admin):
    for s in admin.get("/submissions?limit=100").json["items"]:
        server.wait_done(admin, s["id"])
    done = [s for s in admin.get("/submissions?limit=100").json["items"] if s["verdict"]]
    wait_for("all scores", lambda: len(admin.all("/scores?benchmark_id=sum-integers")) == len(done), 20)


def picture(admin):
    """All that a person would miss: submissions with their sources, results, board, accounts."""
    submissions = admin.all("/submissions?benchmark_id=sum-integers")
    ids = sorted(s["id"] for s in submissions)
    return {
        "submissions": {i: admin.get(f"/submissions/{i}").json for i in ids},
        "results": {i: admin.get(f"/results/{i}").json for i in ids},
        "board": admin.get("/leaderboard?benchmark_id=sum-integers").json["items"],
        "users": [(u["id"], u["login"], u["role"]) for u in admin.all("/users?role=user")],
        "problems": admin.get("/benchmarks/sum-integers/problems").json,
    }


def test_what_is_restored_is_what_was_backed_up():
    server, other = Server(), None
    folder = None
    try:
        server.start()
        admin = server.login()
        server.register("grace")
        fill(server, admin)
        settled(server, admin)
        before = picture(admin)
        folder = server.tmp / "backup"
        # submissions go on while it is made: they may be in it or not, and nothing else may differ
        late = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c",
                                           "source": program("right.c")}, expect=202).json["id"]
        a = assayd(server, "backup", str(folder))
        assert a.returncode == 0, a
        assert "the database" in a.stdout, a.stdout
        manifest = json.loads((folder / "backup.json").read_text())
        assert manifest["format"] == 1 and manifest["store"] == "store_sqlite" and manifest["files"] > 0, manifest
        assert folder.stat().st_mode & 0o077 == 0, "a backup holds password hashes and the signing secret"
        server.wait_done(admin, late)

        other = Server(name="restored", data=server.tmp / "restored" / "data")
        other.data.parent.mkdir()
        other.data.parent.chmod(0o755)
        a = assayd(other, "restore", str(folder))
        assert a.returncode == 0, a
        other.start()
        again = harness.Api(other.port, admin.token)  # the signing secret came along, so the session goes on
        ids = {s["id"] for s in again.all("/submissions?benchmark_id=sum-integers")}
        if late in ids:
            other.wait_done(again, late)
        after = picture(again)
        for part in ("submissions", "results"):
            after[part].pop(late, None)
        if late in ids:
            # one more right answer of the same agent: its best is as good as it was
            after["board"] = [{k: r[k] for k in ("rank", "agent_id", "score")} for r in after["board"]]
            before["board"] = [{k: r[k] for k in ("rank", "agent_id", "score")} for r in before["board"]]
        for part, was in before.items():
            assert after[part] == was, f"{part}:\n{was}\n{after[part]}"
        # and it is a server like any other
        s = again.post("/submissions?wait=30", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c",
                                                "source": program("right.c")}, expect=200).json
        assert s["verdict"] == "OK", s
        other.login("grace", "a-long-enough-password")
    finally:
        for s in (other, server):
            if s:
                s.close()


def test_a_stopped_server_is_backed_up_too():
    server, other = Server(), None
    try:
        server.start()
        admin = server.login()
        fill(server, admin, PROGRAMS[:2])
        settled(server, admin)
        before = picture(admin)
        server.stop()
        folder = server.tmp / "backup"
        a = assayd(server, "backup", str(folder))
        assert a.returncode == 0, a
        server.start()  # nothing that was left behind keeps it from its own files
        assert picture(server.login()) == before
        server.stop()
        other = Server(name="restored", data=server.tmp / "restored" / "data")
        other.data.parent.mkdir()
        other.data.parent.chmod(0o755)
        a = assayd(other, "restore", str(folder))
        assert a.returncode == 0, a
        other.start()
        assert picture(other.login()) == before
    finally:
        for s in (other, server):
            if s:
                s.close()


def test_submissions_in_flight_are_judged_after_the_restore():
    server, other = Server(), None
    try:
        server.start()
        admin = server.login()
        server.demo(admin)
        ids = [admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c",
                                           "source": program("right.c") + f"// {i}\n"}, expect=202).json["id"] for i in range(12)]
        folder = server.tmp / "backup"
        a = assayd(server, "backup", str(folder))
        assert a.returncode == 0, a
        server.kill()
        other = Server(name="restored", data=server.tmp / "restored" / "data")
        other.data.parent.mkdir()
        other.data.parent.chmod(0o755)
        assert assayd(other, "restore", str(folder)).returncode == 0
        other.start()
        again = other.login()
        for i in ids:
            s = other.wait_done(again, i)
            assert (s["status"], s["verdict"]) == ("done", "OK"), s
    finally:
        for s in (other, server):
            if s:
                s.close()


def test_nothing_is_overwritten_and_damage_is_told():
    server = Server()
    try:
        server.start()
        admin = server.login()
        fill(server, admin, PROGRAMS[:1])
        settled(server, admin)
        folder = server.tmp / "backup"
        a = assayd(server, "backup")
        assert a.returncode == 64 and "backup FOLDER" in a.stderr, a
        assert assayd(server, "backup", str(folder)).returncode == 0
        a = assayd(server, "backup", str(folder))
        assert a.returncode == 78 and "not empty" in a.stderr, a
        a = assayd(server, "restore", str(folder))
        assert a.returncode == 78 and "stop it first" in a.stderr, a
        server.stop()
        a = assayd(server, "restore", str(folder))
        assert a.returncode != 0 and "database already" in a.stderr, a

        elsewhere = {"ASSAY_DATA_DIR": str(server.tmp / "elsewhere")}
        half = server.tmp / "half"
        half.mkdir()
        a = assayd(server, "restore", str(half), **elsewhere)
        assert a.returncode == 78 and "backup.json" in a.stderr, a

        blobs = sorted(p for p in (folder / "blobs" / "sha256").rglob("*") if p.is_file())
        good = blobs[0].read_bytes()
        blobs[0].write_bytes(good + b"rot")
        a = assayd(server, "restore", str(folder), **elsewhere)
        assert a.returncode == 1 and blobs[0].name[:20] in a.stderr, a
        assert not (server.tmp / "elsewhere" / "assay.db").exists(), "no database that lacks blobs"
        blobs[0].unlink()
        a = assayd(server, "restore", str(folder), **elsewhere)
        assert a.returncode == 1 and "lacks blobs" in a.stderr, a
        blobs[0].write_bytes(good)

        db = folder / "assay.db"
        was = db.read_bytes()
        db.write_bytes(was[:-1] + bytes([was[-1] ^ 1]))
        a = assayd(server, "restore", str(folder), **elsewhere)
        assert a.returncode == 1 and "hashes to another" in a.stderr, a
        db.write_bytes(was)
        a = assayd(server, "restore", str(folder), **elsewhere)  # the tries before are no hindrance
        assert a.returncode == 0, a

        # rot where the server keeps them: the rest is backed up, and the exit status says that not all is
        live = server.data / "blobs" / "sha256" / blobs[0].parent.name / blobs[0].name
        live.write_bytes(good + b"rot")
        a = assayd(server, "backup", str(server.tmp / "second"))
        assert a.returncode == 1 and "no longer hash" in a.stderr and blobs[0].name[:20] in a.stderr, a
        n = sum(1 for p in (server.tmp / "second" / "blobs").rglob("*") if p.is_file())
        assert n == len(blobs) - 1, (n, len(blobs))
    finally:
        server.close()


def test_the_copy_is_whole_while_the_database_is_written():
    """Backups one after the other under a stream of new benchmarks: each opens, is whole, and names no blob that it lacks."""
    server = Server({"ASSAY_BOXKEEPER": "false"})
    try:
        server.start()
        admin = server.login()
        server.demo(admin)
        for round_ in range(4):
            sent = subprocess.Popen([sys.executable, "-c", FLOOD, str(server.port), admin.token, str(round_)])
            try:
                folder = server.tmp / f"backup{round_}"
                a = assayd(server, "backup", str(folder))
            finally:
                assert sent.wait(60) == 0
            assert a.returncode == 0, a
            db = sqlite3.connect(f"file:{folder}/assay.db?mode=ro", uri=True)
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            named = {r[0] for r in db.execute("SELECT manifest_ref FROM submissions_problems")}
            db.close()
            have = {p.name: p for p in (folder / "blobs" / "sha256").rglob("*") if p.is_file()}
            assert len(named) > round_ * 40 and named <= set(have), f"round {round_}: {len(named - set(have))} of {len(named)} manifests are missing"
            for manifest in named:  # and what a manifest names was there before it
                for ref in re.findall(r"[0-9a-f]{64}", have[manifest].read_text()):
                    assert ref in have, (round_, manifest, ref)
    finally:
        server.close()


FLOOD = """
import json, sys
sys.path.insert(0, %r)
import harness
api = harness.Api(int(sys.argv[1]), sys.argv[2])
b = json.loads((harness.FIXTURES / "demo" / "benchmark.json").read_text())
for i in range(60):
    b["id"] = f"flood-{sys.argv[3]}-{i}"
    b["tests"][0]["input"] = f"{sys.argv[3]} {i}\\n"
    api.post("/benchmarks", b, expect=201)
""" % str(pathlib.Path(__file__).parent)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
