"""A worker that takes its work from SQS: an emulator whose every request must be signed right (tests/parts/sqs.py)."""

import collections
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
from harness import PREFIX, Server, Skip, main, program  # noqa: E402
import sharing  # noqa: E402
from sqs import Missing, Sqs  # noqa: E402

TESTS = [{"number": 1, "input": "1 2 3\n", "expected_output": "6\n"}, {"number": 2, "input": "10 -5 7\n", "expected_output": "12\n"}]
SQS = None
VISIBILITY_S = 6


def emulator():
    global SQS
    if not (PREFIX / "lib" / "assay" / "plugins" / "assay_broker_sqs.so").exists():
        raise Skip("broker_sqs was not built")
    if SQS is None:
        try:
            SQS = Sqs(os.environ.get("ASSAY_PARTS_BUILD")).__enter__()
        except Missing as why:
            raise Skip(str(why))
    return SQS


def worker(s, jobs, results, name, data=None):
    return Server(env={**s.env, "ASSAY_INTAKE": "sqs", "AWS_SQS_QUEUE_URL": jobs, "AWS_SQS_RESULTS_QUEUE_URL": results,
                       "ASSAY_SQS_VISIBILITY": f"{VISIBILITY_S}s", "RUNNER_POLL_INTERVAL_MS": "1000",
                       "RUNNER_MAX_PARALLEL": "2"}, args=["--only", "submissions,runner"], name=name, data=data)


def collect(s, queue, ids, timeout=150):
    """{id: [results]} until every id has one; what comes twice within two seconds after that is seen too."""
    got, end = {}, time.monotonic() + timeout
    while time.monotonic() < end:
        for m in s.take(queue, wait=1):
            r = json.loads(m["Body"])
            got.setdefault(r["id"], []).append(r)
            s.drop(queue, m)
        if set(ids) <= set(got):
            end = min(end, time.monotonic() + 2)
    assert set(ids) <= set(got), (sorted(set(ids) - set(got)), got)
    return got


def test_messages_are_judged_once_and_deleted():
    s = emulator()
    jobs, results = s.queue("e2e-jobs"), s.queue("e2e-results")
    w = worker(s, jobs, results, "sqs")
    try:
        w.start()
        wanted = {"right": "OK", "wrong": "WA"}
        for name in wanted:
            s.send(jobs, json.dumps({"type": "script", "id": name, "language": "python", "source": program(f"{name}.py"), "tests": TESTS}))
        got = collect(s, results, wanted)
        assert {k: [r["status"] for r in v] for k, v in got.items()} == {k: [v] for k, v in wanted.items()}, got
        end = time.monotonic() + 20
        while s.left(jobs) != (0, 0):
            assert time.monotonic() < end, s.left(jobs)
            time.sleep(0.2)
    finally:
        w.close()


def test_three_workers_share_a_queue_and_a_killed_ones_work_is_done_by_the_others():
    s = emulator()
    jobs, results = s.queue("shared-jobs"), s.queue("shared-results")
    seen = collections.defaultdict(dict)

    def answers():
        """{id: [status]}, one for each event id: one verdict, however often it was told."""
        while messages := s.take(results, wait=0):
            for m in messages:
                r = json.loads(m["Body"])
                seen[r["id"]][r["event_id"]] = r.get("status")
                s.drop(results, m)
        return {i: list(by_event.values()) for i, by_event in seen.items()}

    def send(ids, seconds):
        for i in ids:
            s.send(jobs, sharing.script(i, seconds))
    workers = [worker(s, jobs, results, f"shared{i}") for i in range(3)]
    try:
        for w in workers:
            w.spawn()
        for w in workers:
            w.wait_ready(120)
        sharing.three_then_two(workers, send, answers, VISIBILITY_S)
    finally:
        for w in workers:
            w.close()


if __name__ == "__main__":
    try:
        main(sys.modules[__name__])
    finally:
        if SQS:
            SQS.__exit__()
