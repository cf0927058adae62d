"""The wall clock jumps, runs backwards, and reaches 2038: no lease ends early, no job is stuck, nothing is judged twice.

The clock is the server's alone (shims/clock.c); the monotonic one goes on, as it does when a machine's clock is set.
"""

import calendar
import os
import random
import sys
import threading
import time

import check
import ledger
import run
from harness import main

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
SEED = int(os.environ.get("ASSAY_SEED", str(random.SystemRandom().randrange(1 << 30))))


def under(moving, seconds):
    """Submissions while moving(rig) goes on; then each must have been judged from its first lease."""
    with run.Rig(wanted=["clock"]) as rig:
        server = rig.server
        ledger.publish(server.login())
        book = ledger.Ledger(rig.token, server.port, SEED, server.data.parent / "ledger.jsonl")
        book.start(3)
        end, stop = time.monotonic() + seconds, threading.Event()
        mover = threading.Thread(target=moving, args=(rig, stop), daemon=True)
        mover.start()
        time.sleep(max(0, end - time.monotonic()))
        book.stop()
        assert not book.broken, book.broken
        assert len(book.accepted) > seconds, f"only {len(book.accepted)} were accepted"
        stop.set()  # the clock stays where it is: a token must be good for the time of the count
        mover.join(10)
        check.settled(server, book, 120)
        assert server.stop() == 0
        rows = check.sqlite_rows(server.data)
        odd = check.by_rows(rows, book.accepted)
        odd += rows("SELECT id, state, fence, attempts, interruptions, reason FROM submissions WHERE fence <> 1 OR attempts <> 1 OR"
                    " interruptions <> 0")
        assert not odd, f"seed {SEED}: {odd[:6]}"
        print(f"# {len(book.accepted)} submissions, refused {dict(book.refused)}", flush=True)
        return rows


def test_jumps_of_an_hour():
    rng = random.Random(SEED)

    def moving(rig, stop):
        while not stop.wait(rng.uniform(0.1, 0.8)):
            rig.clock.set(rng.choice([-3600, -61, -1, 0, 1, 61, 3600]) + rng.random())
        rig.clock.set(0)
    under(moving, 60 if NIGHT else 5)


def test_backwards_a_second_every_tenth():
    def moving(rig, stop):
        ahead = 0.0
        while not stop.wait(0.1):
            ahead -= 1
            rig.clock.set(ahead)
    under(moving, 60 if NIGHT else 5)


def test_the_end_of_32_bits():
    def moving(rig, stop):
        rig.clock.set(calendar.timegm((2038, 1, 19, 3, 14, 4)) - time.time())
        stop.wait()
    rows = under(moving, 60 if NIGHT else 5)
    latest = int(rows("SELECT MAX(finished_ms) FROM submissions")[0][0])
    assert latest > 2**31 * 1000, f"the clock did not get there: {latest}"


if __name__ == "__main__":
    main(sys.modules[__name__])
