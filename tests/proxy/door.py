"""The harness's end of the proxy (relay.py): starts it, tells it which doors to open, and asks what it saw."""

import json
import pathlib
import socket
import subprocess
import sys
import threading

BEHIND = "127.77.0.1"  # where servers listen that stand behind the proxy: the same port, another address of the loopback


class Door:
    def __init__(self):
        self.ours, theirs = socket.socketpair()
        self.process = subprocess.Popen([sys.executable, str(pathlib.Path(__file__).with_name("relay.py")), str(theirs.fileno())],
                                        pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self.lock = threading.Lock()
        self.lines = self.ours.makefile("rb")
        self.seen, self.samples, self.unread, self.cpu_s = {}, {}, 0, 0.0

    def tell(self, do, **what):
        try:
            with self.lock:  # tests start servers from threads
                self.ours.sendall(json.dumps({"do": do, **what}).encode() + b"\n")
                answer = json.loads(self.lines.readline() or b'{"error": "it has ended"}')
        except OSError as e:
            answer = {"error": str(e)}
        if "error" in answer:
            raise AssertionError(f"the proxy between tests and server: {do} {what}: {answer['error']}")
        return answer

    def open(self, port):
        """What connects to this port of 127.0.0.1 is passed on to the server at BEHIND."""
        self.tell("open", port=port, to=BEHIND)

    def close(self, port):
        self.tell("close", port=port)

    def settle(self):
        """What was wrong with what has passed since this was last asked, as text; empty when nothing was."""
        told = self.tell("settle")
        for op, statuses in told["seen"]["operations"].items():
            for status, n in statuses.items():
                mine = self.seen.setdefault(op, {})
                mine[status] = mine.get(status, 0) + n
        self.samples.update(told["seen"]["samples"])
        self.cpu_s = told["cpu_s"]
        self.unread += told["seen"]["unread"]
        out = []
        for f in told["faults"]:
            out += [f["what"] + ":", *(f"  {x}" for x in f["faults"]), f"  asked: {f['request'][:500]}", f"  answered: {f['answer'][:700]}"]
        if told["more"]:
            out.append(f"and {told['more']} more")
        return "\n".join(out)

    def end(self):
        self.ours.close()
        self.lines.close()
        self.process.wait(10)
