"""The proxy between the tests and the servers that they start: passes bytes on as they come, and holds what has passed to the contract.

One process for each test program (door.py starts it and gives it orders over a socket, as lines of JSON).  What passes is
not touched: each read is written on at once, the end of a direction is passed on as the end of that direction, a reset as a reset; a side
that does not read stops the other; the server sees the client's own address.  A copy of the bytes is kept, and is read
(wire.py) and judged (judge.py) when nothing passes, or at the latest when the harness asks at the end of a test.
"""

import errno
import json
import os
import resource
import select
import socket
import struct
import sys
import time

import judge
import wire

PIECE = 1 << 16
KEEP_MAX = 48 << 20      # of one direction of one connection; beyond, it is passed on and not judged, and counted so
LOOK_AT = 1 << 20        # of a connection that is open: it is looked at without waiting for its end
FAULTS_MAX = 12          # told of one test
RESET = struct.pack("ii", 1, 0)


class Side:
    """One of the two sockets of a connection: what is to be written to it, and whether its reader has come to an end."""

    def __init__(self, sock, link):
        self.sock, self.link, self.other = sock, link, None
        self.pending = b""      # read from the other side, not yet taken by this one
        self.ended = False      # its end was read
        self.shut = False       # the other's end was passed on to it
        self.events = None      # as registered
        self.connecting = False


class Link:
    def __init__(self, client, server):
        self.client, self.server = Side(client, self), Side(server, self)
        self.client.other, self.server.other = self.server, self.client
        self.talk = wire.Conversation()
        self.queued = self.dead = False


