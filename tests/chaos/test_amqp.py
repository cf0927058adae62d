"""Workers on RabbitMQ, killed at random, and RabbitMQ too (broker_kills.py).

    tests/chaos/test_amqp.py                       the short form
    ASSAY_NIGHT=1 tests/chaos/test_amqp.py         200 kills
    ASSAY_KILLS=50 ASSAY_SEED=7 tests/chaos/test_amqp.py
"""

import contextlib
import json
import os
import random
import sys

import broker_kills as kills
from harness import PREFIX, Skip, main, wait_for
from rabbitmq import Missing, RabbitMQ

SEED = int(os.environ.get("ASSAY_SEED", "20"))


class Path(kills.Path):
    """Sends each task until RabbitMQ has confirmed it. One that was sent and not confirmed goes out again under its message_id; the ones
    without an id are only counted on where an answer is sure to come (see the docs of brokers)."""

    def __init__(self, deal, mq):
        super().__init__(deal)
        self.mq, self.client = mq, None

    def dial(self):
        def tried():
            with contextlib.suppress(OSError):
                return self.mq.client()
        self.client = wait_for("the broker", tried, 120, 0.2)

    def send(self):
        i, expected, named = str(len(self.sent) + 1), self.deal.choice(sorted(kills.PROGRAMS)), self.deal.random() < 0.5
        body = json.dumps({"id": i, "lang": "python", "code": kills.PROGRAMS[expected] + f"\n# {i}",
                           "tests": [{"input": f"{i}\n", "expected_output": f"{int(i) + 1}\n"}]})
        self.sent[i] = (expected, named)
        while True:
            try:
                if self.client is None:
                    self.dial()
                self.client.publish("tasks", body, f"m-{i}" if named else None)
                return
            except OSError:
                self.client = None
                if not named:  # perhaps there, perhaps not: once or never, and sent no second time
                    self.unsure.add(i)
                    return

    def harm(self):
        self.mq.restart()

    def collect(self):
        with contextlib.suppress(OSError), self.mq.client() as c:
            while (m := c.get("task-results")) is not None:
                self.take(json.loads(m[0]))

    def settled(self):
        return self.mq.counts("tasks") == (0, 0)


def test_kills():
    if not (PREFIX / "lib" / "assay" / "plugins" / "assay_broker_amqp.so").exists():
        raise Skip("the RabbitMQ broker was not built: rabbitmq-c was not there (Debian: librabbitmq-dev)")
    try:
        mq = RabbitMQ()
    except Missing as why:
        raise Skip(str(why))
    with mq:
        for q in ("tasks", "task-results", "tasks.dead"):
            mq.declare(q)
        with kills.workers({"AMQP_URL": mq.url, "ASSAY_INTAKE": "amqp", "ASSAY_AMQP_RECONNECT_MAX": "1s", "ASSAY_AMQP_RETRY_DELAY": "200ms"}) as two:
            kills.run(Path(random.Random(SEED), mq), two, SEED)
        dead = mq.counts("tasks.dead")[0]
        assert dead == 0, f"{dead} dead letters"


if __name__ == "__main__":
    main(sys.modules[__name__])
