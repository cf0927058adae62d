"""The checker: what a server must have of a ledger when all is quiet again.

Each accepted submission has one terminal verdict, right for its program, one result, one score and one outgoing event with
an id of its own; and there is no submission that the ledger does not know.
"""

import collections
import pathlib
import sqlite3
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import wait_for  # noqa: E402
from ledger import BENCHMARK  # noqa: E402


def settled(server, ledger, seconds):
    """Waits until every submission of the ledger has ended and is scored; gives the admin's view."""
    server.wait_ready(90)
    admin = server.login()
    admin.timeout = 60
    for sid in list(ledger.accepted):
        server.wait_done(admin, sid, timeout=seconds)
    odd = by_api(admin, ledger.accepted)
    assert not odd, f"{len(odd)} of {len(ledger.accepted)}:\n" + "\n".join(odd[:8])
    # scoring works off the events of the ends: it may lag
    wait_for("scores of all", lambda: len(admin.all(f"/scores?benchmark_id={BENCHMARK}")) >= len(ledger.accepted), 120, 0.3)
    return admin


def by_api(admin, accepted):
    """What the API says that it should not."""
    odd = []
    for sid, verdict in accepted.items():
        s = admin.get(f"/submissions/{sid}").json
        if (s["status"], s["verdict"]) != ("done", verdict):
            odd.append(f"{sid} must be {verdict} and is {s['status']} {s['verdict']}: {s}")
    seen = [s["id"] for s in admin.all(f"/submissions?benchmark_id={BENCHMARK}")]
    odd += [f"{sid} is listed {n} times" for sid, n in collections.Counter(seen).items() if n != 1]
    odd += [f"{sid} was accepted and is gone" for sid in set(accepted) - set(seen)]
    odd += [f"{sid} is there and no client knows it" for sid in set(seen) - set(accepted)]
    return odd


def sqlite_rows(data):
    """query -> rows, of a stopped server's file, which must be sound."""
    db = sqlite3.connect(f"file:{data}/assay.db?mode=ro", uri=True)
    said = db.execute("PRAGMA integrity_check").fetchone()[0]
    assert said == "ok", said

    def rows(sql):
        return [tuple(r) for r in db.execute(sql).fetchall()]
    return rows


def postgres_rows(pg):
    def rows(sql):
        a = pg.sql(sql + ";\n")
        assert a.returncode == 0, a.stderr
        return [tuple(line.split("|")) for line in a.stdout.splitlines()]
    return rows


def by_rows(rows, accepted):
    """What the store has that it should not."""
    odd, ours = [], f"benchmark_id = '{BENCHMARK}'"
    once = {"result": f"SELECT submission_id, verdict FROM runner_results WHERE {ours}",
            "score": f"SELECT submission_id, verdict FROM scoring_scores WHERE {ours}"}
    for what, query in once.items():
        found = rows(query)
        count = collections.Counter(sid for sid, _ in found)
        odd += [f"{sid} has {count[sid]} {what} rows" for sid in accepted if count[sid] != 1]
        odd += [f"the {what} of {sid} says {verdict}, not {accepted[sid]}" for sid, verdict in found
                if sid in accepted and verdict != accepted[sid]]
    events = rows("SELECT subject, id FROM assay_events WHERE topic = 'submission.done'")
    count = collections.Counter(subject for subject, _ in events)
    odd += [f"{sid} has {count[sid]} terminal events" for sid in accepted if count[sid] != 1]
    ids = collections.Counter(i for (i,) in rows("SELECT id FROM assay_events"))
    odd += [f"{n} events have the id {i}" for i, n in ids.items() if n != 1]
    odd += [f"dead letter {r}" for r in rows("SELECT grp, seq, topic, error FROM assay_dead_letters")]
    # seq follows commit order without a gap
    seqs = [int(n) for (n,) in rows("SELECT seq FROM assay_events ORDER BY seq")]
    if seqs and seqs != list(range(seqs[0], seqs[0] + len(seqs))):
        odd.append("the outbox has a gap")
    return odd


# one for each kind of fault that the checker must see: it is planted in a copy of the rows
PLANTED = ["DELETE FROM runner_results WHERE submission_id = :id", "UPDATE runner_results SET verdict = 'IE' WHERE submission_id = :id",
           "DELETE FROM scoring_scores WHERE submission_id = :id", "UPDATE scoring_scores SET verdict = 'IE' WHERE submission_id = :id",
           "DELETE FROM assay_events WHERE topic = 'submission.done' AND subject = :id",
           "INSERT INTO assay_events (at_ms, id, topic, subject, owner, benchmark, payload) SELECT at_ms, 'another', topic, subject,"
           " owner, benchmark, payload FROM assay_events WHERE topic = 'submission.done' AND subject = :id",
           "UPDATE assay_events SET id = (SELECT MIN(id) FROM assay_events) WHERE topic = 'submission.done' AND subject = :id"]


def sees_planted(data, accepted):
    """Plants faults in a stopped server's file, which is of no use after this, and expects each to be seen."""
    assert len(accepted) >= len(PLANTED), "too few submissions to try the checker on"
    before = len(by_rows(sqlite_rows(data), accepted))
    for sid, statement in zip(accepted, PLANTED):
        db = sqlite3.connect(data / "assay.db")
        touched = db.execute(statement, {"id": sid}).rowcount
        db.commit()
        db.close()
        now = len(by_rows(sqlite_rows(data), accepted))
        assert touched == 1 and now > before, f"not seen: {statement}"
        before = now
