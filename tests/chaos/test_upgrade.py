"""A newer program was here and has gone again, with work in flight: what it left may still be run on is, what may not is refused.

By day the newer program is stood in for by its mark: a migration that this one does not know, with the oldest program that may
run on it. By night two builds take turns on one data directory: this tree, and the commit before the latest migration, which
is built into build/old (ASSAY_OLD names another commit). The ledger's clients submit meanwhile.
"""

import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import check
import ledger
import run
from harness import PREFIX, ROOT, Api, Server, Skip, main, night, program


def mark(data, number, oldest):
    db = sqlite3.connect(data / "assay.db")
    db.execute("INSERT INTO assay_migrations (component, number, name, oldest_program, applied_ms) VALUES ('submissions', ?, 'of the future', ?, 1)",
               (number, oldest))
    # what an expanding migration does: a column and a table that the older program does not speak of
    db.execute(f"ALTER TABLE submissions ADD COLUMN future_{number} TEXT")
    db.execute(f"CREATE TABLE submissions_future_{number} (id TEXT PRIMARY KEY)")
    db.commit()
    db.close()


def test_old_new_old_with_work_in_flight():
    s = Server(env={"ASSAY_BOXKEEPER": "false"}, name="upgrade")
    try:
        s.start()  # nothing is judged yet: the work stays in flight
        admin = s.login()
        s.demo(admin)
        sent = [admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": program("right.c")},
                           expect=202).json["id"] for _ in range(5)]
        s.process.kill()
        s.process.wait()
        s.env["ASSAY_BOXKEEPER"] = "true"
        last = sqlite3.connect(s.data / "assay.db").execute("SELECT MAX(number) FROM assay_migrations WHERE component = 'submissions'").fetchone()[0]
        mark(s.data, last + 1, "0.1.0")
        s.start()
        admin = s.login()
        for sid in sent:
            assert s.wait_done(admin, sid, 120)["verdict"] == "OK"
        assert s.stop() == 0
        mark(s.data, last + 2, "99.0.0")
        s.spawn()
        assert s.process.wait(60) == 78 and "99.0.0" in s.log_text(), s.log_text()[-800:]
        db = sqlite3.connect(f"file:{s.data}/assay.db?mode=ro", uri=True)
        assert db.execute("SELECT COUNT(*) FROM submissions WHERE state = 'done'").fetchone() == (5,)
        db.close()
    finally:
        s.close()


def git(*args):
    a = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True)
    return a.stdout.strip() if a.returncode == 0 else ""


def migrations(prefix, data):
    """What a build leaves in a new database."""
    server = Server(env={"ASSAY_BOXKEEPER": "false"}, data=data / "data", name="migrations")
    server.prefix = prefix
    try:
        server.start()
        assert server.stop() == 0
        db = sqlite3.connect(f"file:{server.data}/assay.db?mode=ro", uri=True)
        rows = set(db.execute("SELECT component, number FROM assay_migrations").fetchall())
        db.close()
        return rows
    finally:
        server.close()


def older_build():
    """Where an older commit of this tree is installed; it is built once."""
    latest = git("log", "-1", "--format=%H", "--", "services/*/schema*", "plugins/*/schema*")
    commit = git("rev-parse", "--verify", "--quiet", os.environ.get("ASSAY_OLD") or f"{latest}^")
    if not commit:
        raise Skip("an older version is built from this tree's history, which is not here (a whole git clone)")
    top = ROOT / "build" / "old" / commit[:12]
    if not (top / "built").exists():
        shutil.rmtree(top, ignore_errors=True)
        (top / "src" / "obj").mkdir(parents=True)
        cc = "ccache gcc" if shutil.which("ccache") else "gcc"
        subprocess.run(f"""set -e; git -C '{ROOT}' archive {commit} | tar -x -C '{top}/src'; cd '{top}/src'; ./autogen.sh; cd obj
                           ../configure -q CC='{cc}' --prefix='{top}/stage'; make -s -j{os.cpu_count()} all; make -s install""",
                       shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(top / "src")
        (top / "built").touch()
    print(f"# the older build is {git('log', '-1', '--format=%h %s', commit)[:120]}", flush=True)
    return top / "stage"


@night  # building the older version takes minutes
def test_two_builds_take_turns_with_work_in_flight():
    seed = int(os.environ.get("ASSAY_SEED", str(random.SystemRandom().randrange(1 << 30))))
    old, rng, turns = older_build(), random.Random(seed), int(os.environ.get("ASSAY_TURNS", "6"))
    with run.Rig() as rig:
        s = rig.server
        for name, prefix in (("old", old), ("new", PREFIX)):
            (s.tmp / name).mkdir()
        before, after = migrations(old, s.tmp / "old"), migrations(PREFIX, s.tmp / "new")
        assert before < after, f"the newer build has no migration that the older one lacks: {before ^ after}"
        # from here on the data directory is the older build's
        assert s.stop() == 0
        shutil.rmtree(s.data)
        s.prefix = old
        s.start()
        ledger.publish(s.login())
        book = ledger.Ledger(rig.token, s.port, seed, s.data.parent / "ledger.jsonl")
        try:
            book.start(4)
            orderly = 0
            for turn in range(turns):
                time.sleep(rng.uniform(2, 5))
                in_flight = len(s.login().all(f"/submissions?benchmark_id={ledger.BENCHMARK}&status=queued"))
                if turn % 2 == 0:  # the first of each build is a death, the next an orderly end
                    s.kill()
                else:
                    assert s.stop() == 0
                    orderly += 1
                s.prefix = PREFIX if s.prefix == old else old
                s.start()
                admin = s.login()
                assert Api(s.port, book.token).call("GET", "/me").status == 200, "a sign-in of before is forgotten"
                print(f"# turn {turn + 1}: {'new' if s.prefix == PREFIX else 'old'} took over with {in_flight} queued", flush=True)
                if s.prefix == PREFIX and turn < 2:  # work that only this build knows of stays in flight
                    admin.post("/rejudgings", {"benchmark_id": ledger.BENCHMARK, "reason": "left to the older build"}, expect=201)
            book.stop()
            assert not book.broken, book.broken
            assert s.prefix == old and orderly == turns // 2
            assert len(book.accepted) > 2 * turns, f"too little was accepted to prove anything: {len(book.accepted)}"
            # the older build ends it all, and lists what it does not know to be the copies of a set; then the newer one looks
            admin = s.login()
            for sid, verdict in book.accepted.items():
                assert s.wait_done(admin, sid, 240)["verdict"] == verdict, sid
            assert s.stop() == 0
            s.prefix = PREFIX
            s.start()
            check.settled(s, book, 60)
            assert s.stop() == 0
            odd = check.by_rows(rig.rows(), book.accepted)
            odd += [f"a score of {sid}, which no client knows" for sid, in rig.rows()("SELECT submission_id FROM scoring_scores")
                    if sid not in book.accepted]
            assert not odd, f"{len(odd)} of {len(book.accepted)} (seed {seed}):\n" + "\n".join(odd[:8])
            print(f"# seed {seed}: {turns} turns, accepted {len(book.accepted)}, without an answer {book.unknown}", flush=True)
        finally:
            book.ending.set()


if __name__ == "__main__":
    main(sys.modules[__name__])
