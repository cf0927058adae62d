"""kill -9 at random moments under load, and orderly restarts: every accepted submission ends with exactly one right verdict.

    ASSAY_KILLS=50 ASSAY_SEED=7 python3 tests/chaos/test_kill.py

run.py is the same with all its choices.
"""

import os
import random
import sys

import run
from harness import main, night

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
KILLS = int(os.environ.get("ASSAY_KILLS", "1000" if NIGHT else "25"))
SEED = int(os.environ.get("ASSAY_SEED", str(random.SystemRandom().randrange(1 << 30))))


def test_kill_9_loses_and_doubles_nothing():
    run.chaos(SEED, ["server", "boxkeeper", "supervisor"], count=KILLS)


def test_kill_9_loses_and_doubles_nothing_on_postgresql():
    run.chaos(SEED, ["server", "boxkeeper", "supervisor", "postgres"], count=200 if NIGHT else 8, store="postgres")


@night  # the image of all languages is made for it
def test_kill_9_of_the_container_engine_too():
    run.chaos(SEED, ["server", "boxkeeper", "supervisor", "dockerd"], count=100, driver="docker")


def test_rolling_restarts_fail_no_accepted_request():
    """Orderly ends under load: work under way is given back at once, not when its lease runs out."""
    run.chaos(SEED, ["roll"], count=100 if NIGHT else 4)


if __name__ == "__main__":
    main(sys.modules[__name__])
