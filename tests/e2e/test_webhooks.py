"""Webhooks: a receiver that is told of events, with everything that a receiver can do wrong, and addresses that are not called."""

import base64
import hashlib
import hmac
import http.server
import json
import sys
import threading
import time

import harness
from harness import Server, program, wait_for

FAST = {"ASSAY_WEBHOOK_ALLOW": "127.0.0.1", "ASSAY_WEBHOOK_PAUSE": "100ms", "ASSAY_WEBHOOK_PAUSE_MAX": "400ms", "ASSAY_WEBHOOK_TIMEOUT": "1s",
        "ASSAY_WEBHOOK_ATTEMPTS": "5"}


def make_server():
    return Server(env=FAST)


class Receiver:
    """An HTTP server that writes down what it is sent and answers as `answer(n)` says: a status, (status, headers), or seconds to hang."""

    def __init__(self, answer=lambda n: 204, address="127.0.0.1"):
        self.got, self.lock, self.answer = [], threading.Lock(), answer
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.lock:
                    outer.got.append({"path": self.path, "body": body, "at": time.monotonic(),
                                      **{k.lower(): v for k, v in self.headers.items()}})
                    n = len(outer.got)
                what = outer.answer(n)
                if isinstance(what, float):
                    time.sleep(what)
                    return
                status, headers = what if isinstance(what, tuple) else (what, {})
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k, v)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return "http://%s:%d/hook?of=us" % self.server.server_address[:2]

    def events(self):
        with self.lock:
            return list(self.got)

    def wait(self, n, timeout=30):
        wait_for(f"{n} requests", lambda: len(self.events()) >= n, timeout)
        return self.events()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def signed(secret, request):
    """As a receiver checks it, by the text of Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"{request['webhook-id']}.{request['webhook-timestamp']}.".encode() + request["body"]
    want = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return f"v1,{want}" in request["webhook-signature"].split(" ")


def benchmark(admin, name, **more):
    b = json.loads((harness.FIXTURES / "demo" / "benchmark.json").read_text())
    admin.post("/benchmarks", {**b, "id": name, **more}, expect=201)
    return name


def hook(api, url, **body):
    return api.post("/webhooks", {"url": url, **body}, expect=201).json


def submit(api, name, source="right.c"):
    if not hasattr(api, "agent"):
        api.agent = api.post("/agents", {"name": "told of"}, expect=201).json["id"]
    return api.post("/submissions", {"benchmark_id": name, "agent_id": api.agent, "language": "c", "source": program(source)}, expect=202).json["id"]


def deliveries(api, h, state=None):
    return api.get(f"/webhooks/{h['id']}/deliveries" + (f"?state={state}" if state else "")).json["items"]


def settled(api, h, state, n=1):
    return wait_for(f"{n} {state}", lambda: (lambda d: d if len(d) >= n else None)(deliveries(api, h, state)), 30)


def test_a_submission_that_is_done_is_told_signed(server):
    admin, r = server.login(), Receiver()
    try:
        b = benchmark(admin, "told")
        h = hook(admin, r.url, benchmark_id=b)
        assert h["secret"].startswith("whsec_") and h["events"] == ["submission.done"] and h["active"] is True, h
        assert "secret" not in admin.get(f"/webhooks/{h['id']}").json, "it is shown once"
        sid = submit(admin, b)
        server.wait_done(admin, sid)
        got = r.wait(1)[0]
        body = json.loads(got["body"])
        assert body["type"] == "submission.done" and body["data"]["submission_id"] == sid, body
        assert (body["data"]["verdict"], body["data"]["score"], body["data"]["status"]) == ("OK", 100, "done"), body
        assert got["path"] == "/hook?of=us" and got["content-type"] == "application/json" and got["user-agent"].startswith("Assay-Webhooks/"), got
        assert got["webhook-id"] == body["data"]["event_id"]
        assert abs(int(got["webhook-timestamp"]) - time.time()) < 60
        assert signed(h["secret"], got) and not signed(h["secret"], {**got, "body": got["body"] + b" "})
        d = settled(admin, h, "delivered")[0]
        assert (d["event_id"], d["attempts"], d["status"], d["body"]) == (got["webhook-id"], 1, 204, body), d
        time.sleep(1)
        assert len(r.events()) == 1, "what has been taken is not sent again"
    finally:
        r.close()


def test_every_kind_of_event_is_told_in_order_of_its_life(server):
    admin, r = server.login(), Receiver()
    try:
        b = benchmark(admin, "kinds")
        admin.post("/agents", {"id": "kinds-agent"}, expect=201)
        hook(admin, r.url, benchmark_id=b, events=["submission.queued", "submission.running", "submission.done", "submission.deleted", "board.updated"])
        sid = admin.post("/submissions", {"benchmark_id": b, "agent_id": "kinds-agent", "language": "c", "source": program("right.c")}, expect=202).json["id"]
        server.wait_done(admin, sid)
        r.wait(4)
        admin.delete(f"/submissions/{sid}")
        wait_for("all five", lambda: {json.loads(g["body"])["type"] for g in r.events()} == {
            "submission.queued", "submission.running", "submission.done", "submission.deleted", "board.updated"}, 30)
    finally:
        r.close()


def test_what_fails_is_tried_again_with_the_same_id_until_a_bound(server):
    admin = server.login()
    r = Receiver(lambda n: 500 if n <= 3 else 200)
    never = Receiver(lambda n: 503)
    try:
        b = benchmark(admin, "failing")
        h, lost = hook(admin, r.url, benchmark_id=b), hook(admin, never.url, benchmark_id=b)
        submit(admin, b)
        got = r.wait(4)
        assert len({g["webhook-id"] for g in got}) == 1 and len({g["body"] for g in got}) == 1, got
        assert all(signed(h["secret"], g) for g in got)
        assert settled(admin, h, "delivered")[0]["attempts"] == 4
        pauses = [b["at"] - a["at"] for a, b in zip(got, got[1:])]
        assert pauses[0] >= 0.08 and pauses[1] >= 0.3, f"each pause is longer: {pauses}"
        d = settled(admin, lost, "failed")[0]
        assert d["attempts"] == 5 and d["status"] == 503 and "it answered 503" in d["error"], d
        time.sleep(1)
        assert len(never.events()) == 5, "after the bound nothing is sent"
        assert server.metric('assay_webhook_deliveries_total{outcome="failed"}') >= 1
        assert '"webhook_failed"' in server.log_text() or "webhook_failed" in server.log_text()

        # and when the receiver has been mended, what it missed is sent again: the same event, the same id
        never.answer = lambda n: 200
        a = admin.post(f"/webhooks/{lost['id']}/replay", {"event_id": d["event_id"]}, expect=202)
        assert a.json == {"replayed": 1}
        assert settled(admin, lost, "delivered")[0]["event_id"] == d["event_id"]
        again = never.events()[-1]
        assert again["webhook-id"] == d["event_id"] and json.loads(again["body"]) == d["body"] and signed(lost["secret"], again)
        assert admin.post(f"/webhooks/{h['id']}/replay", {"since": "2020-01-01T00:00:00Z"}, expect=202).json == {"replayed": 1}
        r.wait(5)
        admin.call("POST", f"/webhooks/{h['id']}/replay", {"event_id": "0190a5b2-0000-7000-8000-000000000000"}, expect=404)
        admin.call("POST", f"/webhooks/{h['id']}/replay", {}, expect=400)
    finally:
        r.close()
        never.close()


def test_a_receiver_that_hangs_holds_up_nobody_else(server):
    admin = server.login()
    r, hanging = Receiver(), Receiver(lambda n: 5.0)
    try:
        b = benchmark(admin, "hanging")
        h, slow = hook(admin, r.url, benchmark_id=b), hook(admin, hanging.url, benchmark_id=b)
        for _ in range(12):
            submit(admin, b)
        settled(admin, h, "delivered", 12)
        d = settled(admin, slow, "failed")[0]
        assert d["attempts"] == 5 and d.get("status") is None and "imeout" in d["error"], d
    finally:
        r.close()
        hanging.close()


def test_redirects_are_not_followed(server):
    admin, inner = server.login(), Receiver()
    r = Receiver(lambda n: (307, {"Location": inner.url}))
    try:
        b = benchmark(admin, "redirecting")
        h = hook(admin, r.url, benchmark_id=b)
        submit(admin, b)
        d = settled(admin, h, "failed")[0]
        assert d["status"] == 307 and "redirects are not followed" in d["error"], d
        assert inner.events() == []
    finally:
        r.close()
        inner.close()


def test_gone_switches_the_webhook_off_and_retry_after_is_heeded(server):
    admin, gone = server.login(), Receiver(lambda n: 410)
    later = Receiver(lambda n: (429, {"Retry-After": "1"}) if n == 1 else 200)
    try:
        b = benchmark(admin, "gone")
        h, l = hook(admin, gone.url, benchmark_id=b), hook(admin, later.url, benchmark_id=b)
        submit(admin, b)
        assert settled(admin, h, "failed")[0]["attempts"] == 1
        shown = admin.get(f"/webhooks/{h['id']}").json
        assert shown["active"] is False and "410" in shown["reason"], shown
        got = later.wait(2)
        assert got[1]["at"] - got[0]["at"] >= 0.35, "longer than the first pause, up to the longest"
        settled(admin, l, "delivered")
        submit(admin, b)
        settled(admin, l, "delivered", 2)
        assert len(gone.events()) == 1
        assert admin.patch(f"/webhooks/{h['id']}", {"active": True}).json.get("reason") is None
    finally:
        gone.close()
        later.close()


def test_addresses_that_are_not_public_are_not_called():
    """Neither by number, in any spelling, nor by a name that leads there; what webhook_allow names is."""
    inner = Receiver()
    server = Server(env={**FAST, "ASSAY_WEBHOOK_ALLOW": "", "ASSAY_WEBHOOK_ATTEMPTS": "2"})
    try:
        server.start()
        admin = server.login()
        b = benchmark(admin, "inward")
        port = inner.server.server_address[1]
        for url in ("http://127.0.0.1", "http://10.1.2.3", "http://192.168.0.1", "http://172.20.0.1", "http://169.254.169.254/latest/meta-data",
                    "http://[::1]", "http://[::ffff:127.0.0.1]", "http://[fd00::1]", "http://[fe80::1]", "http://0.0.0.0", "http://100.64.1.1",
                    "http://2130706433", "http://0x7f.1", "http://0177.0.0.1", "http://[64:ff9b::7f00:1]", "http://[2002:7f00:1::]", "http://224.0.0.1"):
            a = admin.call("POST", "/webhooks", {"url": url, "benchmark_id": b})
            assert a.status == 400 and a.json["errors"][0]["pointer"] == "/url", (url, a)
        for url in ("ftp://example.com", "file:///etc/passwd", "https://user:word@example.com", "gopher://example.com", "not a url", "https://", "//example.com",
                    "https://example.com/#there"):
            a = admin.call("POST", "/webhooks", {"url": url, "benchmark_id": b})
            assert a.status == 400 and a.json["errors"][0]["pointer"] == "/url", (url, a)
        # a name is resolved when it is called, and the address that the socket gets is what counts
        h = hook(admin, f"http://localhost:{port}/", benchmark_id=b)
        submit(admin, b)
        d = settled(admin, h, "failed")[0]
        assert "not public" in d["error"] and d["attempts"] == 2, d
        assert inner.events() == [], "a connection was made"
    finally:
        server.close()
        inner.close()


def test_environment_proxies_are_not_used():
    proxy, r = Receiver(), Receiver()
    server = Server(env={**FAST, "http_proxy": proxy.url, "HTTP_PROXY": proxy.url, "ALL_PROXY": proxy.url})
    try:
        server.start()
        admin = server.login()
        b = benchmark(admin, "proxied")
        hook(admin, r.url, benchmark_id=b)
        submit(admin, b)
        r.wait(1)
        assert proxy.events() == []
    finally:
        server.close()
        proxy.close()
        r.close()


def test_each_sees_through_a_webhook_what_they_may_see(server):
    admin, alice, bob = server.login(), server.register("hook-alice"), server.register("hook-bob")
    r = {n: Receiver() for n in ("admin", "alice", "bob")}
    try:
        b = benchmark(admin, "quiet", feedback="none")
        for name, api in (("admin", admin), ("alice", alice), ("bob", bob)):
            hook(api, r[name].url, benchmark_id=b)
        sid = submit(alice, b)
        server.wait_done(admin, sid)
        assert json.loads(r["admin"].wait(1)[0]["body"])["data"]["verdict"] == "OK"
        mine = json.loads(r["alice"].wait(1)[0]["body"])["data"]
        assert mine["submission_id"] == sid and "verdict" not in mine and "score" not in mine, mine
        time.sleep(0.5)
        assert r["bob"].events() == [], "somebody else's submission"
        private = benchmark(admin, "closed", visibility="private")
        bob.call("POST", "/webhooks", {"url": r["bob"].url, "benchmark_id": private}, expect=404)
        bob.call("POST", "/webhooks", {"url": r["bob"].url, "benchmark_id": "no-such-benchmark"}, expect=404)
        mine = bob.post("/webhooks", {"url": r["bob"].url, "benchmark_id": b}, expect=201).json["id"]
        for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/deliveries"), ("POST", "/replay")):
            body = {"active": False} if method == "PATCH" else {"since": "2020-01-01T00:00:00Z"} if method == "POST" else None
            alice.call(method, f"/webhooks/{mine}{path}", body, expect=404)
        assert mine in [h["id"] for h in admin.all("/webhooks?")] and mine not in [h["id"] for h in alice.all("/webhooks?")]
        bob.delete(f"/webhooks/{mine}")
        bob.call("GET", f"/webhooks/{mine}", expect=404)
    finally:
        for x in r.values():
            x.close()


def test_a_webhook_for_one_submission():
    r = Receiver()
    server = Server(env={**FAST, "RUNNER_MAX_PARALLEL": "1"})
    try:
        server.start()
        admin, alice, bob = server.login(), server.register("hook-alice"), server.register("hook-bob")
        b = benchmark(admin, "single")
        first = [submit(admin, b, "spinning.c") for _ in range(2)]
        sid, other = submit(alice, b), submit(alice, b)
        h = hook(alice, r.url, submission_id=sid, events=["submission.running", "submission.done"])
        bob.call("POST", "/webhooks", {"url": r.url, "submission_id": sid}, expect=404)
        alice.call("POST", "/webhooks", {"url": r.url}, expect=400)
        alice.call("POST", "/webhooks", {"url": r.url, "submission_id": sid, "benchmark_id": b}, expect=400)
        for i in (*first, sid, other):
            server.wait_done(admin, i)
        settled(alice, h, "delivered", 2)
        told = [json.loads(g["body"])["data"]["submission_id"] for g in r.events()]
        assert told == [sid, sid], told
        a = alice.call("POST", "/webhooks", {"url": r.url, "submission_id": sid}, expect=404)
        assert "queued or running" in a.json["detail"], a
    finally:
        server.close()
        r.close()


def test_nothing_is_forgotten_when_the_server_is_killed():
    """Killed while its receiver fails: each event comes at last, known by its id, however often it comes."""
    down, r = [True], Receiver(lambda n: 500 if down[0] else 200)
    server = Server(env={**FAST, "ASSAY_WEBHOOK_ATTEMPTS": "50"})
    try:
        server.start()
        admin = server.login()
        b = benchmark(admin, "killed")
        h = hook(admin, r.url, benchmark_id=b)
        ids = [submit(admin, b) for _ in range(8)]
        server.wait_done(admin, ids[0])
        r.wait(1)
        server.kill()
        server.start()
        admin = server.login()
        for i in ids:
            server.wait_done(admin, i)
        down[0] = False
        done = settled(admin, h, "delivered", 8)
        assert sorted(d["body"]["data"]["submission_id"] for d in done) == sorted(ids)
        by = {}
        for g in r.events():
            by.setdefault(g["webhook-id"], set()).add(g["body"])
        assert len(by) == 8 and all(len(v) == 1 for v in by.values()), "the same event, the same bytes"
    finally:
        server.close()
        r.close()


def test_erased_and_disabled_accounts_hear_no_more(server):
    admin, carl, dora = server.login(), server.register("hook-carl"), server.register("hook-dora")
    r = Receiver()
    try:
        b = benchmark(admin, "leaving")
        hc, hd = hook(carl, r.url, benchmark_id=b), hook(dora, r.url, benchmark_id=b)
        admin.patch(f"/users/{dora.get('/me').json['id']}", {"disabled": True})
        admin.delete(f"/users/{carl.get('/me').json['id']}")
        wait_for("the hook to go", lambda: admin.call("GET", f"/webhooks/{hc['id']}").status == 404, 10)
        wait_for("the hook to be off", lambda: admin.get(f"/webhooks/{hd['id']}").json["active"] is False, 10)
        assert "disabled" in admin.get(f"/webhooks/{hd['id']}").json["reason"]
    finally:
        r.close()


def test_faults_of_a_request_come_at_once(server):
    admin = server.login()
    b = benchmark(admin, "faulty-hooks")
    a = admin.call("POST", "/webhooks", {"url": "nowhere", "events": ["submission.done", "sun.rise"], "colour": 1}, expect=400)
    assert {e["pointer"] for e in a.json["errors"]} >= {"/url", "/events/1", "/benchmark_id", "/colour"}, a
    key = {"Idempotency-Key": "one-hook"}
    body = {"url": "https://hooks.example/x", "benchmark_id": b, "active": False}
    first, again = (admin.post("/webhooks", body, headers=key, expect=201).json for _ in range(2))
    assert first == again and first["secret"], "the same key, the same webhook and secret"
    admin.call("GET", f"/webhooks/{first['id']}/deliveries?state=lost", expect=400)
    assert admin.patch(f"/webhooks/{first['id']}", {"url": "https://hooks.example/y", "events": ["board.updated"]}).json["events"] == ["board.updated"]


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
