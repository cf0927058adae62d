"""assay simulate against judges that do it wrong: a scripted server, and a driver that is a loop. Each fault must be found."""

import csv
import datetime
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree

ASSAY = os.path.abspath(os.environ.get("ASSAY_CLIENT", "./assay"))
LOOP = os.path.abspath("tests/plugins/.libs")


def programs():
    p = subprocess.run([ASSAY, "simulate", "--list", "--json"], capture_output=True, timeout=60)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


class Judge:
    """As much of the server as a run needs. fault(judge, n, submission) may spoil the n-th one (from 1)."""

    def __init__(self, fault=None, languages=("python", "go", "c", "cpp", "java")):
        self.known = {p["source"]: p["expected"] for p in programs()}
        self.fault, self.languages = fault, languages
        self.refusals, self.refuse, self.drops = [], None, 0  # of whole batches; of items; connections that break after a batch was taken
        self.seen, self.rows, self.keys, self.batches, self.made = [], [], {}, [], set()
        self.lock = threading.Lock()
        judge = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                with judge.lock:
                    answer = judge.answer(self.command, self.path, json.loads(body) if body else None, self.headers)
                if answer == "drop":
                    self.close_connection = True
                    return
                status, value, headers = (answer + ({},))[:3]
                raw = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(raw)))
                for k, v in headers.items():
                    self.send_header(k, v)
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = handle_any

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def submission(self, item, took_ms=40):
        n = len(self.rows) + 1
        made = datetime.datetime(2026, 11, 28, 1, 0, 0, tzinfo=datetime.timezone.utc) + datetime.timedelta(milliseconds=n)
        stamp = lambda t: t.strftime("%Y-%m-%dT%H:%M:%S.") + f"{t.microsecond // 1000:03d}Z"
        source = "".join(l for l in item["source"].splitlines(True) if not l.startswith(("# " + self.run(), "// " + self.run())))
        s = {"id": f"01a00000-0000-7000-8000-{n:012d}", "status": "done", "verdict": self.known.get(source, "?"), "created_at": stamp(made),
             "finished_at": stamp(made + datetime.timedelta(milliseconds=took_ms)), "item": item}
        self.rows.append(s)
        if self.fault:
            self.fault(self, n, s)
        return s

    def run(self):
        return next((p.split("-", 1)[1] for p in self.made if p.startswith("simulate-")), "\n")

    def answer(self, method, path, body, headers):
        where = path.split("?")[0]
        self.seen.append((method, where))
        if where == "/login":
            return 200, {"token": "t", "refresh_token": "r"}
        if where == "/languages":
            return 200, {"items": [{"name": n, "offered": True, "state": "ready"} for n in self.languages]}
        if method == "POST" and where == "/submissions/batch":
            return self.batch(body, headers)
        if method == "POST":
            self.made.add(body["id"])
            return 201, body
        if where == "/submissions":
            return 200, {"items": [{k: v for k, v in r.items() if k != "item"} for r in reversed(self.rows)], "next_cursor": None}
        return (200, {"id": where}) if where.rsplit("/", 1)[1] in self.made else (404, {"title": "Not Found", "status": 404})

    def batch(self, body, headers):
        key = headers["idempotency-key"]
        self.batches.append((key, len(body["items"])))
        if self.refusals:
            return self.refusals.pop(0)
        if key not in self.keys:
            items = []
            for item in body["items"]:
                refusal = self.refuse(item) if self.refuse else None
                items.append(refusal or {"status": 202, "submission": {"id": self.submission(item)["id"]}})
            self.keys[key] = (200, {"items": items})
            if self.drops:
                self.drops -= 1
                return "drop"
        return self.keys[key]


def run(tmp, *argv, judge=None, **env):
    full = {"PATH": os.environ["PATH"], "HOME": str(tmp), "LC_ALL": "C.UTF-8", "ASSAY_PASSWORD": "x", "ASSAY_PLUGIN_PATH": LOOP, **env}
    full.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
    if judge:
        full["ASSAY_URL"] = judge.url
    log = tmp / "log"
    p = subprocess.run([ASSAY, "simulate", "--json", "--log", str(log), *argv], capture_output=True, env=full, timeout=120)
    summary = json.loads(p.stdout) if p.stdout.strip() else None
    lines = [json.loads(l) for l in log.read_text().splitlines()] if log.exists() else []
    return p.returncode, summary, lines, p.stderr.decode()


def over_http(tmp, *argv, fault=None, set_up=None, **kw):
    judge = Judge(fault, **kw)
    if set_up:
        set_up(judge)
    try:
        return (judge, *run(tmp, "--login", "admin", *argv, judge=judge))
    finally:
        judge.close()


