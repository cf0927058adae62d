"""The n-th call fails under a driver alone: its whole life again and again, a fault one call later each time, until none is met.

By day every few calls, by night all of them. The store and the blobs; each allocation, and each system call by its kind, once and from then on. What was acknowledged is
there when the next life begins, nothing crashes, and neither an allocation nor a descriptor stays behind.
"""

import errno
import os
import subprocess
import sys
import tempfile

import run  # noqa: F401 - puts the folders of the tests' parts on the path
import shims
from harness import main
from shims import Fault

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
# name: kinds, errno, part
CALLS = {
    "no memory": (Fault.ALLOC, errno.ENOMEM, 0),
    "EIO on a read": (Fault.READ, errno.EIO, 0),
    "EIO on a write": (Fault.WRITE, errno.EIO, 0),
    "EIO on an fsync": (Fault.SYNC, errno.EIO, 0),
    "ENOSPC": (Fault.WRITE | Fault.NAME, errno.ENOSPC, 0),
    "EIO on a name": (Fault.NAME, errno.EIO, 0),
    "EMFILE": (Fault.OPEN, errno.EMFILE, 0),
    "EINTR": (Fault.READ | Fault.WRITE, errno.EINTR, 0),
    "half": (Fault.READ | Fault.WRITE, 0, 1),
}


def sweep(plugin, command):
    total, wrong = 0, []
    for name, (kinds, err, part) in CALLS.items():
        step = "1" if NIGHT else "41" if kinds == Fault.ALLOC else "7"
        for persistent in (0,) if name in ("EINTR", "half") else (0, 1):
            with tempfile.TemporaryDirectory(prefix="assay-sweep-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as top:
                a = subprocess.run([shims.driver(), shims.plugin(plugin), top, command, str(kinds), str(err), str(persistent), str(part), step],
                                   env={"PATH": "/usr/bin:/bin", "LD_PRELOAD": str(shims.library("fault"))}, capture_output=True,
                                   text=True, timeout=500)
            lines = a.stdout.splitlines()
            swept = [x.split() for x in lines if x.startswith("swept")]
            odd = [x for x in lines if x.startswith(("wrong", "failed"))]
            if a.returncode != 0 or not swept or odd:
                wrong.append(f"{name}{' and on' if persistent else ''}: status {a.returncode}: {odd[:6]} {a.stderr[-1200:]}")
            else:
                total += int(swept[0][2])
                print(f"# {name}{' and on' if persistent else ''}: {int(swept[0][1]) - 2} calls failed, each in its turn", flush=True)
    assert not wrong, "\n".join(wrong)
    assert total > 50, f"only {total} faults: the library was not loaded"


def test_the_store_stands_every_call_that_fails():
    sweep("store_sqlite", "store-sweep")


def test_the_blobs_stand_every_call_that_fails():
    sweep("blob_fs", "blob-sweep")


if __name__ == "__main__":
    main(sys.modules[__name__])
