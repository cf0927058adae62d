"""Holds many slow connections to one server: a third sends its head, a third its body, a third reads its answer, a byte at a time.

    slow.py PORT TOTAL     until its input ends; a line of JSON each second: {"open": n, "made": n, "lost": n}

One that the server ends is replaced at once.
"""

import json
import os
import selectors
import socket
import sys
import time

BODY = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n"
READ = b"GET /swagger.json HTTP/1.1\r\nHost: x\r\n\r\n" * 4
HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "
EVERY_S = 2.0


class Slow:
    def __init__(self, port, kind):
        self.kind, self.s = kind, socket.socket()
        self.s.setblocking(False)
        if kind == "read":
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.s.connect_ex(("127.0.0.1", port))
        self.first = {"head": HEAD, "body": BODY, "read": READ}[kind]

    def step(self):
        """A byte on; False: the other side has ended it."""
        try:
            if self.first:
                self.first = self.first[self.s.send(self.first):]
            elif self.kind == "read":
                return self.s.recv(1) != b""
            else:
                self.s.send(b"a")
            return True
        except BlockingIOError:
            return True
        except OSError:
            return False

    def ended(self):
        """For those that only send: whether an answer or an end has come."""
        try:
            return self.s.recv(4096, socket.MSG_PEEK) is not None
        except BlockingIOError:
            return False
        except OSError:
            return True


def main(port, total):
    kinds = ("head", "body", "read")
    os.nice(19)  # it stands for other machines
    sel = selectors.DefaultSelector()
    sel.register(sys.stdin, selectors.EVENT_READ)
    held, made, lost, told = [], 0, 0, 0.0
    while True:
        begun = time.monotonic()
        for _ in range(min(200, total - len(held))):
            held.append(Slow(port, kinds[made % 3]))
            made += 1
        if len(held) == total and begun - told >= 1 or told == 0:
            told = begun
            print(json.dumps({"open": len(held), "made": made, "lost": lost}), flush=True)
        # each connection has its turn once in EVERY_S
        share = max(1, len(held) // int(EVERY_S * 20))
        for c in held[:share]:
            if not c.step() or (c.kind != "read" and not c.first and c.ended()):
                c.s.close()
                lost += 1
            else:
                held.append(c)
        del held[:share]
        if sel.select(max(0.0, 0.05 - (time.monotonic() - begun))):
            return


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