def over_loop(tmp, fault, *argv, **env):
    return run(tmp, "--via", "loop", "--linger", "0.2", "--outcomes", "ok", "--set", f"loop_fault={fault}", *argv, **env)


def events(lines, name):
    return [l for l in lines if l["event"] == name]


def test_everything_is_sent_once_and_counted(tmp):
    judge, rc, s, lines, err = over_http(tmp, "-n", "2", "--csv", str(tmp / "csv"), "--plot", str(tmp / "svg"))
    assert rc == 0, (s, err)
    assert s["all"]["sent"] == s["all"]["judged"] == 70 and s["differences"] == 0 and len(s["rows"]) == 35, s
    assert all(r["sent"] == r["judged"] == 2 for r in s["rows"])
    assert s["all"]["latency_ms"]["max"] == 40, "the server's own times"
    assert len(events(lines, "produced")) == len(events(lines, "consumed")) == 70
    assert {(l["language"], l["outcome"], l["expected"]) for l in events(lines, "produced")} == \
        {(p["language"], p["outcome"], p["expected"]) for p in programs()}
    assert judge.made >= {"assay-simulate", "assay-simulate-sum", "assay-simulate-time", "assay-simulate-memory"}, judge.made
    table = list(csv.DictReader((tmp / "csv").open()))
    assert len(table) == 35 and all(r["judged"] == "2" and float(r["p99_ms"]) == 40 for r in table)
    picture = xml.etree.ElementTree.parse(tmp / "svg").getroot()
    texts = [t.text for t in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert picture.tag.endswith("svg") and "java ol" in texts and any("0 differences" in t for t in texts if t), texts
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}polyline"))) == 4


def test_sources_repeat_unless_they_are_to_be_unique(tmp):
    judge, rc, *_ = over_http(tmp, "-n", "3", "--outcomes", "ok")
    assert rc == 0 and len({r["item"]["source"] for r in judge.rows}) == 5
    judge, rc, s, *_ = over_http(tmp, "-n", "3", "--outcomes", "ok", "--unique")
    assert rc == 0 and len({r["item"]["source"] for r in judge.rows}) == 15, s


def test_the_seed_gives_the_order_and_weights_the_numbers(tmp):
    orders = []
    for seed in ("7", "7", "8"):
        judge, rc, s, lines, _ = over_http(tmp, "--seed", seed, "--languages", "python=3,c", "--outcomes", "ok=2,bf")
        assert rc == 0 and s["seed"] == int(seed)
        assert {(r["language"], r["outcome"]): r["sent"] for r in s["rows"]} == \
            {("python", "ok"): 6, ("python", "bf"): 3, ("c", "ok"): 2, ("c", "bf"): 1}, s
        orders.append([r["item"]["source"] for r in judge.rows])
    assert orders[0] == orders[1] != orders[2]
    _, rc, s, *_ = over_http(tmp, "--languages", "java=0,go=0", "--profile", "older")
    assert rc == 0 and s["all"]["sent"] == 15 and {r["language"] for r in s["rows"]} == {"python", "c", "cpp"}


def test_a_wrong_verdict_is_found(tmp):
    def spoil(_, n, s):
        s["verdict"] = "RE" if n == 3 else s["verdict"]
    _, rc, s, lines, _ = over_http(tmp, "--outcomes", "ok", fault=spoil)
    assert rc == 1 and s["all"]["wrong"] == s["differences"] == 1
    bad = [l for l in lines if l.get("difference")]
    assert len(bad) == 1 and bad[0]["actual"] == "RE" and bad[0]["expected"] == "OK" and bad[0]["difference"] == "wrong"


def test_a_lost_submission_is_found(tmp):
    def spoil(_, n, s):
        if n == 3:
            s.update(status="queued", verdict=None, finished_at=None)
    _, rc, s, lines, _ = over_http(tmp, "--outcomes", "ok", "--wait", "1", fault=spoil)
    assert rc == 1 and s["all"]["lost"] == s["differences"] == 1 and len(events(lines, "lost")) == 1, s


def test_a_submission_that_nobody_sent_is_found(tmp):
    def spoil(judge, n, s):
        if n == 3:
            judge.rows.append({**s, "id": s["id"][:-12] + "0000000000ff"})
    _, rc, s, lines, _ = over_http(tmp, "--outcomes", "ok", fault=spoil)
    assert rc == 1 and s["differences"] == 1 and len(events(lines, "doubled")) == 1, s


def test_a_verdict_that_changes_later_is_found(tmp):
    def set_up(judge):
        answer = judge.answer
        looks = []

        def changing(method, path, body, headers):
            if method == "GET" and path.startswith("/submissions"):
                looks.append(path)
                if len(looks) == 2:
                    judge.rows[1]["verdict"] = "WA"
            return answer(method, path, body, headers)
        judge.answer = changing
    _, rc, s, lines, _ = over_http(tmp, "--outcomes", "ok", set_up=set_up)
    assert rc == 1 and s["all"]["doubled"] == 1 and "changed" in events(lines, "doubled")[0]["detail"], (s, lines)


