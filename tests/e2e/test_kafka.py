"""Workers on a real Kafka (0.9, of 2016: tests/parts/kafka.py): the older worker's producers and consumers do not notice the change."""

import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
import kafka_kit as kit  # noqa: E402
import sharing  # noqa: E402
from harness import PREFIX, main, night, wait_for  # noqa: E402


def simulate(k, *argv):
    p = subprocess.run([str(PREFIX / "bin" / "assay"), "simulate", "--via", "kafka", "--json", "--wait", "180", *argv], capture_output=True,
                       text=True, timeout=900, env={"PATH": "/usr/bin:/bin", "HOME": str(k.dir), "KAFKA_BROKERS": k.brokers,
                                                    "KAFKA_PROPERTIES": k.properties})
    return p.returncode, json.loads(p.stdout) if p.stdout.strip() else p.stderr


def test_all_languages_and_outcomes_in_the_older_format_and_what_nobody_can_judge():
    with kit.kafka(partitions=4) as k, kit.Workers(k, 1) as (worker,):
        rc, s = simulate(k, "--profile", "older")
        assert rc == 0 and s["differences"] == 0 and s["all"]["judged"] == 25, s
        bad = [("nonsense", "{not json"), ("", json.dumps({"type": "script", "id": "inner", "language": "cobol", "source": "x"})),
               ("empty", json.dumps({"type": "script", "language": "c", "source": ""})), ("wrong", json.dumps([1, 2])),
               ("after", kit.script("after", "c", "right.c"))]
        kit.produce(k, bad)
        got = kit.wait_results(k, ["nonsense", "inner", "empty", "wrong", "after"])
        assert got["after"][0]["status"] == "OK" and [t["status"] for t in got["after"][0]["tests"]] == ["OK", "OK"], got["after"]
        for key in ("nonsense", "inner", "empty", "wrong"):
            r = got[key][0]
            assert len(got[key]) == 1 and r["id"] == key and r["error"] and "status" not in r and "tests" not in r, r
        # what is no script at all is kept where somebody may look at it; the others were answered, which is enough
        wait_for("dead letters", lambda: len(kit.read(k, "scripts.dead")) >= 2, 30)
        assert sorted(kit.read(k, "scripts.dead")) == [("nonsense", "{not json"), ("wrong", "[1, 2]")]
        assert worker.stop() == 0


def test_three_workers_share_a_topic_and_a_killed_ones_work_is_done_by_the_others():
    session_s = 3
    with kit.kafka(partitions=6) as k, kit.Workers(k, 3, session_ms=session_s * 1000) as workers:
        def send(ids, seconds):
            kit.produce(k, [(i, sharing.script(i, seconds)) for i in ids])

        def answers():
            """A result that is there twice under one event id is one; that may be so of what was in a killed worker's hands."""
            return {i: [r.get("status") for r in {r["event_id"]: r for r in rs}.values()] for i, rs in kit.results(k).items()}
        sharing.three_then_two(workers, send, answers, session_s)


@night  # the chaos tests kill a broker too
def test_the_broker_may_be_killed_and_come_back_under_load():
    with kit.kafka(partitions=3) as k, kit.Workers(k, 2) as workers:
        sent, expected = kit.messages(60, "load")
        kit.produce(k, sent)
        wait_for("a beginning", lambda: len(kit.results(k)) > 10, 60, every=0.1)
        k.stop(kill=True)
        down = wait_for("a worker that says so", lambda: (a := workers[0].api().call("GET", "/readyz")).status == 503 and a, 60)
        assert "no broker of 127.0.0.1" in down.body.decode(), down
        k.start()
        print(f"# {kit.check(kit.wait_results(k, expected, 180), expected)} results were there twice, with one event id")
        wait_for("readiness", lambda: workers[0].api().call("GET", "/readyz").status == 200, 60)


def test_a_worker_that_ends_after_so_many_leaves_the_rest_to_the_next():
    with kit.kafka(partitions=1) as k:
        sent, expected = kit.messages(12, "few", [("c", "right.c", "OK")])
        kit.produce(k, sent)
        first = kit.Worker(k, env={"SCRIPT_EXPECTED": "4"})
        try:
            first.spawn()
            wait_for("its end", lambda: first.process.poll() is not None, 90)
            assert first.process.returncode == 0, first.log_text()[-2000:]
        finally:
            first.close()
        n = sum(len(r) for r in kit.results(k).values())
        assert 4 <= n < 12, n
        second = kit.Worker(k)
        try:
            second.start(120)
            assert kit.check(kit.wait_results(k, expected), expected) == 0
            # the end of the stream ends a process that is a worker and nothing else
            kit.produce(k, [("", json.dumps({"type": "done"}))])
            wait_for("its end", lambda: second.process.poll() is not None, 60)
            assert second.process.returncode == 0, second.log_text()[-2000:]
        finally:
            second.close()


if __name__ == "__main__":
    main(sys.modules[__name__])
