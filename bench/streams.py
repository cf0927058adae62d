"""Thousands of readers of event streams beside submissions that are judged: how long after an event its last reader has it.

Four of five read GET /events of one benchmark, the rest read GET /submissions/{id}/events of programs that take some seconds,
and go on to the next one when theirs has ended.  The readers are processes of their own (stream_readers.c), which hold every
stream to what it promises; here is compared what they have seen, with each other and with one that reads all of it
from the log when it is over.  The time of an event is its own `at`, taken before its commit.
"""

import os
import statistics
import subprocess
import threading
import time

PROCESSES = 4
SLOTS = 5  # programs that are watched at a time
TESTS = 3  # each submission's: so it has six events, and one more for the board
BOARD = "streams"


class Reader:
    """One process of readers."""

    def __init__(self, program, server):
        self.lock = threading.Lock()
        self.process = subprocess.Popen([str(program), "--port", str(server.port), "--token", server.token, "--tests", str(TESTS)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        with self.lock:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            out = []
            while (got := self.process.stdout.readline().strip()) != "ok":
                if not got:
                    raise AssertionError(f"the readers ended with {self.process.wait()}")
                out.append(got)
            return out


class Report:
    """What all of them say together."""

    def __init__(self, readers):
        self.events, self.delay, self.streams, self.faults = {}, {}, {}, []
        for r in readers:
            for line in r.ask("report"):
                kind, _, rest = line.partition(" ")
                if kind == "event":
                    seq, at, n, first, last = map(int, rest.split())
                    was = self.events.get(seq, (at, 0, first, last))
                    self.events[seq] = (at, was[1] + n, min(was[2], first), max(was[3], last))
                elif kind == "delay":
                    ms, n = map(int, rest.split())
                    self.delay[ms] = self.delay.get(ms, 0) + n
                elif kind == "streams":
                    n, seen, total, path = rest.split(" ", 3)
                    have = self.streams.setdefault(path, {})
                    have[seen, total] = have.get((seen, total), 0) + int(n)
                else:
                    self.faults.append(rest)

    def delay_at(self, part):
        """Milliseconds within which that part of all deliveries came."""
        left = part * sum(self.delay.values())
        for ms in sorted(self.delay):
            left -= self.delay[ms]
            if left <= 0:
                return ms
        return 0

    def last_ms(self):
        """Of each event, when its last reader had it, after its own time."""
        return sorted(last - at for at, _, _, last in self.events.values())


class Streams:
    """with Streams(server, program, 5000) as s: s.load(...)"""

    def __init__(self, server, program, total):
        self.server, self.program, self.total = server, program, total
        self.ending, self.threads, self.sent, self.trouble = threading.Event(), [], 0, []
        self.readers = []

    def __enter__(self):
        s = self.server
        s.call("POST", "/agents", {"id": "racer", "name": "Racer"}, 201)
        s.benchmark(BOARD, "", ["bench-noop", "bench-pause"], [{"name": str(n), "input": "", "expected_output": ""} for n in range(TESTS)])
        self.first = self.newest_event(self.submit("bench-noop", "?wait=30", 200))
        self.readers = [Reader(self.program, s) for _ in range(PROCESSES)]
        return self

    def __exit__(self, *exc):
        self.ending.set()
        for t in self.threads:
            t.join(30)
        for r in self.readers:
            r.process.stdin.close()
            r.process.wait(30)

    def submit(self, language, query="", want=202):
        self.sent += 1
        return self.server.call("POST", f"/submissions{query}", {"benchmark_id": BOARD, "agent_id": "racer", "language": language,
                                                                "source": f"{self.sent}\n"}, want)["id"]

    def newest_event(self, submission):
        """A place in the log, as the stream of one that has ended tells it."""
        text = self.server.call("GET", f"/submissions/{submission}/events")[1].decode()
        return next(int(line[4:]) for line in text.splitlines() if line.startswith("id: "))

    def open_all(self):
        """Opens every stream; seconds until the last one of the board has its head."""
        on_board = self.total - self.total // 5
        begun = time.monotonic()
        for i, r in enumerate(self.readers):
            r.ask(f"open {on_board // PROCESSES + (i < on_board % PROCESSES)} {self.first} /events?benchmark_id={BOARD}")
        took = self.wait_open(on_board, begun)
        for i in range(SLOTS):
            self.threads.append(threading.Thread(target=self.slot, args=(i, self.total // 5 // SLOTS), daemon=True))
            self.threads[-1].start()
        self.on_board = on_board
        return took

    def counts(self):
        total = {"open": 0, "ended": 0, "faults": 0}
        for r in self.readers:
            for word in r.ask("count")[0].split():
                k, v = word.split("=")
                total[k] += int(v)
        return total

    def wait_open(self, n, begun):
        while self.counts()["open"] < n:
            if time.monotonic() - begun > 120:
                raise AssertionError(f"only {self.counts()} of {n} streams are open after 120 s: {Report(self.readers).faults[:3]}")
            time.sleep(0.02)
        return time.monotonic() - begun

    def slot(self, i, n):
        """Programs that take TESTS seconds, one after the other, each with n streams of its own."""
        try:
            while not self.ending.is_set():
                s = self.submit("bench-pause")
                self.readers[i % PROCESSES].ask(f"open {n} - /submissions/{s}/events")
                while self.server.call("GET", f"/submissions/{s}", None, 200)["status"] in ("queued", "running"):
                    time.sleep(0.1)
        except Exception as e:
            self.trouble.append(e)

    def load(self, rate, seconds):
        """Sends so many submissions a second, and waits until every reader of the board has all of it."""
        begun = time.monotonic()
        for n in range(max(1, round(rate * seconds))):
            time.sleep(max(0.0, begun + n / rate - time.monotonic()))
            self.submit("bench-noop")
        time.sleep(max(0.0, begun + seconds - time.monotonic()))

    def again(self, rate, seconds):
        """Every connection ends at once and comes back with the id that it saw last, while submissions go on. Seconds until all of them
        are back, and until the last event from before that had its last reader."""
        begun, wall = time.monotonic(), time.time() * 1000
        sender = threading.Thread(target=self.load, args=(rate, seconds), daemon=True)
        sender.start()
        for r in self.readers:
            r.ask("again")
        back = self.wait_open(self.on_board, begun)
        back_at = wall + back * 1000
        sender.join()
        time.sleep(1)
        report = Report(self.readers)
        missed = [last for at, _, _, last in report.events.values() if at <= back_at]
        return back, (max(missed) - wall) / 1000 if missed else back, report

    def settle(self):
        """Ends the submissions that are watched, and holds all streams against one that reads the whole log now."""
        self.ending.set()
        for t in self.threads:
            t.join(30)
        if self.trouble:
            raise self.trouble[0]
        self.readers[0].ask(f"open 1 {self.first} /events?benchmark_id={BOARD}")
        path, end = f"/events?benchmark_id={BOARD}", time.monotonic() + 60
        while True:
            time.sleep(1)
            report = Report(self.readers)
            if report.faults or (len(report.streams[path]) == 1 and not report.events) or time.monotonic() > end:
                break
        if report.faults:
            raise AssertionError(f"faults: {report.faults[:5]}")
        if len(report.streams[path]) != 1:
            raise AssertionError(f"readers of one board have not seen the same: {report.streams[path]}")
        ((seen, _), n), = report.streams[path].items()
        if n != self.on_board + 1:
            raise AssertionError(f"{n} streams of the board, not {self.on_board + 1}")
        if int(seen) < 6 * self.sent - 6:
            raise AssertionError(f"{seen} events of {self.sent} submissions")
        return int(seen), n, sum(sum(v.values()) for v in report.streams.values())