def test_a_late_verdict_is_found_when_asked_for(tmp):
    def spoil(_, n, s):
        if n == 3:
            s["finished_at"] = "2026-11-28T01:00:09.000Z"
    assert over_http(tmp, "--outcomes", "ok", fault=spoil)[1] == 0
    _, rc, s, _, _ = over_http(tmp, "--outcomes", "ok", "--late", "5", fault=spoil)
    assert rc == 1 and s["all"]["late"] == s["differences"] == 1, s


def test_a_refused_submission_is_a_difference(tmp):
    def set_up(judge):
        judge.refuse = lambda item: {"status": 400, "error": {"title": "invalid", "detail": "no such language"}} if item["language"] == "go" else None
    _, rc, s, lines, _ = over_http(tmp, "--outcomes", "ok", "--languages", "go,c", set_up=set_up)
    assert rc == 1 and s["all"]["refused"] == 1 and events(lines, "refused")[0]["detail"] == "no such language", s


def test_a_busy_server_is_waited_for_and_nothing_is_sent_twice(tmp):
    def set_up(judge):
        judge.refusals = [(503, {"status": 503, "title": "busy"}, {"retry-after": "1"}), (429, {"status": 429, "title": "rate"})]
        judge.drops = 1
        once = []

        def item(i):
            if i["language"] == "c" and not once:
                once.append(1)
                return {"status": 429, "error": {"title": "rate", "detail": "too many"}}
        judge.refuse = item
    judge, rc, s, lines, _ = over_http(tmp, "--outcomes", "ok,bf", set_up=set_up)
    assert rc == 0 and s["all"]["judged"] == len(judge.rows) == 10, s
    keys = [k for k, _ in judge.batches]
    assert keys[0] == keys[1] == keys[2] == keys[3] and keys[4] != keys[3], judge.batches


def test_not_more_than_the_concurrency_is_open(tmp):
    judge, rc, s, *_ = over_http(tmp, "--outcomes", "ok,wa", "-c", "4")
    assert rc == 0 and max(n for _, n in judge.batches) <= 4 and s["all"]["judged"] == 10


def test_a_language_that_is_not_offered_is_said_before_anything_is_sent(tmp):
    judge, rc, s, _, err = over_http(tmp, languages=("python", "c", "cpp", "java"))
    assert rc == 4 and "go is not offered" in err and "--languages go=0" in err and judge.rows == [], err


def test_a_server_that_is_away(tmp):
    rc, s, _, err = run(tmp, "--login", "admin", ASSAY_URL="http://127.0.0.1:9")
    assert rc == 3 and s is None and "does not answer" in err, (rc, err)


def test_the_older_simulators_variables(tmp):
    judge = Judge()
    try:
        log = tmp / "older.log"
        p = subprocess.run([ASSAY, "simulate", "--login", "admin", "--json", "--languages", "c", "--outcomes", "ok"], capture_output=True, timeout=60,
                           env={"PATH": os.environ["PATH"], "HOME": str(tmp), "ASSAY_PASSWORD": "x", "ASSAY_URL": judge.url, "SCRIPT_ITERATIONS": "3",
                                "SCRIPT_INTERVAL_SECONDS": "0.2", "RESULT_WAIT_TIMEOUT_SECONDS": "5", "RESULT_CONSUMER_LOG_PATH": str(log)})
        s = json.loads(p.stdout)
        assert p.returncode == 0 and s["all"]["sent"] == 3 and s["seconds"] >= 0.4, s
        assert len(events([json.loads(l) for l in log.read_text().splitlines()], "consumed")) == 3
    finally:
        judge.close()
    p = subprocess.run([ASSAY, "simulate"], capture_output=True, timeout=60,
                       env={"PATH": os.environ["PATH"], "HOME": str(tmp), "KAFKA_BROKERS": "127.0.0.1:9", "ASSAY_PLUGIN_PATH": LOOP})
    assert p.returncode == 2 and b"no driver broker_kafka" in p.stderr, p.stderr


def test_a_broker_brings_everything_back(tmp):
    rc, s, lines, err = over_loop(tmp, "none", "-n", "20", "--rate", "2000")
    assert rc == 0 and s["all"]["judged"] == 100 and s["differences"] == 0 and s["via"] == "loop", (s, err)
    assert len(events(lines, "produced")) == 100 and "settled" not in err, err
    rc, s, _, err = over_loop(tmp, "busy", "-n", "4")
    assert rc == 0 and s["all"]["judged"] == 20, (s, err)
    rc, s, _, err = over_loop(tmp, "none", "--send-done", LOOP_STATUS="WA")
    assert rc == 1 and s["all"]["wrong"] == 5, "the driver's option came from the environment"


