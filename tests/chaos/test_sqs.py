"""Workers on SQS, killed at random: the server process, the boxkeeper, the whole worker; and the service that throttles, fails or breaks off. What the test
sent is written down outside of all of them; at the end each message has one verdict, the right one, under one event id.

    tests/chaos/test_sqs.py                        the short form
    ASSAY_NIGHT=1 tests/chaos/test_sqs.py          200 kills
    ASSAY_KILLS=50 ASSAY_SEED=7 tests/chaos/test_sqs.py
"""

import collections
import contextlib
import json
import os
import pathlib
import random
import signal
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "e2e"), str(pathlib.Path(__file__).resolve().parents[1] / "parts")]
from harness import PREFIX, Server, Skip, main, wait_for  # noqa: E402
from sqs import Missing, Sqs  # noqa: E402
from test_amqp import PROGRAMS  # noqa: E402

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
KILLS = int(os.environ.get("ASSAY_KILLS", "200" if NIGHT else "6"))
SEED = int(os.environ.get("ASSAY_SEED", "21"))


def strike(deal, s, workers, log):
    """Kills one thing, and starts again what does not start itself; or makes the next requests fail."""
    what = deal.choices(["server", "boxkeeper", "worker", "service"], [60, 15, 20, 5])[0]
    w = deal.choice(workers)
    if what == "service":
        s.fault(deal.choice(["error", "reset", "cut"]), times=deal.randint(1, 6))
    elif what == "worker":
        w.stop(signal.SIGKILL)
        w.spawn()
    else:
        pid = w.children().get(what)
        if pid is None:
            what += " (between two lives)"
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    log[what] += 1


def test_kills():
    if not (PREFIX / "lib" / "assay" / "plugins" / "assay_broker_sqs.so").exists():
        raise Skip("broker_sqs was not built")
    deal = random.Random(SEED)
    log, sent, answers = collections.Counter(), {}, collections.defaultdict(list)
    try:
        emulator = Sqs(os.environ.get("ASSAY_PARTS_BUILD")).__enter__()
    except Missing as why:
        raise Skip(str(why))
    with contextlib.ExitStack() as stack:
        stack.callback(emulator.__exit__)
        s = emulator
        jobs, results = s.queue("chaos-jobs"), s.queue("chaos-results")
        env = {**s.env, "ASSAY_INTAKE": "sqs", "AWS_SQS_QUEUE_URL": jobs, "AWS_SQS_RESULTS_QUEUE_URL": results, "ASSAY_SQS_VISIBILITY": "6s",
               "RUNNER_POLL_INTERVAL_MS": "1000", "ASSAY_ONLY": "submissions,runner"}
        workers = [Server(env=env, name=f"worker{i}") for i in range(2)]
        for w in workers:
            stack.callback(w.close)
            w.spawn()
        for w in workers:
            w.wait_ready(120)

        def again(call, *args, **kw):
            """Of the test's own requests, which meet the same faults."""
            def tried():
                with contextlib.suppress(OSError, AssertionError):
                    return [call(*args, **kw)]
            return wait_for("the service", tried, 60, 0.1)[0]

        def collect():
            while messages := again(s.take, results, wait=0):
                for m in messages:
                    r = json.loads(m["Body"])
                    answers[r["id"]].append(r)
                    again(s.drop, results, m)

        for _ in range(KILLS):
            for _ in range(deal.randint(3, 8)):
                number, expected = str(len(sent) + 1), deal.choice(sorted(PROGRAMS))
                sent[number] = expected
                again(s.send, jobs, json.dumps({"type": "script", "id": number, "language": "python", "source": PROGRAMS[expected] + f"\n# {number}",
                                                "tests": [{"number": 1, "input": f"{number}\n", "expected_output": f"{int(number) + 1}\n"}]}))
            time.sleep(deal.uniform(0.1, 1.2))
            strike(deal, s, workers, log)
            collect()
            if len(sent) - len(answers) > 60:  # not more work than there is time for
                wait_for("the workers to keep up", lambda: collect() or len(sent) - len(answers) < 20, 300, 0.5)
        wait_for("all answers", lambda: collect() or set(sent) <= set(answers), 300, 0.5)
        wait_for("all to be deleted", lambda: again(s.left, jobs) == (0, 0), 120, 1)
        collect()
    wrong = {i: [r.get("status", r.get("error")) for r in rs] for i, rs in answers.items() if any(r.get("status") != sent[i] for r in rs)}
    events = {i: len({r["event_id"] for r in rs}) for i, rs in answers.items()}
    # a request of the test's own that broke off after it was taken is sent again, and is then two messages
    twice = [i for i, n in events.items() if n > 1]
    said_again = sum(len(rs) - events[i] for i, rs in answers.items())
    print(f"# seed {SEED}: {KILLS} strikes ({', '.join(f'{n} {w}' for w, n in sorted(log.items()))}), {len(sent)} messages, {len(answers)} answered, "
          f"{len(wrong)} wrong, {len(twice)} under two event ids, {said_again} answers published again")
    assert set(answers) == set(sent) and not wrong, (sorted(set(sent) ^ set(answers))[:5], list(wrong.items())[:5])
    assert not twice or log["service"], twice


if __name__ == "__main__":
    main(sys.modules[__name__])
