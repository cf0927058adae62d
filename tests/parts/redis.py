"""A private Redis for tests: on loopback and a unix socket in a folder of its own, kept in memory, ended by pid."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time


class Missing(Exception):
    """There is no Redis here; the text says how to get one."""


class Redis:
    def __init__(self, password=""):
        self.binary = shutil.which("redis-server")
        if not self.binary:
            raise Missing("no Redis is installed (Debian: apt-get install redis-server)")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="assay-redis-"))
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.password = password
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def start(self):
        """Empty, as after a crash without persistence."""
        args = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.dir),
                "--unixsocket", str(self.dir / "s"), "--databases", "4"]
        if self.password:
            args += ["--requirepass", self.password]
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while True:
            try:
                if self.cmd("PING") == "PONG":
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("Redis did not start: " + (self.dir / "log").read_text(errors="replace")[-1000:])
            time.sleep(0.02)

    def kill(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def hang(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def __exit__(self, *exc):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def url(self):
        return f"redis://{':' + self.password + '@' if self.password else ''}127.0.0.1:{self.port}/1"

    def cmd(self, *words, db=1):
        """One command of a client of another make than ours; a string, a number, a list or None."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as s:
            f = s.makefile("rwb")
            answer = None
            for c in ([["AUTH", self.password]] if self.password else []) + [["SELECT", str(db)], list(words)]:
                f.write(b"*%d\r\n" % len(c) + b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in c))
                f.flush()
                answer = self.answer(f)
            return answer

    def answer(self, f):
        line = f.readline()[:-2].decode()
        kind, rest = line[:1], line[1:]
        if kind == "$":
            return None if rest == "-1" else f.read(int(rest) + 2)[:-2].decode()
        if kind == "*":
            return [self.answer(f) for _ in range(int(rest))]
        if kind == "-":
            raise RuntimeError(rest)
        return int(rest) if kind == ":" else rest