def test_a_brokers_faults_are_found(tmp):
    for fault, count, argv in (("lose", "lost", ("--wait", "1")), ("double", "doubled", ()), ("repeat", "doubled", ()), ("wrong", "wrong", ()),
                               ("refuse", "refused", ()), ("error", "wrong", ())):
        rc, s, lines, err = over_loop(tmp, fault, *argv)
        assert rc == 1 and s["all"][count] == s["differences"] == 1, (fault, s, err)
        assert "settled" not in err, err


def test_what_is_no_fault_of_a_brokers(tmp):
    rc, s, _, err = over_loop(tmp, "repeat", "--allow-repeats")
    assert rc == 0 and s["repeated"] == 1, (s, err)
    rc, s, _, err = over_loop(tmp, "double", "--allow-repeats")
    assert rc == 1 and s["all"]["doubled"] == 1, "another event id: it was judged twice"
    rc, s, _, err = over_loop(tmp, "again")
    assert rc == 0 and s["all"]["judged"] == 5, (s, err)
    rc, s, _, err = over_loop(tmp, "foreign")
    assert rc == 0 and s["foreign"] == 1, (s, err)
    rc, s, lines, err = over_loop(tmp, "garbage")
    assert rc == 0 and len(events(lines, "unreadable")) == 1, (s, err)


def test_strict_servers_have_fewer_statuses(tmp):
    for outcome in ("re", "ol"):
        rc, s, _, err = run(tmp, "--via", "loop", "--linger", "0", "--outcomes", outcome, "--strict", "--set", "loop_status=WA")
        assert rc == 0 and s["all"]["judged"] == 5, (s, err)
        rc, s, _, err = run(tmp, "--via", "loop", "--linger", "0", "--outcomes", outcome, "--set", "loop_status=WA")
        assert rc == 1 and s["all"]["wrong"] == 5, (s, err)


def test_what_cannot_be_is_said_with_status_2(tmp):
    for argv, says in ((("--outcomes", "okay"), "okay is none of them"), (("--languages", "c=x"), "a weight is a number"),
                       (("--languages", "c=0,go=0,java=0,cpp=0,python=0"), "nothing to send"), (("--rate", "-1"), "--rate"),
                       (("--iterations", "1.5"), "whole number"), (("--profile", "x"), "no profile"), (("x",), "not understood"),
                       (("--via", "loop", "--set", "loop_faults=x"), "has no option loop_faults"),
                       (("--via", "loop", "--set", "loop_delay=soon"), "loop_delay"), (("--via", "loop", "--agent", "x"), "--via http"),
                       (("--via", "loop", "--set", "loop_delay=2h"), "must be from 0 to 60000"), (("--strict",), "--via kafka"),
                       (("--via", "nothing"), "no driver broker_nothing")):
        p = subprocess.run([ASSAY, "simulate", *argv], capture_output=True, timeout=60,
                           env={"PATH": os.environ["PATH"], "HOME": str(tmp), "ASSAY_PLUGIN_PATH": LOOP, "ASSAY_URL": Judge.url_of_one})
        assert p.returncode == 2 and says in p.stderr.decode(), (argv, p.returncode, p.stderr)


def test_a_stop_waits_for_what_was_sent(tmp):
    p = subprocess.Popen([ASSAY, "simulate", "--via", "loop", "--json", "-n", "0", "--outcomes", "ok", "--rate", "50", "--set", "loop_delay=10ms"],
                         stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"], "HOME": str(tmp), "ASSAY_PLUGIN_PATH": LOOP})
    try:
        p.wait(1.5)
        raise AssertionError("it was to go on for ever")
    except subprocess.TimeoutExpired:
        p.terminate()
    out, _ = p.communicate(timeout=60)
    s = json.loads(out)
    assert p.returncode == 0 and s["all"]["sent"] == s["all"]["judged"] > 0, s


def main():
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_") and callable(f)]
    print(f"1..{len(tests)}")
    one = Judge()
    Judge.url_of_one = one.url
    failed = 0
    for i, (name, f) in enumerate(tests, 1):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory(prefix="assay-simulate-") as tmp:
            try:
                f(pathlib.Path(tmp))
                print(f"ok {i} - {name}")
            except Exception as e:  # pylint: disable=broad-except
                failed += 1
                print(f"not ok {i} - {name}")
                print("\n".join("# " + line for line in f"{type(e).__name__}: {e}".splitlines()))
        sys.stdout.flush()
    one.close()
    return 1 if failed else 0


sys.exit(main())
