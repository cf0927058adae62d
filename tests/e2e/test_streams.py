"""Thousands of event streams on one server: no gap and no repeat at any of them, also when all are cut off at once, in bounded memory.

    ASSAY_STREAMS=5000 python3 tests/e2e/test_streams.py

What they take in time is measured by `bench/run streams`.
"""

import os
import re
import resource
import select
import socket
import sys
import threading
import time

import harness
from harness import Server, wait_for
from test_events import Stream, open_stream
from test_judging import judge, publish, prints, start
from test_start import sanitized

STREAMS = int(os.environ.get("ASSAY_STREAMS", "5000"))
MB_MAX = 200
EVENT = re.compile(rb"id: (\d+)\nevent: (\w+)\n")


class Reader:
    """What one stream has seen, over all of its connections."""

    def __init__(self, path, last):
        self.path, self.last, self.seen, self.rest, self.sock, self.status, self.over = path, last, [], b"", None, None, False


class Crowd:
    """All of them, read by one thread."""

    def __init__(self, api):
        self.api, self.readers, self.by_fd, self.poll = api, [], {}, select.epoll()
        self.ending = threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def open(self, n, path, last):
        new = [Reader(path, last) for _ in range(n)]
        for r in new:
            self.connect(r)
        self.readers += new
        return new

    def connect(self, r):
        """With HTTP/1.0: the bytes of the stream as they are, without chunks."""
        r.sock, r.rest, r.status = socket.create_connection(("127.0.0.1", self.api.port), timeout=60), b"", None
        r.sock.sendall(f"GET {r.path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {self.api.token}\r\nLast-Event-ID: {r.last}\r\n\r\n".encode())
        with self.lock:
            self.by_fd[r.sock.fileno()] = r
        self.poll.register(r.sock, select.EPOLLIN)

    def cut(self):
        """Every connection at once, in the middle of whatever it was."""
        with self.lock:
            for r in self.by_fd.values():
                r.sock.close()
            self.by_fd.clear()

    def run(self):
        while not self.ending.is_set():
            for fd, _ in self.poll.poll(0.1, 1024):
                with self.lock:
                    r = self.by_fd.get(fd)
                    if r is not None:
                        self.take(r, fd)

    def take(self, r, fd):
        piece = r.sock.recv(1 << 18)
        if not piece:
            r.over = True
            r.sock.close()
            del self.by_fd[fd]
        r.rest += piece
        if r.status is None:
            if b"\r\n\r\n" not in r.rest:
                return
            head, _, r.rest = r.rest.partition(b"\r\n\r\n")
            r.status = int(head.split()[1])
        whole, mark, rest = r.rest.rpartition(b"\n\n")
        if not mark:
            return
        r.rest = rest
        for seq, name in EVENT.findall(whole + mark):
            r.seen.append((int(seq), name.decode()))
            r.last = int(seq)

    def stop(self):
        self.ending.set()
        self.thread.join(30)
        self.cut()


def first_place(api, submission):
    """The id that a stream of one that has ended begins with: a place in the log."""
    return open_stream(api, f"/submissions/{submission}/events").rest()[0][0]


def peak_mb(server):
    with open(f"/proc/{server.children()['server']}/status") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM:"))


