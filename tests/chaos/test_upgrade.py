"""A newer program was here and has gone again, with work in flight: what it left may still be run on is, what may not is refused.

The newer program is stood in for by its mark: a migration that this one does not know, with the oldest program that may run on it.
"""

import sqlite3
import sys

import run  # noqa: F401 - puts the folders of the tests' parts on the path
from harness import Server, main, program


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


if __name__ == "__main__":
    main(sys.modules[__name__])
