"""Thousands of clients that send their head, send their body or read their answer a byte at a time, beside honest ones.

    ASSAY_SLOW=8000 python3 tests/chaos/test_slow.py

What must hold on any machine is asserted: honest requests are answered, all of the slow ones are held at once, those that a
deadline ends come again, their memory is bounded, and when they have gone nothing of them is left.  The server has its defaults.  The p99 of
honest requests is measured in turn without and beside them, ASSAY_ROUNDS times, and printed; at night the median of the
rounds' ratios is held to two.
"""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import harness  # noqa: E402
from flood import Line  # noqa: E402
from harness import Server, wait_for  # noqa: E402

NIGHT = os.environ.get("ASSAY_NIGHT") == "1"
SLOW = int(os.environ.get("ASSAY_SLOW", "8000" if NIGHT else "900"))
SECONDS = 20 if NIGHT or "ASSAY_SLOW" in os.environ else 6
ROUNDS = int(os.environ.get("ASSAY_ROUNDS", "3" if NIGHT else "1"))
HELD = 0.95     # part of them that is open at any moment: one that was ended takes its while to come again
MB_EACH = 0.02  # what a connection may cost in the server's memory: all that they read is the same and in memory once


class Honest(threading.Thread):
    """Asks who it is, some hundred times a second, on one connection."""

    def __init__(self, port, token):
        super().__init__(daemon=True)
        self.line, self.times, self.bad, self.ending = Line(port), [], [], threading.Event()
        self.data = f"GET /me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()

    def run(self):
        while not self.ending.wait(0.01):
            begun = time.monotonic()
            try:
                status, _, body = self.line.ask(self.data)
                if status != 200:
                    self.bad.append(f"{status} {body[:200]!r}")
            except OSError as e:
                self.bad.append(str(e))
            self.times.append(time.monotonic() - begun)


def honest(server, token, seconds):
    """(p50, p99) in ms of four such clients."""
    all4 = [Honest(server.port, token) for _ in range(4)]
    for h in all4:
        h.start()
    time.sleep(seconds)
    for h in all4:
        h.ending.set()
    times = []
    for h in all4:
        h.join(30)
        assert not h.bad, h.bad[:3]
        times += h.times
    times.sort()
    assert len(times) > 20 * seconds, f"only {len(times)} requests in {seconds} s"
    return times[len(times) // 2] * 1000, times[len(times) * 99 // 100] * 1000


def memory_mb(server):
    for line in pathlib.Path(f"/proc/{server.children()['server']}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


class Slow:
    """slow.py, and what it and the server say of how many are held."""

    def __init__(self, server):
        self.server, self.least, self.server_least, self.ended, self.most_mb = server, SLOW, 1 << 30, 0, 0.0
        self.process = subprocess.Popen([sys.executable, str(HERE / "slow.py"), str(server.port), str(SLOW)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()  # all of them have been made
        self.watching = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        """From now on."""
        self.process.stdout.readline()
        for line in self.process.stdout:
            said = json.loads(line)
            self.least, self.ended = min(self.least, said["least"]), said["ended"]
            self.server_least = min(self.server_least, int(self.server.metric("assay_http_connections ")))
            self.most_mb = max(self.most_mb, memory_mb(self.server))

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(60)


def one_round(server, token):
    """The ratio of the honest p99 beside them to that without."""
    before = memory_mb(server)
    alone = honest(server, token, SECONDS)
    slow = Slow(server)
    try:
        wait_for("the slow ones", lambda: server.metric("assay_http_connections ") >= SLOW * HELD, 60)
        slow.watching.start()
        beside = honest(server, token, SECONDS)
        wait_for("deadlines to end some", lambda: server.metric("assay_http_timeouts_total") > 0, 60)
    finally:
        slow.stop()
    slow.watching.join(30)
    grown, ratio = slow.most_mb - before, beside[1] / alone[1]
    print(f"# at least {slow.least} open as they see it, {slow.server_least} as the server does, {slow.ended} ended and replaced; honest p50/p99 "
          f"alone {alone[0]:.1f}/{alone[1]:.1f} ms, beside them {beside[0]:.1f}/{beside[1]:.1f} ms: {ratio:.2f}; {grown:.0f} MB more; "
          f"load {os.getloadavg()[0]:.1f}", flush=True)
    assert slow.least >= SLOW * HELD and slow.server_least >= SLOW * HELD, (slow.least, slow.server_least)
    assert grown <= 40 + SLOW * MB_EACH, f"{grown} MB for {SLOW} connections"
    wait_for("all of them to be gone", lambda: server.metric("assay_http_connections ") <= 4, 60)
    return ratio if alone[1] >= 2 else beside[1] / 2  # below 2 ms the machine's own noise is more


def test_honest_clients_are_served_beside_thousands_of_slow_ones():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < SLOW + 200:
        raise harness.Skip(f"{SLOW} connections need more descriptors than the {hard} allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server(env={"ASSAY_ACCESS_LOG": "false"})
    try:
        server.start()
        token = server.login().token
        honest(server, token, 1)
        ratios = [one_round(server, token) for _ in range(ROUNDS)]
        if NIGHT:
            assert statistics.median(ratios) <= 2, ratios
        assert server.login().get("/me").status == 200
    finally:
        server.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
