"""The fault injectors. Each has a name, does one thing to a rig (run.py), and returns when it has been done.

strike() gives the monotonic time since which the server is expected to answer again, or None where it never stopped.
"""

import os
import signal
import time

from harness import wait_for  # run.py has put the folder on the path


def pid_of(rig, role):
    wait_for(f"a {role}", lambda: role in rig.server.children(), 30)
    return rig.server.children()[role]


def send(pid, sig):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass  # it has just ended by itself


def kill_server(rig, rng):
    send(pid_of(rig, "server"), signal.SIGKILL)
    return time.monotonic()


def kill_boxkeeper(rig, rng):
    send(pid_of(rig, "boxkeeper"), signal.SIGKILL)
    return None


def kill_supervisor(rig, rng):
    rig.server.process.kill()
    rig.server.process.wait()
    since = time.monotonic()
    rig.server.spawn()
    return since


def roll(rig, rng):
    """SIGTERM under load and a new start: an orderly end, whatever is under way."""
    started = time.monotonic()
    code = rig.server.stop()
    took = time.monotonic() - started
    rig.drains.append(took)
    assert code == 0, f"the supervisor ended with {code}"
    assert took <= 30, f"the drain took {took:.1f} s"
    rig.server.spawn()
    return time.monotonic()


def freeze(role):
    def strike(rig, rng):
        pid = pid_of(rig, role)
        send(pid, signal.SIGSTOP)
        time.sleep(rng.uniform(0.1, rig.freeze_s))
        send(pid, signal.SIGCONT)
        return None
    return strike


def kill_dockerd(rig, rng):
    rig.engine.kill()
    time.sleep(rng.uniform(0, 1))
    rig.engine.start()
    return None


def kill_postgres(rig, rng):
    """kill -9 of the postmaster, as of any process: the others end when they see it."""
    pid = int((rig.postgres.dir / "data" / "postmaster.pid").read_text().split()[0])
    send(pid, signal.SIGKILL)
    wait_for("the database's end", lambda: not os.path.exists(f"/proc/{pid}"), 20)
    end = time.monotonic() + 30
    while True:  # its shared memory must be let go of by the last backend first
        try:
            rig.postgres.start()
            return None
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def jump_clock(rig, rng):
    """The wall clock goes to another hour; the monotonic one goes on, as it does on a real machine."""
    rig.clock.set(rng.choice([-3600, -61, -1, 1, 61, 3600]) + rng.random())
    return None


def fill_disk(rig, rng):
    """No room on the data directory's file system for a while."""
    with open(rig.server.data.parent / "balloon", "wb") as f:
        try:
            while True:
                f.write(bytes(65536))
                f.flush()
        except OSError:
            pass
    time.sleep(rng.uniform(0.3, 1.5))
    os.unlink(rig.server.data.parent / "balloon")
    return None


# name: function, weight, what the rig must have
FAULTS = {
    "server": (kill_server, 4, None),
    "boxkeeper": (kill_boxkeeper, 2, None),
    "supervisor": (kill_supervisor, 2, None),
    "roll": (roll, 2, None),
    "freeze-server": (freeze("server"), 1, None),
    "freeze-boxkeeper": (freeze("boxkeeper"), 1, None),
    "dockerd": (kill_dockerd, 1, "engine"),
    "postgres": (kill_postgres, 2, "postgres"),
    "clock": (jump_clock, 2, "clock"),
    "full": (fill_disk, 1, "small"),
}
KILLS = ("server", "boxkeeper", "supervisor", "dockerd", "postgres")
