"""HTTP/1.1 as it went over a connection, read after the fact: two streams of bytes become pairs of request and answer.

This is no server's parser: what a strict reader would not take as a request is one that is "not sound", with the rest of
its connection as its bytes, and the answer to it is the last.  An answer must be sound, or it is a fault.
"""

import re

REQUEST_LINE = re.compile(rb"([A-Z][A-Za-z]*) ([\x21-\x7e]+) HTTP/1\.([01])")
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) [\x20-\x7e]*")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x09\x20-\x7e\x80-\xff]*?)[ \t]*")
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]*)?\r\n")
HEAD_MAX = 1 << 20  # no head is as long as this: what has no end by then is none
NEVER = object()


class Broken(Exception):
    """Bytes that are no HTTP; the text says why."""


class Message:
    """A request or an answer. `sound`: it is HTTP; `complete`: all of its body came; `why`: what is wrong with it."""

    def __init__(self, first, fields, body=b"", complete=True, sound=True, why=""):
        self.first, self.fields, self.body, self.complete, self.sound, self.why = first, fields, body, complete, sound, why
        self.headers = {}
        for name, value in fields:
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value


class Request(Message):
    @property
    def method(self):
        return self.first.group(1).decode()

    @property
    def target(self):
        return self.first.group(2).decode()


class Answer(Message):
    stream = False  # it had not ended when it was looked at

    @property
    def status(self):
        return int(self.first.group(1))


def head(buf, line):
    """(match of the first line, [(name, value)], length), or None while the end of the head is not there."""
    end = buf.find(b"\r\n\r\n")
    if end < 0:
        if len(buf) > HEAD_MAX:
            raise Broken("a head without an end")
        return None
    lines = bytes(buf[:end]).split(b"\r\n")
    first = line.fullmatch(lines[0])
    if not first:
        raise Broken(f"the first line is {lines[0][:80]!r}")
    fields = []
    for text in lines[1:]:
        m = FIELD.fullmatch(text)
        if not m:
            raise Broken(f"the header line {text[:80]!r}")
        fields.append((m.group(1).decode().lower(), m.group(2).decode("latin-1")))
    return first, fields, end + 4


def chunks(buf, at):
    """(body, where it ends, complete)."""
    out = bytearray()
    while True:
        if buf.find(b"\n", at, at + 300) < 0:
            if len(buf) - at > 300:
                raise Broken(f"a chunk begins with {bytes(buf[at:at + 40])!r}")
            return bytes(out), len(buf), False
        m = CHUNK.match(buf, at)
        if not m:
            raise Broken(f"a chunk begins with {bytes(buf[at:at + 40])!r}")
        n, at = int(m.group(1), 16), m.end()
        if n == 0:
            while True:  # trailers
                end = buf.find(b"\r\n", at)
                if end < 0:
                    return bytes(out), len(buf), False
                if end == at:
                    return bytes(out), end + 2, True
                at = end + 2
        out += buf[at:at + n]
        if len(buf) < at + n + 2:
            return bytes(out), len(buf), False
        if buf[at + n:at + n + 2] != b"\r\n":
            raise Broken("a chunk does not end where it says")
        at += n + 2


def body(buf, at, fields):
    """(body, where it ends, complete), by the framing of these fields; None where only the end of the connection ends it."""
    values = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)
    coding, length = values.get("transfer-encoding"), values.get("content-length")
    if coding and length or len(length or ()) > 1:
        raise Broken("two framings of one body")
    if coding:
        if [c.lower() for c in coding] != ["chunked"]:
            raise Broken(f"the coding {coding}")
        return chunks(buf, at)
    if length:
        if not re.fullmatch(r"\d{1,18}", length[0]):
            raise Broken(f"Content-Length: {length[0][:40]}")
        n = int(length[0])
        return bytes(buf[at:at + n]), min(at + n, len(buf)), len(buf) >= at + n
    return None


class Conversation:
    """What went over one connection. Bytes are added as they pass; exchanges() takes what is whole."""

    def __init__(self):
        self.up, self.down = bytearray(), bytearray()
        self.sent = []        # requests whose answer has not come
        self.lost = False     # the requests cannot be told apart any more
        self.streaming = False
        self.opaque = False   # another protocol, or more than is kept
        self.over = False
        self.rest = None      # a request that is not whole yet: what is known of it

    def _request(self, final):
        while self.up[:2] == b"\r\n":
            del self.up[:2]
        if self.lost or not self.up:
            return None
        try:
            got = head(self.up, REQUEST_LINE)
            if got is None:
                if not final:
                    return None
                raise Broken("the head has no end")
            first, fields, at = got
            if b"." not in first.group(0)[-3:] or not any(n == "host" for n, _ in fields) and first.group(3) == b"1":
                raise Broken("no Host")
            framed = body(self.up, at, fields)
            data, end, complete = framed or (b"", at, True)
            if not complete and not final:
                return None
            r = Request(first, fields, data, complete)
            del self.up[:end]
            return r
        except Broken as e:
            self.lost = True
            r = Request(None, [], bytes(self.up[:2000]), complete=False, sound=False, why=str(e))
            self.up.clear()
            return r

    def exchanges(self, final=False):
        """Pairs (request or None, answer); None: an answer that came without a request. Raises Broken for an answer that is not HTTP."""
        if self.opaque or self.over:
            self.up.clear(), self.down.clear()
            return
        while (r := self._request(final)) is not None:
            self.sent.append(r)
        while self.down and not self.streaming:
            got = head(self.down, STATUS_LINE)
            if got is None:
                if final:
                    self.over = True
                return
            first, fields, at = got
            a = Answer(first, fields)
            if a.status == 101:
                self.opaque = True
                return
            if a.status < 200:
                del self.down[:at]
                continue
            if not self.sent and not final:
                # an answer before its request was whole, on a connection that is still open
                if not self.lost and self.up and a.headers.get("connection", "").lower() != "close":
                    return
            if not self.sent and self.up:
                self.sent.append(self._request(True))
            r = self.sent[0] if self.sent else None
            bare = a.status in (204, 304) or r is not None and r.sound and r.method == "HEAD"
            framed = None if bare else body(self.down, at, fields)
            if bare:
                a.body, end, a.complete = b"", at, True
            elif framed is None:
                a.body, end, a.complete = bytes(self.down[at:]), len(self.down), final
            else:
                a.body, end, a.complete = framed
            if not a.complete and not final:
                if not a.headers.get("content-type", "").startswith("text/event-stream"):
                    return
                a.stream = self.streaming = True
            del self.down[:end]
            yield (self.sent.pop(0) if self.sent else None), a
        if self.streaming:
            self.down.clear()
        if final:
            self.over = True
