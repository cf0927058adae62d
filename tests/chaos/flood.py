"""Open-loop load: requests go out by the clock, whether or not earlier ones have been answered well.

    flood.py PLAN

PLAN is a JSON file: {port, out, seconds, rate, connections, senders: [{token, agent}], programs: [{language, source,
verdict}]}. Every second request is of the first sender, who so gets his share and no more; the others are of another
sender and another program each time. The outcome goes to `out` as JSON: how many
were sent and how late, answers by status, every accepted id with the verdict that it must get, and what was wrong with
refusals. A process of its own, so that it does not share an interpreter with who measures.
"""

import collections
import json
import socket
import sys
import threading
import time

PROBLEMS = {429: "urn:assay:problem:rate_limited", 503: "urn:assay:problem:busy"}


class Line:
    """A keep-alive connection that sends prepared bytes."""

    def __init__(self, port):
        self.port, self.sock, self.rest = port, None, b""

    def ask(self, data):
        """(status, head in lower case, body); opens the connection anew when the server has closed it."""
        if self.sock is None:
            self.sock, self.rest = socket.create_connection(("127.0.0.1", self.port), timeout=60), b""
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.sock.sendall(data)
            buf = self.rest
            while b"\r\n\r\n" not in buf:
                buf += self.more()
            head, _, body = buf.partition(b"\r\n\r\n")
            head = head.decode("latin-1").lower()
            size = int(header(head, "content-length") or 0)
            while len(body) < size:
                body += self.more()
            self.rest = body[size:]
            if header(head, "connection") == "close":
                self.close()
            return int(head.split(" ", 2)[1]), head, body[:size]
        except OSError:
            self.close()
            raise

    def more(self):
        piece = self.sock.recv(65536)
        if not piece:
            raise OSError("the server closed the connection")
        return piece

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None


def header(head, name):
    for line in head.split("\r\n")[1:]:
        k, _, v = line.partition(":")
        if k == name:
            return v.strip()
    return None


def request(sender, program):
    body = json.dumps({"benchmark_id": "flood", "agent_id": sender["agent"], "language": program["language"],
                       "source": program["source"]}).encode()
    return (f"POST /submissions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {sender['token']}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def main():
    plan = json.load(open(sys.argv[1], encoding="utf-8"))
    prepared = [(request(s, p), p["verdict"]) for s in plan["senders"] for p in plan["programs"]]
    lock, taken = threading.Lock(), [0]
    answers, accepted, odd, late = collections.Counter(), {}, collections.Counter(), [0.0]
    retry = collections.Counter()
    start = time.monotonic() + 0.2

    def work():
        line = Line(plan["port"])
        while True:
            with lock:
                n = taken[0]
                due = start + n / plan["rate"]
                if due >= start + plan["seconds"]:
                    return
                taken[0] += 1
            now = time.monotonic()
            if due > now:
                time.sleep(due - now)
            # 7919: another sender each time, and another program when all senders had their turn
            data, verdict = prepared[n // 2 % len(plan["programs"]) if n % 2 else n // 2 * 7919 % len(prepared)]
            behind = time.monotonic() - due
            try:
                status, head, body = line.ask(data)
            except OSError as e:
                with lock:
                    odd[f"no answer: {e}"] += 1
                continue
            with lock:
                late[0] = max(late[0], behind)
                answers[status] += 1
                if status == 202:
                    accepted[json.loads(body)["id"]] = verdict
                    continue
                problem = json.loads(body) if header(head, "content-type") == "application/problem+json" else {}
                after = header(head, "retry-after") or ""
                retry[after] += 1
                if problem.get("type") != PROBLEMS.get(status) or not after.isdigit() or int(after) < 1:
                    odd[f"{status} Retry-After {after!r} {body[:300]!r}"] += 1
        line.close()

    threads = [threading.Thread(target=work) for _ in range(plan["connections"])]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    took = time.monotonic() - start
    with open(plan["out"], "w", encoding="utf-8") as f:
        json.dump({"sent": taken[0], "seconds": took, "late_s": late[0], "answers": answers, "accepted": accepted, "odd": odd,
                   "retry_after": retry}, f)


if __name__ == "__main__":
    main()
