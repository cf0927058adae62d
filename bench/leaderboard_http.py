"""Rank and top 100 of a board of a million agents, through HTTP on one kept connection.

    ASSAY_PREFIX=/path/of/install python3 bench/leaderboard_http.py path/of/leaderboard_bench [agents]
    ASSAY_PREFIX=/path/of/install python3 bench/leaderboard_http.py path/of/data [agents]

Starts a server on a new data directory, stops it, has the program fill the database, and starts the
server again; or takes a data directory that has been filled (--data).  The times are of a client on a plain socket, from the first byte sent to the last received.
"""

import pathlib
import random
import re
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "e2e"))
import harness  # noqa: E402


class Connection:
    """One connection and one token; answers are read by their Content-Length."""

    def __init__(self, port, token):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tail = f" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"

    def get(self, target):
        """(seconds, body)"""
        request = f"GET {target}{self.tail}".encode()
        begun = time.perf_counter()
        self.socket.sendall(request)
        got, size = b"", None
        while size is None or len(got) < size:
            part = self.socket.recv(1 << 18)
            assert part, "the server closed the connection"
            got += part
            if size is None and b"\r\n\r\n" in got:
                head = got[:got.index(b"\r\n\r\n") + 4]
                assert head.startswith(b"HTTP/1.1 200 "), head
                size = len(head) + int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
        return time.perf_counter() - begun, got[len(head):]


def show(what, seconds, bar_ms):
    seconds.sort()
    median = statistics.median(seconds) * 1e3
    print(f"{what:28} {median:10.3f} ms median {seconds[len(seconds) * 99 // 100] * 1e3:10.3f} ms p99   bar {bar_ms} ms")
    return median <= bar_ms


def resident_kb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def main():
    source, agents = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000000
    server = harness.Server(data=source.resolve() if source.is_dir() else None)
    try:
        if not source.is_dir():
            server.start()
            server.stop()
            subprocess.run([source, "--agents", str(agents), "--data", str(server.data)], check=True)
        server.start()
        pid = server.children()["server"]
        before = resident_kb(pid)
        connection = Connection(server.port, server.login().token)
        ranks, tops = [], []
        for _ in range(1000):
            seconds, body = connection.get(f"/leaderboard?benchmark_id=million&agent_id=agent-{random.randrange(agents)}")
            assert b'"rank":' in body, body
            ranks.append(seconds)
        for _ in range(1000):
            seconds, body = connection.get("/leaderboard?benchmark_id=million&limit=100")
            assert body.count(b'"rank":') == 100, body[:300]
            tops.append(seconds)
        good = [show("rank through HTTP", ranks, 5), show("top 100 through HTTP", tops, 1)]
        print(f"resident: {before} kB after the start, {resident_kb(pid)} kB after 2000 requests")
        return 0 if all(good) else 1
    finally:
        server.close()


if __name__ == "__main__":
    sys.exit(main())
