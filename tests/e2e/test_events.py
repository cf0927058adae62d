"""Event streams (server-sent events): what is told, to whom, without a gap, and what becomes of slow readers and stops."""

import json
import socket
import sys
import threading
import time

import harness
from harness import Server, wait_for
from test_judging import judge, prints, publish, start

SLOW = "import time\ntime.sleep(1.5)\nprint('x')\n"


def make_server():
    return Server(env={"ASSAY_EVENT_STREAM_HEARTBEAT": "1s", "ASSAY_EVENT_STREAM_PATIENCE": "3s", "RUNNER_MAX_PARALLEL": "1"})


class Stream:
    """One open stream; events come as (id, name, data), comments as (None, "", text)."""

    def __init__(self, api, path, last=None, receive_buffer=None):
        self.sock = socket.socket()
        self.sock.settimeout(60)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect(harness.at(api.port))
        head = f"GET {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {api.token}\r\n"
        if last is not None:
            head += f"Last-Event-ID: {last}\r\n"
        self.sock.sendall((head + "\r\n").encode())
        self.file = self.sock.makefile("rb")
        self.status, self.type = None, None

    def head(self):
        self.status = int(self.file.readline().split()[1])
        for line in iter(self.file.readline, b"\r\n"):
            if line.lower().startswith(b"content-type:"):
                self.type = line.split(b":", 1)[1].strip().decode()
        return self

    def next(self, comments=False):
        """The next event, or None at the end of the stream."""
        seq, name, data = None, None, None
        while True:
            line = self.file.readline()
            if not line:
                return None
            line = line.decode().rstrip("\n")
            if line.startswith("id: "):
                seq = int(line[4:])
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data = json.loads(line[6:])
            elif line.startswith(":") and comments:
                return (None, "", line)
            elif line == "" and name is not None:
                return (seq, name, data)

    def rest(self):
        out = []
        while (e := self.next()) is not None:
            out.append(e)
        return out

    def until(self, name):
        out = []
        while not out or out[-1][1] != name:
            out.append(self.next())
            assert out[-1] is not None, out
        return out

    def close(self):
        self.file.close()
        self.sock.close()


def open_stream(api, path, **kw):
    s = Stream(api, path, **kw).head()
    assert s.status == 200 and s.type == "text/event-stream", (s.status, s.type)
    return s


def submit(api, b, source, **more):
    return api.post("/submissions", {"benchmark_id": b, "agent_id": "ada", "language": "python", "source": source, **more}, expect=202).json["id"]


def test_a_submission_is_told_from_the_queue_to_its_end(server):
    admin = start(server)
    b = publish(admin, [("", "x\n"), ("", "x\n"), ("", "y\n")])
    first, second = submit(admin, b, SLOW), submit(admin, b, prints("x\n"))
    s = open_stream(admin, f"/submissions/{second}/events")
    told = s.rest()  # the server ends the stream with the submission
    names = [n for _, n, _ in told if n != "position"]
    assert names == ["state", "running", "test", "test", "test", "done"], told
    assert told[0][2]["submission"]["status"] == "queued"
    assert [d["detail"]["verdict"] for _, n, d in told if n == "test"] == ["OK", "OK", "WA"]
    assert told[-1][2]["submission"]["verdict"] == "WA" and told[-1][2]["submission"]["status"] == "done"
    ids = [i for i, _, _ in told if i is not None]
    assert ids == sorted(set(ids)), ids
    assert admin.get(f"/submissions/{first}").json["status"] == "done"
    # who comes late hears how it ended, at once
    assert [n for _, n, _ in open_stream(admin, f"/submissions/{second}/events").rest()] == ["state"]
    again = Stream(admin, f"/submissions/{second}/events", last=ids[-1]).head()
    assert again.status == 204, again.status


def test_who_waits_is_told_how_many_are_ahead(server):
    admin = start(server)
    b = publish(admin, [("", "x\n")])
    # more than a runner of one place takes, ahead of time too; none ends by itself before it is cancelled
    long = [submit(admin, b, "import time\ntime.sleep(60)\n") for _ in range(9)]
    last = submit(admin, b, prints("x\n"))
    s = open_stream(admin, f"/submissions/{last}/events")
    ahead = s.until("position")[-1][2]["ahead"]
    assert 1 <= ahead <= 9, ahead
    for i in long[1:]:
        admin.post(f"/submissions/{i}/cancel", expect=(200, 202, 409))  # it may have ended
    rest, nearer = [], None
    while nearer is None:
        rest.append(s.next())
        assert rest[-1] is not None, rest
        if rest[-1][1] == "position":
            nearer = rest[-1][2]["ahead"]
        elif rest[-1][1] == "running":
            nearer = 0
    assert nearer < ahead, (nearer, ahead)
    admin.post(f"/submissions/{long[0]}/cancel", expect=(200, 202, 409))  # it may have ended
    assert s.rest()[-1][1] == "done"


