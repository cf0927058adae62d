"""Two gateways on one PostgreSQL: each leaves the other's work alone, and when one is killed the other does its work."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
import test_judging  # noqa: E402
from harness import PREFIX, Server, Skip, main, wait_for  # noqa: E402
from postgres import Missing, Postgres  # noqa: E402

SILENCE_S = 4


def test_a_change_at_one_gateway_is_in_force_at_the_other_when_it_is_answered():
    try:
        pg = Postgres()
    except Missing as why:
        raise Skip(str(why))
    with pg:
        env = {"STORAGE_DSN": pg.dsn, "RUNNER_MAX_PARALLEL": "1", "JWT_SIGNING_SECRET": "the same for both gateways, and long enough"}
        one, two = Server(env=env), Server(env=env)
        two.env["ASSAY_BLOB_DIR"] = one.env["ASSAY_BLOB_DIR"] = str(one.data / "blobs")
        try:
            one.start()
            two.start()
            author = test_judging.start(one)
            entrant = two.login()
            b = test_judging.publish(author, [("", "1\n")])
            problem = author.get(f"/benchmarks/{b}/problems").json["items"][0]["id"]
            stale = test_judging.changes(author, entrant, problem, b, test_judging.TIMES // 2)
            assert not stale, stale
        finally:
            one.close()
            two.close()


def test_a_killed_gateways_work_is_done_by_the_other():
    if not (PREFIX / "lib" / "assay" / "plugins" / "assay_store_postgres.so").exists():
        raise Skip("the PostgreSQL store was not built: libpq was not there (Debian: libpq-dev)")
    try:
        pg = Postgres()
    except Missing as why:
        raise Skip(str(why))
    with pg:
        env = {"STORAGE_DSN": pg.dsn, "ASSAY_INSTANCE_SILENCE": f"{SILENCE_S}s", "RUNNER_MAX_PARALLEL": "2",
               "JWT_SIGNING_SECRET": "the same for both gateways, and long enough"}
        one, two = Server(env=env), Server(env=env)
        two.env["ASSAY_BLOB_DIR"] = one.env["ASSAY_BLOB_DIR"] = str(one.data / "blobs")
        try:
            one.start()
            admin = one.login()
            one.demo(admin)
            admin.post("/benchmarks", {"id": "slow", "name": "Slow", "visibility": "public", "feedback": "full",
                                       "limits": {"time_limit_ms": 5000, "wall_limit_ms": 30000},
                                       "tests": [{"input": "", "expected_output": "3\n", "sample": True}]}, expect=201)
            send = lambda s: admin.post("/submissions", {"benchmark_id": "slow", "agent_id": "ada", "language": "bash",  # noqa: E731
                                                         "source": f"sleep {s}\necho 3\n"}, expect=202).json["id"]
            status = lambda api, sid: api.get(f"/submissions/{sid}").json  # noqa: E731
            long = [send(9), send(9)]
            for sid in long:
                wait_for("it to run", lambda sid=sid: status(admin, sid)["status"] == "running", 60)
            two.start()  # and leaves what the first one has
            other = two.login()
            for sid in long:
                s = two.wait_done(other, sid, timeout=60)
                assert s["verdict"] == "OK" and s["attempts"] == 1, s
            sent = [send(3) for _ in range(6)]
            wait_for("both to work", lambda: sum(status(other, s)["status"] == "running" for s in sent) >= 3, 60)
            one.process.kill()
            one.process.wait()
            killed = time.monotonic()
            for sid in sent:
                s = two.wait_done(other, sid, timeout=120)
                assert s["verdict"] == "OK" and s["attempts"] == 1, s  # a death of a gateway is no attempt
            took = time.monotonic() - killed
            assert took < SILENCE_S + 5 + 60, took
            ends = pg.sql("SELECT subject, COUNT(*) FROM assay_events WHERE topic = 'submission.done' GROUP BY subject").stdout.split()
            assert len(ends) == 8 and all(e.endswith("|1") for e in ends), ends
            gone = [x for x in two.log_text().splitlines() if "instance_gone" in x]
            assert len(gone) == 1, gone
        finally:
            one.close()
            two.close()


if __name__ == "__main__":
    main(sys.modules[__name__])
