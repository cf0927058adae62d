"""Workers on RabbitMQ, killed at random: the server process, the boxkeeper, the whole worker, and the broker itself. What the test sent is
written down outside of all of them; at the end each task has one verdict, the right one, from one judgement.

    tests/chaos/test_amqp.py                       the short form
    ASSAY_NIGHT=1 tests/chaos/test_amqp.py         200 kills
    ASSAY_KILLS=50 ASSAY_SEED=7 tests/chaos/test_amqp.py
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
from rabbitmq import Missing, RabbitMQ  # noqa: E402

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
KILLS = int(os.environ.get("ASSAY_KILLS", "200" if NIGHT else "6"))
SEED = int(os.environ.get("ASSAY_SEED", "20"))
PROGRAMS = {  # what is sent, and what must come of it
    "OK": 'print(int(input()) + 1)',
    "WA": 'print(int(input()) + 2)',
    "RE": 'import sys; sys.exit(3)',
    "BF": 'print(',
}


class Sender:
    """Sends as long as work is wanted, each task until the broker has confirmed it. One that was sent and not confirmed goes out again under its
    message_id; the ones without an id are only sent where an answer would be sure to come (see the docs of brokers)."""

    def __init__(self, mq, deal):
        self.mq, self.deal, self.sent, self.unsure = mq, deal, {}, set()

    def send(self, client, i):
        expected = self.deal.choice(sorted(PROGRAMS))
        named = self.deal.random() < 0.5
        body = json.dumps({"id": str(i), "lang": "python", "code": PROGRAMS[expected] + f"\n# {i}",
                           "tests": [{"input": f"{i}\n", "expected_output": f"{i + 1}\n"}]})
        while True:
            try:
                client.publish("tasks", body, f"m-{i}" if named else None)
                self.sent[str(i)] = (expected, named)
                return client
            except OSError:
                if not named:
                    self.unsure.add(str(i))  # perhaps there, perhaps not: once or never, and sent no second time
                    self.sent[str(i)] = (expected, named)
                    return self.again()
                client = self.again()

    def again(self):
        def dial():
            with contextlib.suppress(OSError):
                return self.mq.client()
        return wait_for("the broker", dial, 120, 0.2)


def strike(deal, mq, workers, log):
    """Kills one thing, and starts again what does not start itself. True: it was the broker."""
    what = deal.choices(["server", "boxkeeper", "worker", "broker"], [60, 15, 20, 5])[0]
    w = deal.choice(workers)
    if what == "broker":
        mq.restart()
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
    return what == "broker"


def test_kills():
    if not (PREFIX / "lib" / "assay" / "plugins" / "assay_broker_amqp.so").exists():
        raise Skip("the RabbitMQ broker was not built: rabbitmq-c was not there (Debian: librabbitmq-dev)")
    deal = random.Random(SEED)
    log, answers = collections.Counter(), collections.defaultdict(list)
    try:
        mq = RabbitMQ()
    except Missing as why:
        raise Skip(str(why))
    with mq, contextlib.ExitStack() as stack:
        env = {"AMQP_URL": mq.url, "ASSAY_INTAKE": "amqp", "ASSAY_ONLY": "submissions,runner", "ASSAY_AMQP_RECONNECT_MAX": "1s",
               "ASSAY_AMQP_RETRY_DELAY": "200ms"}
        for q in ("tasks", "task-results", "tasks.dead"):
            mq.declare(q)
        workers = [Server(env=env, name=f"worker{i}") for i in range(2)]
        for w in workers:
            stack.callback(w.close)
            w.spawn()
        for w in workers:
            w.wait_ready(120)
        sender = Sender(mq, deal)
        client, number, broker_deaths = sender.again(), 0, 0

        def collect():
            with contextlib.suppress(OSError), mq.client() as c:
                while (m := c.get("task-results")) is not None:
                    r = json.loads(m[0])
                    answers[r["id"]].append(r)

        for kill in range(KILLS):
            for _ in range(deal.randint(3, 8)):
                number += 1
                client = sender.send(client, number)
            time.sleep(deal.uniform(0.1, 1.2))
            broker_deaths += strike(deal, mq, workers, log)
            collect()
            behind = len(sender.sent) - len(answers)
            if behind > 60:  # not more work than there is time for
                wait_for("the workers to keep up", lambda: collect() or len(sender.sent) - len(answers) < 20, 300, 0.5)
        sure = set(sender.sent) - sender.unsure
        wait_for("all answers", lambda: collect() or sure <= set(answers), 300, 0.5)
        wait_for("all to be acknowledged", lambda: mq.counts("tasks") == (0, 0), 120, 1)
        collect()
        dead = mq.counts("tasks.dead")[0]
    lost = sorted(sure - set(answers), key=int)
    wrong = {i: [r.get("status", r.get("error")) for r in rs] for i, rs in answers.items() if any(r.get("status") != sender.sent[i][0] for r in rs)}
    judged = {i: len({r["event_id"] for r in rs}) for i, rs in answers.items()}
    double = {i: n for i, n in judged.items() if n > 1}
    said_again = sum(len(rs) - judged[i] for i, rs in answers.items())
    print(f"# seed {SEED}: {KILLS} kills ({', '.join(f'{n} {w}' for w, n in sorted(log.items()))}), {len(sender.sent)} tasks, {len(answers)} answered, "
          f"{len(sender.unsure)} of unknown sending, {len(lost)} lost, {len(wrong)} wrong, {len(double)} judged twice, {said_again} answers published again, {dead} dead letters")
    assert not lost and not wrong and dead == 0, (lost[:5], list(wrong.items())[:5], dead)
    # RabbitMQ does not promise that a transaction is whole when it dies itself in the middle of it: a task without an id may then be two
    named_twice = [i for i in double if sender.sent[i][1]]
    assert not named_twice and (not double or broker_deaths), double


if __name__ == "__main__":
    main(sys.modules[__name__])