class Relay:
    def __init__(self, control):
        self.control, self.orders = control, b""
        self.poll = select.epoll()
        self.listeners = {}      # port: socket
        self.at = {}             # fd: (listener, port, address) or Side
        self.todo = []           # links to look at, oldest first
        self.links = set()
        self.judge = judge.Judge()
        self.faults, self.unread = [], 0
        self.poll.register(control.fileno(), select.EPOLLIN)

    # ---- what passes -------------------------------------------------------------------------------------

    def want(self, side):
        events = 0
        if side.connecting or side.pending:
            events |= select.EPOLLOUT
        if not side.ended and not side.other.pending and not side.other.connecting and not side.connecting:
            events |= select.EPOLLIN
        if events != side.events:
            fd = side.sock.fileno()
            if side.events is None:
                self.poll.register(fd, events)
            else:
                self.poll.modify(fd, events)
            side.events = events

    def accept(self, listener, port, to):
        while True:
            try:
                client, peer = listener.accept()
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno in (errno.ECONNABORTED, errno.EINTR):
                    continue
                raise
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.socket()
            server.setblocking(False)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: the port is chosen by connect
            link = Link(client, server)
            self.links.add(link)
            for side in (link.client, link.server):
                self.at[side.sock.fileno()] = side
            try:
                server.bind((peer[0], 0))
                link.server.connecting = server.connect_ex((to, port)) == errno.EINPROGRESS
                if not link.server.connecting and (e := server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                    raise OSError(e, os.strerror(e))
                server.getpeername() if not link.server.connecting else None
            except OSError:
                self.drop(link)
                continue
            self.want(link.client), self.want(link.server)

    def drop(self, link, reset=True):
        if link.dead:
            return
        link.dead = True
        for side in (link.client, link.server):
            fd = side.sock.fileno()
            self.at.pop(fd, None)
            if reset:
                try:
                    side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                except OSError:
                    pass
            side.sock.close()  # epoll forgets it
        self.links.discard(link)
        self.later(link)

    def later(self, link):
        if not link.queued:
            link.queued = True
            self.todo.append(link)

    def pass_on(self, side):
        """From this side to the other, once."""
        try:
            data = side.sock.recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.drop(side.link)
            return
        link, other = side.link, side.other
        if not data:
            side.ended = True
        else:
            self.keep(link, side, data)
            other.pending = data
        self.flush(other)

    def keep(self, link, side, data):
        talk = link.talk
        if talk.opaque:
            return
        kept = talk.up if side is link.client else talk.down
        kept += data
        if len(kept) > KEEP_MAX:
            talk.opaque = True
            self.unread += 1
            talk.up.clear(), talk.down.clear()
        elif len(talk.down) > LOOK_AT:
            self.later(link)

    def flush(self, side):
        """What is pending goes to this side; then the other's end, if it has come."""
        link = side.link
        if side.pending:
            try:
                n = side.sock.send(side.pending)
                side.pending = side.pending[n:]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self.drop(link)
                return
        if not side.pending and side.other.ended and not side.shut:
            side.shut = True
            try:
                side.sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.drop(link)
                return
        if link.client.shut and link.server.shut:
            self.drop(link, reset=False)
            return
        self.want(side), self.want(side.other)

    def handle(self, fd, events):
        thing = self.at.get(fd)
        if isinstance(thing, tuple):
            self.accept(*thing)
        elif isinstance(thing, Side):
            side, link = thing, thing.link
            if side.connecting and events & (select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP):
                if side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    self.drop(link)
                    return
                side.connecting = False
                self.flush(side)
            elif events & select.EPOLLERR:
                if events & select.EPOLLIN and not side.other.pending:
                    self.pass_on(side)  # what came before the reset
                else:
                    self.drop(link)
                return
            elif events & select.EPOLLOUT:
                self.flush(side)
            if not link.dead and events & (select.EPOLLIN | select.EPOLLHUP) and not side.ended and not side.other.pending:
                self.pass_on(side)
            elif not link.dead and events & select.EPOLLHUP and side.ended:
                # both directions of this socket are over; nothing that the other still says can be passed on
                if side.shut or not side.other.ended:
                    self.drop(link)

    def turn(self, timeout):
        """One round of events; False when there were none."""
        told = False
        for fd, events in self.poll.poll(timeout, 256):
            if fd == self.control.fileno():
                self.order()
            else:
                told = True
                self.handle(fd, events)
        return told

    # ---- what has passed ---------------------------------------------------------------------------------

    def look(self, link, final):
        """One connection's exchanges, as far as they are there."""
        talk = link.talk
        try:
            for request, answer in talk.exchanges(final):
                self.note(request, answer, self.judge.exchange(request, answer))
        except wire.Broken as e:
            talk.opaque = True
            self.note(None, None, [f"an answer is not HTTP: {e}"])

    def note(self, request, answer, faults):
        if not faults:
            return
        self.faults.append({"what": self.judge.name(request, answer), "faults": faults[:20],
                            "request": judge.shown(request), "answer": judge.shown(answer)})

    def idle(self):
        link = self.todo.pop(0)
        link.queued = False
        self.look(link, link.dead)

    def settle(self):
        """All that has passed until now, judged."""
        end = time.monotonic() + 5
        while self.turn_quietly() and time.monotonic() < end:
            pass
        for link in [x for x in self.links if not x.queued]:
            self.look(link, False)
        while self.todo:
            self.idle()
        faults, self.faults = self.faults, []
        seen = self.judge.taken()
        seen["unread"], self.unread = self.unread, 0
        return {"faults": faults[:FAULTS_MAX], "more": max(0, len(faults) - FAULTS_MAX), "seen": seen, "cpu_s": round(time.process_time(), 2)}

    def turn_quietly(self):
        told = False
        for fd, events in self.poll.poll(0, 256):
            if fd != self.control.fileno():
                told = True
                self.handle(fd, events)
        return told

    # ---- orders ------------------------------------------------------------------------------------------

    def order(self):
        data = self.control.recv(1 << 16)
        if not data:
            os._exit(0)
        self.orders += data
        while b"\n" in self.orders:
            line, self.orders = self.orders.split(b"\n", 1)
            o = json.loads(line)
            try:
                answer = getattr(self, "do_" + o.pop("do"))(**o)
            except OSError as e:
                answer = {"error": str(e)}
            self.control.setblocking(True)
            self.control.sendall(json.dumps(answer or {}).encode() + b"\n")
            self.control.setblocking(False)

    def do_open(self, port, to):
        if port in self.listeners:
            return
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            s.listen(4096)
        except OSError:
            s.close()
            raise
        s.setblocking(False)
        self.listeners[port] = s
        self.at[s.fileno()] = (s, port, to)
        self.poll.register(s.fileno(), select.EPOLLIN)

    def do_close(self, port):
        s = self.listeners.pop(port, None)
        if s:
            del self.at[s.fileno()]
            s.close()

    def do_settle(self):
        return self.settle()

    def run(self):
        while True:
            if not self.turn(0 if self.todo else -1) and self.todo:
                self.idle()


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    control = socket.socket(fileno=int(sys.argv[1]))
    control.setblocking(False)
    try:
        Relay(control).run()
    except KeyboardInterrupt:
        pass
