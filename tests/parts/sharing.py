"""What worker processes that share one source of work must hold, whatever the source: a Kafka topic, a RabbitMQ queue, an SQS queue, a PostgreSQL.

Each message is judged once, by one of them, and each of them has some. When one is killed, what it had is answered from elsewhere within
the lease (for how long the source waits for a worker that says nothing) and 5 s.

A source lends send(ids, seconds), which sends programs that sleep for so long, and answers(), which gives {id: [status]}.
"""

import json
import time

from harness import wait_for

GRACE_S = 5


def program(i, seconds):
    return f"import time\ntime.sleep({seconds})\nprint(sum(map(int, input().split())))\n# {i}\n"


def script(i, seconds):
    return json.dumps({"type": "script", "id": i, "language": "python", "source": program(i, seconds),
                       "limits": {"time_limit_ms": 5000, "memory_limit_bytes": 256 << 20},
                       "tests": [{"number": 1, "input": "1 2\n", "expected_output": "3\n"}]})


def judged(worker):
    return int(worker.metric("assay_runner_verdicts_total"))


def all_answered(answers, ids, timeout):
    got = wait_for(f"{len(ids)} answers", lambda: (a := answers()) and set(ids) <= set(a) and a, timeout, 0.2)
    wrong = {i: got[i] for i in ids if got[i] != ["OK"]}
    assert not wrong, f"not answered once and right: {list(wrong.items())[:5]}"


def each_is_judged_once(workers, send, answers, name, n):
    """n messages among these workers, with nothing in their way."""
    before, ids = [judged(w) for w in workers], [f"{name}-{i}" for i in range(n)]
    send(ids, 0.2)
    all_answered(answers, ids, 120)
    took = [judged(w) - b for w, b in zip(workers, before)]
    print(f"# {n} messages among {len(workers)}: {took}")
    assert sum(took) == n and all(took), f"{n} messages, and the workers judged {took}"


def a_killed_ones_work_is_done_elsewhere(workers, send, answers, lease_s, spare=()):
    """Kills one that has something in hand, but none of spare; gives the others."""
    ids = [f"left-{i}" for i in range(4 * len(workers))]
    send(ids, 0.4)
    victim = wait_for("one that is at work", lambda: next((w for w in workers if w not in spare and w.metric("assay_runner_slots_busy") > 0), None), 60)
    victim.kill()
    killed = time.monotonic()
    done = {}

    def look():
        got = answers()
        for i in ids:
            if i in got and i not in done:
                done[i] = time.monotonic() - killed
        return got if len(done) == len(ids) else None
    got = wait_for("all answers", look, 120, 0.1)
    last = max(done.values())
    print(f"# the last of {len(ids)} was answered {last:.1f} s after the kill; the lease is {lease_s} s")
    wrong = {i: got[i] for i in ids if set(got[i]) != {"OK"}}
    assert not wrong, wrong
    assert last <= lease_s + GRACE_S, f"{last:.1f} s, and the lease is {lease_s} s"
    return [w for w in workers if w is not victim]


def three_then_two(workers, send, answers, lease_s, spare=()):
    each_is_judged_once(workers, send, answers, "three", 24)
    rest = a_killed_ones_work_is_done_elsewhere(workers, send, answers, lease_s, spare)
    each_is_judged_once(rest, send, answers, "two", 16)
