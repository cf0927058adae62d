"""Minutes of load with a kill of the boxkeeper now and then: descriptors, memory, processes, files and cgroup leaves do not grow.

    ASSAY_SOAK_SECONDS=3600 ASSAY_SEED=7 python3 tests/chaos/test_soak.py
"""

import os
import pathlib
import random
import signal
import sys
import time

import check
import ledger
import run
from faults import pid_of, send
from harness import main, wait_for
from residue import Residue, descendants, status

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
SECONDS = float(os.environ.get("ASSAY_SOAK_SECONDS", "1200" if NIGHT else "20"))
SEED = int(os.environ.get("ASSAY_SEED", str(random.SystemRandom().randrange(1 << 30))))


def sample(server, pid):
    kids = descendants(server.process.pid)
    return {"descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "resident KiB": int(status(pid)["VmRSS"].split()[0]),
            "zombies": sum(status(k).get("State", "").strip().startswith("Z") for k in kids),
            "blobs waiting": len(os.listdir(server.data / "blobs" / "~tmp")),
            "run files": sum(1 for p in pathlib.Path(server.data / "run").rglob("*") if p.is_file())}


def middle(samples, what):
    ordered = sorted(s[what] for s in samples)
    return ordered[len(ordered) // 2]


def test_nothing_grows():
    rng = random.Random(SEED)
    with run.Rig() as rig:
        server = rig.server
        ledger.publish(server.login())
        book = ledger.Ledger(rig.token, server.port, SEED, server.data.parent / "ledger.jsonl")
        pid = server.children()["server"]
        book.start(3)
        samples, end, next_kill = [], time.monotonic() + SECONDS, time.monotonic() + 5
        while time.monotonic() < end:
            time.sleep(SECONDS / 100)
            samples.append(sample(server, pid))
            if time.monotonic() > next_kill:
                send(pid_of(rig, "boxkeeper"), signal.SIGKILL)
                next_kill = time.monotonic() + rng.uniform(5, 15)
        book.stop()
        assert not book.broken, book.broken
        check.settled(server, book, 120)
        assert server.children()["server"] == pid, "the server was replaced: its figures are another's"
        quarter = len(samples) // 4
        early, late = samples[quarter:2 * quarter], samples[-quarter:]
        figures = {what: (middle(early, what), middle(late, what)) for what in samples[0]}
        print(f"# {len(book.accepted)} submissions in {SECONDS:.0f} s: {figures}", flush=True)
        room = {"descriptors": 12, "resident KiB": 16384, "zombies": 2, "blobs waiting": 4, "run files": 4}
        grown = {what: pair for what, pair in figures.items() if pair[1] > pair[0] + room[what]}
        assert not grown, grown
        residue = Residue(server, range(0))
        wait_for("no program of a box", lambda: not residue.programs(), 20)
        wal = (server.data / "assay.db-wal").stat().st_size
        assert wal < 128 << 20, f"the log has {wal} bytes"
        assert server.stop() == 0
        odd = check.by_rows(rig.rows(), book.accepted)
        assert not odd, odd[:8]


if __name__ == "__main__":
    main(sys.modules[__name__])
