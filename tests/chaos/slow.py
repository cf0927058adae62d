"""Holds many slow connections to one server: a third sends its head, a third its body, a third reads its answer, a byte at a time.

    slow.py PORT TOTAL     until its input ends; a line of JSON each second: {"open": n, "least": n, "made": n, "ended": n}

One that the server ends, by a deadline or otherwise, is noticed at once and replaced at once; least: how many were open at the
worst moment of the last second.
"""

import json
import os
import select
import socket
import sys
import time

BODY = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n"
READ = b"GET /swagger.json HTTP/1.1\r\nHost: x\r\n\r\n" * 4
HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "
EVERY_S = 2.0
TURNS_S = 200  # turns in a second: so many machines would not all send at one moment
AT_ONCE = 20   # most that are made in one turn


class Slow:
    def __init__(self, port, kind):
        self.kind, self.s = kind, socket.socket()
        self.s.setblocking(False)
        if kind == "read":
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.s.connect_ex(("127.0.0.1", port))
        self.first = {"head": HEAD, "body": BODY, "read": READ}[kind]

    def events(self):
        """What says that the other side has ended it: to those that only send, any answer."""
        return select.EPOLLRDHUP | (select.EPOLLIN if self.kind != "read" else 0)

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


def main(port, total):
    kinds = ("head", "body", "read")
    os.nice(8)  # it stands for other machines, but one that has no turn holds nothing
    poll = select.epoll()
    poll.register(sys.stdin, select.EPOLLIN)
    held, turn = {}, []  # by descriptor; and whose turn it is next
    made = ended = 0
    least, told = total, 0.0
    missing = [kinds[i % 3] for i in range(total)]

    def end(c):
        nonlocal ended
        ended += 1
        del held[c.s.fileno()]
        missing.append(c.kind)
        c.s.close()

    full = False
    while True:
        begun = time.monotonic()
        for kind in missing[:AT_ONCE]:
            c = Slow(port, kind)
            held[c.s.fileno()] = c
            poll.register(c.s, c.events())
            turn.append(c)
            made += 1
        del missing[:AT_ONCE]
        full = full or not missing
        # each connection has its turn once in EVERY_S
        share = max(1, int(len(turn) / (EVERY_S * TURNS_S)))
        mine, turn = turn[:share], turn[share:]
        for c in mine:
            if c.s.fileno() < 0:
                continue  # ended since
            if c.step():
                turn.append(c)
            else:
                end(c)
        while True:
            left = max(0.0, begun + 1 / TURNS_S - time.monotonic())
            for fd, _ in poll.poll(left, 4096):
                if fd == sys.stdin.fileno():
                    return
                if fd in held:
                    end(held[fd])
            if left == 0.0:
                break
        if full:
            least = min(least, len(held))
        if full and time.monotonic() - told >= 1:
            told = time.monotonic()
            print(json.dumps({"open": len(held), "least": least, "made": made, "ended": ended}), flush=True)
            least = total


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
