"""The server dies at a named step, at its first passage and at a later one: nothing is lost there, and nothing doubled.

    ASSAY_POINT=result.commit.after ASSAY_SEED=7 python3 tests/chaos/test_points.py

The points are those of shims/crash.c, each before and after its step: the request has come, the row is inserted, committed, the
answer is written, the job is leased, told to a box, its result is written, committed, scored, on the board, and each event's
delivery is noted.
"""

import os
import random
import struct
import sys
import time

import check
import ledger
import run
import shims
from harness import main, wait_for

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
SEED = int(os.environ.get("ASSAY_SEED", str(random.SystemRandom().randrange(1 << 30))))
STEPS = ["insert", "insert.commit", "answer", "lease", "lease.commit", "box", "result", "result.commit", "score", "score.commit",
         "board", "board.commit", "delivered", "delivered.commit"]
POINTS = ["request.after"] + [f"{s}.{side}" for s in STEPS for side in ("before", "after")]
HITS = 10 if NIGHT else 1  # at each point and each passage


class Crash(shims.Page):
    def __init__(self):
        super().__init__("crash", "CRASH_PAGE")

    def arm(self, point, nth):
        self.map[0:8] = bytes(8)
        self.map[16:64] = point.encode().ljust(48, b"\0")
        self.map[0:8] = struct.pack("=q", nth)

    @property
    def crashes(self):
        return struct.unpack_from("=q", self.map, 8)[0]


def test_a_death_at_every_named_point():
    rng = random.Random(SEED)
    points = [os.environ["ASSAY_POINT"]] if "ASSAY_POINT" in os.environ else POINTS
    todo = [(p, nth) for p in points for nth in ((1, 3) if NIGHT else (rng.choice((1, 2, 3)),)) for _ in range(HITS)]
    rng.shuffle(todo)
    with Crash() as crash, run.Rig(env=crash.env) as rig:
        server = rig.server
        ledger.publish(server.login())
        book = ledger.Ledger(rig.token, server.port, SEED, server.data.parent / "ledger.jsonl", pause=(0.0, 0.1))
        try:
            book.start(3)
            for n, (point, nth) in enumerate(todo, 1):
                crash.arm(point, nth)
                wait_for(f"a death at {point}, passage {nth}", lambda: crash.crashes == n, 60)
                run.answer_time(rig, time.monotonic())
            book.stop()
            assert not book.broken, book.broken
            check.settled(server, book, 180)
            assert server.stop() == 0
            odd = check.by_rows(rig.rows(), book.accepted)
            assert not odd, f"{len(odd)} of {len(book.accepted)} (seed {SEED}):\n" + "\n".join(odd[:8])
        finally:
            book.ending.set()
        died = server.log_text().count('"event":"died"')
        assert died >= len(todo), (died, len(todo))
        print(f"# seed {SEED}: {len(todo)} deaths at {len(points)} points; accepted {len(book.accepted)}, requests without an answer "
              f"{book.unknown}", flush=True)


if __name__ == "__main__":
    main(sys.modules[__name__])
