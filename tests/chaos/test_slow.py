"""Thousands of clients that send their head, send their body or read their answer a byte at a time, beside honest ones.

    ASSAY_SLOW=8000 python3 tests/chaos/test_slow.py

What must hold on any machine is asserted: honest requests are answered, the slow ones are ended by their deadlines and
held in bounded memory, and when they have gone nothing of them is left.  The p99 of honest requests is printed beside what it
was alone; at night it is held to twice that.
"""

import json
import os
import pathlib
import resource
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
UNSENT_MB = 128
MB_EACH = 0.03  # what a connection may cost in the server's memory, besides answers that nobody takes


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


def test_honest_clients_are_served_beside_thousands_of_slow_ones():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < SLOW + 200:
        raise harness.Skip(f"{SLOW} connections need more descriptors than the {hard} allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server(env={"ASSAY_ACCESS_LOG": "false", "ASSAY_HTTP_UNSENT_MAX": f"{UNSENT_MB}m"})
    slow = None
    try:
        server.start()
        token = server.login().token
        honest(server, token, 1)
        before = memory_mb(server)
        alone = honest(server, token, SECONDS)
        slow = subprocess.Popen([sys.executable, str(HERE / "slow.py"), str(server.port), str(SLOW)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        slow.stdout.readline()
        told = json.loads(slow.stdout.readline())  # all of them are there
        assert told["open"] == SLOW, told
        wait_for("the slow ones", lambda: server.metric("assay_http_connections ") >= SLOW * 0.5, 60)
        beside = honest(server, token, SECONDS)
        held, grown = server.metric("assay_http_connections "), memory_mb(server) - before
        timeouts = wait_for("deadlines to end some", lambda: server.metric("assay_http_timeouts_total"), 60)
        print(f"# {held:.0f} slow connections held, {timeouts:.0f} ended by a deadline so far; honest p50/p99 alone {alone[0]:.1f}/{alone[1]:.1f} ms, "
              f"beside them {beside[0]:.1f}/{beside[1]:.1f} ms; {grown:.0f} MB more", flush=True)
        assert held >= SLOW * 0.5, held  # readers are cut off, and come again
        assert grown <= 60 + 1.5 * UNSENT_MB + SLOW * MB_EACH, f"{grown} MB for {SLOW} connections"
        if NIGHT:
            assert beside[1] <= 2 * max(alone[1], 2), (alone, beside)
        slow.stdin.close()
        slow.wait(60)
        wait_for("all of them to be gone", lambda: server.metric("assay_http_connections ") <= 4, 60)
        assert server.login().get("/me").status == 200
    finally:
        if slow and slow.poll() is None:
            slow.kill()
            slow.wait()
        server.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