def test_thousands_of_streams_see_the_same_without_a_gap_and_come_back():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < STREAMS + 200:
        raise harness.Skip(f"{STREAMS} streams need more descriptors than the {hard} allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server(env={"ASSAY_ACCESS_LOG": "false", "ASSAY_EVENT_STREAM_HEARTBEAT": "10m"})
    crowd = None
    try:
        server.start()
        admin = start(server)
        b = publish(admin, [{"input": "", "expected_output": "x"}], mode="answer")

        def judged():
            return judge(admin, b, payload="x")["id"]
        first = first_place(admin, judged())
        crowd = Crowd(admin)
        board = crowd.open(STREAMS - STREAMS // 5, f"/events?benchmark_id={b}", first)
        done = [judged() for _ in range(5)]
        single = [r for s in done for r in crowd.open(STREAMS // 25, f"/submissions/{s}/events", first)]
        done += [judged() for _ in range(5)]
        wait_for("the streams of single submissions to end", lambda: all(r.over for r in single), 60)
        names = {tuple(name for _, name in r.seen) for r in single}
        assert names == {("queued", "test", "done")}, names  # an answer is judged without a box
        # all are cut off, some miss events, and all come back where they were
        crowd.cut()
        wait_for("the server to know that they have left", lambda: server.metric("assay_event_streams ") == 0, 60)
        done += [judged() for _ in range(5)]
        for r in board:
            crowd.connect(r)
        done += [judged() for _ in range(5)]
        truth, = crowd.open(1, f"/events?benchmark_id={b}", first)  # from the log, or what is left of it in memory

        def whole():
            return sum(name == "done" for _, name in truth.seen) == len(done)
        wait_for("the last stream to have it all", whole, 60)
        wait_for("board changes", lambda: truth.seen and not time.sleep(1) and truth.last == max(r.last for r in board), 60)
        wait_for("every stream to have it all", lambda: all(r.last >= truth.last for r in board), 120)
        for r in board:
            assert r.status == 200 and not r.over and r.seen == truth.seen, (r.status, r.over, r.seen[-3:], truth.seen[-3:])
        ids = [seq for seq, _ in truth.seen]
        assert ids == sorted(set(ids))
        peak = peak_mb(server)
        print(f"# {STREAMS} streams, {len(ids)} events; the server had at most {peak:.0f} MB", flush=True)
        if not sanitized():
            assert peak <= MB_MAX, peak
        crowd.stop()
        wait_for("the server to know that they have left", lambda: server.metric("assay_event_streams ") == 0, 60)
    finally:
        if crowd:
            crowd.ending.set()
        server.close()


def test_those_who_have_left_make_room():
    server = Server(env={"ASSAY_EVENT_STREAMS_MAX": "20", "ASSAY_EVENT_STREAM_HEARTBEAT": "10m"})
    try:
        server.start()
        admin = start(server)
        for _ in range(3):
            held = [open_stream(admin, "/events") for _ in range(20)]
            refused = Stream(admin, "/events").head()
            assert refused.status == 503, refused.status
            refused.close()
            for s in held:
                s.close()
            wait_for("the server to know that they have left", lambda: server.metric("assay_event_streams ") == 0, 30)
    finally:
        server.close()


def test_what_was_told_is_told_again_as_it_is_now():
    server = Server(env={"RUNNER_MAX_PARALLEL": "1"})
    try:
        server.start()
        admin = start(server)
        ada = server.register("ada-again")
        me = next(u["id"] for u in admin.get("/users?limit=100").json["items"] if u["login"] == "ada-again")
        agent = admin.post("/agents", {"id": "ada-agent", "name": "A", "owner_id": me}, expect=201).json["id"]
        b = publish(admin, [("", "x\n")], feedback="verdict")
        first = first_place(admin, judge(admin, b, prints("x\n"))["id"])
        listening = open_stream(ada, f"/events?benchmark_id={b}", last=first)
        s = judge(ada, b, prints("x\n"), agent=agent)["id"]
        assert listening.until("done")[-1][2]["submission"]["verdict"] == "OK"
        listening.close()

        def told_again():
            again = open_stream(ada, f"/events?benchmark_id={b}", last=first)
            got = again.until("done")[-1][2]
            again.close()
            return got
        assert told_again()["submission"]["verdict"] == "OK"
        # the benchmark tells nothing any more
        admin.patch(f"/benchmarks/{b}", {"feedback": "none"})
        wait_for("the verdict to be told no more", lambda: told_again()["submission"]["verdict"] is None, 30)
        # the submission has been removed
        admin.delete(f"/submissions/{s}")
        wait_for("what was removed to be told no more", lambda: "submission" not in told_again(), 30)
    finally:
        server.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