def test_a_stream_resumes_without_a_gap(server):
    admin = start(server)
    b = publish(admin, [("", "x\n"), ("", "x\n")])
    all_of_it = open_stream(admin, f"/events?benchmark_id={b}")
    for _ in range(6):
        judge(admin, b, prints("x\n"))
    whole = []
    while sum(n == "done" for _, n, _ in whole) < 6:
        whole += all_of_it.until("done")
    all_of_it.close()
    whole = [e for e in whole if e[1] != "board"]
    assert [n for _, n, _ in whole].count("test") == 12 and [n for _, n, _ in whole].count("queued") == 6, whole
    for cut in (0, 1, len(whole) // 2, len(whole) - 2):
        s = open_stream(admin, f"/events?benchmark_id={b}", last=whole[cut][0])
        got = []
        while len(got) < len(whole) - cut - 1:
            e = s.next()
            assert e is not None, got
            if e[1] != "board":
                got.append(e)
        s.close()
        assert got == whole[cut + 1:], (cut, got)


def test_each_sees_what_is_its_own_and_what_the_policy_lets(server):
    admin = start(server)
    ada, eve = (server.register(n) for n in ("ada-events", "eve-events"))
    me = next(u["id"] for u in admin.get("/users?limit=100").json["items"] if u["login"] == "ada-events")
    agent = admin.post("/agents", {"id": "ada-agent", "name": "A", "owner_id": me}, expect=201).json["id"]
    secret = publish(admin, [("", "x\n")], feedback="none")
    open_board = publish(admin, [("", "x\n")], feedback="verdict")
    hers, others, staff = open_stream(ada, "/events"), open_stream(eve, "/events"), open_stream(admin, "/events")
    told = {}
    for b in (secret, open_board):
        s = judge(ada, b, prints("x\n"), agent=agent)
        told[b] = s["id"]
    mine = []
    while sum(n == "done" for _, n, _ in mine) < 2:
        mine += hers.until("done")
    done = {d["benchmark_id"]: d["submission"] for _, n, d in mine if n == "done"}
    assert done[secret]["verdict"] is None and done[secret]["score"] is None and done[open_board]["verdict"] == "OK", done
    assert not [e for e in mine if e[1] == "test" and e[2]["benchmark_id"] == secret], mine
    seen = []
    while sum(n == "done" for _, n, _ in seen) < 2:
        seen += staff.until("done")
    assert {d["submission"]["verdict"] for _, n, d in seen if n == "done"} == {"OK"}, seen
    # a stranger hears of the public board and of nothing else
    board = others.until("board")
    assert [n for _, n, _ in board] == ["board"] and board[0][2]["benchmark_id"] in told, board
    assert eve.call("GET", f"/submissions/{told[secret]}/events").status == 404
    for s in (hers, others, staff):
        s.close()


def test_wrong_questions_are_refused(server):
    admin = start(server)
    b = publish(admin, [("", "x\n")])
    s = judge(admin, b, prints("x\n"))
    for path, last in (("/events", "abc"), ("/events", "-1"), ("/events", "9" * 30), (f"/submissions/{s['id']}/events", "1.5")):
        a = admin.call("GET", path, headers={"Last-Event-ID": last})
        assert a.status == 400 and "Last-Event-ID" in a.json["detail"] + json.dumps(a.json.get("errors")), a
    assert admin.call("GET", "/events?topic=x").status == 400
    assert admin.call("GET", "/submissions/0192d7e4-0000-7000-8000-000000000000/events").status == 404
    assert server.api().call("GET", "/events").status == 401


def test_silence_is_filled_and_the_gone_are_noticed(server):
    admin = start(server)
    s = open_stream(admin, "/events")
    began = time.monotonic()
    while s.next(comments=True)[1] != "":  # what the tests before have left to tell
        assert time.monotonic() - began < 20
    s.close()
    wait_for("the stream to be given up", lambda: b"\nassay_event_streams 0\n" in server.api().get("/metrics").body, 30)


@harness.direct("what the server can write before a reader stops it is what is tried")
def test_who_does_not_read_is_cut_off_and_hurts_nobody(server):
    admin = start(server)
    b = admin.post("/benchmarks", {"id": "many-tests", "name": "Many", "feedback": "full", "mode": "answer",
                                   "tests": [{"input": "", "expected_output": "x"} for _ in range(200)]}, expect=201).json["id"]
    stuck = Stream(admin, "/events", receive_buffer=4096)
    reader, seen = open_stream(admin, f"/events?benchmark_id={b}"), []

    def listen():
        while (e := reader.next()) is not None:
            seen.append(e)
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    sent = 0

    def cut():
        nonlocal sent
        items = [{"benchmark_id": b, "agent_id": "ada", "payload": "x"} for _ in range(50)]
        admin.post("/submissions/batch", {"items": items}, expect=(200, 202, 207))
        sent += 50
        return b'assay_event_stream_ends_total{how="slow"} 1\n' in server.api().get("/metrics").body
    wait_for("the stream that is not read to be cut off", cut, 90, every=0.3)
    wait_for("the honest reader to have heard it all", lambda: sum(n == "done" for _, n, _ in seen) == sent, 90)
    done = [d["submission_id"] for _, n, d in seen if n == "done"]
    assert len(done) == len(set(done))
    stuck.close()
    reader.sock.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_a_stop_ends_streams_and_a_start_resumes_them(server):
    admin = start(server)
    b = publish(admin, [("", "x\n")])
    s = open_stream(admin, f"/events?benchmark_id={b}")
    judge(admin, b, prints("x\n"))
    last = s.until("done")[-1][0]
    judge(admin, b, prints("x\n"))
    assert server.stop() == 0
    s.rest()
    server.start()
    admin = server.login()
    again = open_stream(admin, f"/events?benchmark_id={b}", last=last)
    assert [n for _, n, _ in again.until("done") if n != "board"] == ["queued", "running", "test", "done"]
    again.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
