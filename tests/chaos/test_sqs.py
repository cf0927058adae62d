"""Workers on SQS, killed at random, and a service that throttles, fails or breaks off (broker_kills.py).

    tests/chaos/test_sqs.py                        the short form
    ASSAY_NIGHT=1 tests/chaos/test_sqs.py          200 kills
    ASSAY_KILLS=50 ASSAY_SEED=7 tests/chaos/test_sqs.py
"""

import contextlib
import json
import os
import random
import sys

import broker_kills as kills
from harness import PREFIX, Skip, main, wait_for
from sqs import Missing, Sqs

SEED = int(os.environ.get("ASSAY_SEED", "21"))


class Path(kills.Path):
    """The test's own requests meet the same faults: one that broke off after it was taken is sent again, and is then two messages."""

    name = "service"

    def __init__(self, deal, s):
        super().__init__(deal)
        self.s, self.jobs, self.results = s, s.queue("chaos-jobs"), s.queue("chaos-results")

    def again(self, call, *args, **kw):
        def tried():
            with contextlib.suppress(OSError, AssertionError):
                return [call(*args, **kw)]
        return wait_for("the service", tried, 60, 0.1)[0]

    def send(self):
        i, expected = str(len(self.sent) + 1), self.deal.choice(sorted(kills.PROGRAMS))
        self.sent[i] = (expected, False)
        self.again(self.s.send, self.jobs, json.dumps({
            "type": "script", "id": i, "language": "python", "source": kills.PROGRAMS[expected] + f"\n# {i}",
            "tests": [{"number": 1, "input": f"{i}\n", "expected_output": f"{int(i) + 1}\n"}]}))

    def harm(self):
        self.s.fault(self.deal.choice(["error", "reset", "cut"]), times=self.deal.randint(1, 6))

    def collect(self):
        while messages := self.again(self.s.take, self.results, wait=0):
            for m in messages:
                self.take(json.loads(m["Body"]))
                self.again(self.s.drop, self.results, m)

    def settled(self):
        return self.again(self.s.left, self.jobs) == (0, 0)


def test_kills():
    if not (PREFIX / "lib" / "assay" / "plugins" / "assay_broker_sqs.so").exists():
        raise Skip("broker_sqs was not built")
    try:
        emulator = Sqs(os.environ.get("ASSAY_PARTS_BUILD")).__enter__()
    except Missing as why:
        raise Skip(str(why))
    with contextlib.ExitStack() as stack:
        stack.callback(emulator.__exit__)
        path = Path(random.Random(SEED), emulator)
        with kills.workers({**emulator.env, "ASSAY_INTAKE": "sqs", "AWS_SQS_QUEUE_URL": path.jobs, "AWS_SQS_RESULTS_QUEUE_URL": path.results,
                            "ASSAY_SQS_VISIBILITY": "6s", "RUNNER_POLL_INTERVAL_MS": "1000"}) as two:
            kills.run(path, two, SEED)


if __name__ == "__main__":
    main(sys.modules[__name__])
