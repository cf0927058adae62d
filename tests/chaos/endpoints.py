"""One well-formed request for every route of `assayd --dump-routes`, by its operation id: what test_sweep.py makes calls fail under.

A row says how its request is made, which answers are right, and how to see that an acknowledged one has happened. What a
request needs for itself alone (an agent to delete, a lease to end) is prepared before anything fails.
"""

import io
import json
import subprocess
import time
import zipfile

from harness import PREFIX, program, wait_for

PASSWORD = "a-long-enough-password"
LIMITS = {"time_limit_ms": 1000, "wall_limit_ms": 20000, "memory_limit_bytes": 64 << 20}


def routes():
    """operation id -> (method, path) of the installed server."""
    text = subprocess.run([str(PREFIX / "bin" / "assayd"), "--dump-routes"], env={"PATH": "/usr/bin:/bin"}, check=True, capture_output=True,
                          text=True).stdout
    rows = [json.loads(line) for line in text.splitlines()]
    return {r["operation_id"]: (r["method"], r["path"]) for r in rows}


class World:
    """What the requests speak of; each request makes its own names."""

    def __init__(self, server, judges=True):
        self.server, self.judges, self.n = server, judges, 0
        self.accepted = {}  # submission -> verdict, of a server that judges
        self.kept = {}      # what was prepared for the n-th request
        self.refresh_token = None
        self.sign_in()
        admin = self.admin
        admin.post("/agents", {"id": "ada", "name": "Ada"}, expect=201)
        self.problem = admin.post("/benchmarks", {
            "id": "swept", "name": "Swept", "compare": "tokens", "feedback": "full", "limits": LIMITS,
            "tests": [{"input": "1 2 3", "expected_output": "6"}]}, expect=201).json["problems"][0]["id"]
        self.user = admin.post("/register", {"login": "somebody", "password": PASSWORD}, expect=201).json["id"]
        admin.post("/register", {"login": "student", "password": PASSWORD}, expect=201)
        admin.post("/register", {"login": "leaving", "password": PASSWORD}, expect=201)  # signing out ends all sessions
        self.changing = admin.post("/register", {"login": "changing", "password": PASSWORD}, expect=201).json["id"]
        self.token = admin.post("/agents/ada/tokens", {"scopes": ["jobs:lease", "results:write"]}, expect=201).json["token"]
        if judges:
            self.done, self.again = self.submit(), self.submit()
            self.task = admin.post("/task", {"language": "python", "code": "print(1)"}, expect=201).json["task_id"]
            for sid in (self.done, self.again):
                server.wait_done(admin, sid, 120)
            wait_for("the task", lambda: admin.get(f"/status/{self.task}").json["status"] == "ready", 60)
        else:
            self.submit()
            job = self.lease()
            self.ref = job["script"]["assay"]["manifest"]["tests"][0]["expected_ref"]

    def sign_in(self):
        self.admin = self.server.login()
        self.until = time.monotonic() + 1200  # tokens live for an hour

    def submit(self, file="right.c", verdict="OK"):
        a = self.admin.post("/submissions", {"benchmark_id": "swept", "agent_id": "ada", "language": "c", "source": program(file)})
        self.accepted[a.json["id"]] = verdict
        return a.json["id"]

    def worker(self):
        return type(self.admin)(self.server.port, self.token)

    def lease(self):
        """A job, leased by a worker elsewhere: the first of the queue, whichever that is."""
        return wait_for("a job", lambda: self.worker().post("/agents/ada/lease", {"max": 1}).json["jobs"], 30)[0]

    def fresh(self):
        if time.monotonic() > self.until:
            self.sign_in()
        self.n += 1
        return self.n


class Row:
    """make(world, n) -> (method, path, body[, headers]); prepare(world, n) -> what make finds in world.kept[n]; happened(world, n, answer)
    raises when an acknowledged request has not. judges: whether it needs a server that judges, or one that leaves that to
    workers. token(world, n): whose request it is, where it is not the admin's."""

    def __init__(self, make, right, happened=None, prepare=None, judges=True, token=None, stream=False, again=()):
        self.make, self.right, self.happened, self.prepare = make, set(right), happened, prepare
        self.judges, self.token, self.stream = judges, token, stream
        self.again = {401, 409, 429} | set(again)  # of a second try, where the first has happened without an answer


def get(path, right=(200,), **more):
    return Row(lambda w, n: ("GET", path(w, n) if callable(path) else path, None), right, **more)


def there(path, status=200):
    def look(w, n, a):
        w.admin.get(path(w, n), expect=status)
    return look


def submission(file):
    return lambda w, n: ("POST", "/submissions", {"benchmark_id": "swept", "agent_id": "ada", "language": "c", "source": program(file)})


def took_submission(verdict):
    def note(w, n, a):
        assert w.accepted.setdefault(a.json["id"], verdict) == verdict
    return note


def took_batch(w, n, a):
    for item in a.json["items"]:
        if item["status"] == 202:
            w.accepted[item["submission"]["id"]] = "OK"
        else:
            assert item["status"] in (429, 503, 507, 500), item


def took_tests(w, n, a):
    tests = w.admin.get(f"/problems/{w.problem}/tests", expect=200).json
    assert any(t.get("input") == f"{n} 2 3" for t in tests["items"]), f"acknowledged and not there: {n} {tests}"


def named(path, name):
    """What is there has that name now."""
    def look(w, n, a):
        it = w.admin.get(path(w, n), expect=200).json
        assert it["name"] == name(n), f"acknowledged and not there: {it}"
    return look


def grace(w):
    if w.admin.call("GET", "/agents/grace").status == 404:
        w.admin.post("/agents", {"id": "grace", "name": "Grace"}, expect=201)
        sid = w.admin.post("/submissions", {"benchmark_id": "swept", "agent_id": "grace", "language": "c", "source": program("right.c")}).json["id"]
        w.accepted[sid] = "OK"
        w.server.wait_done(w.admin, sid, 60)


def made_agent(w, n):
    return w.admin.post("/agents", {"id": f"gone-{n}", "name": "To be deleted"}, expect=201).json["id"]


def made_token(w, n):
    return w.admin.post("/agents/ada/tokens", {"name": f"to be revoked {n}"}, expect=201).json["id"]


def made_benchmark(w, n):
    return w.admin.post("/benchmarks", {"id": f"going-{n}", "name": "To be deleted"}, expect=201).json["id"]


def made_problem(w, n):
    return w.admin.post(f"/benchmarks/{with_problems(n)}/problems", {"name": f"problem {n}", "tests": [{"input": "1", "expected_output": "1"}]},
                        expect=201).json["id"]


def with_problems(n):
    return f"swept-with-{n // 100}"  # a benchmark has 200 problems at most


def has_problems(w, n):
    if w.admin.call("GET", f"/benchmarks/{with_problems(n)}").status == 404:
        w.admin.post("/benchmarks", {"id": with_problems(n), "name": "With problems"}, expect=201)


def prepared_problem(w, n):
    has_problems(w, n)
    return made_problem(w, n)


def of_one(w, n):
    """One problem for all that only look at it or change its name."""
    if not hasattr(w, "one_problem"):
        has_problems(w, n)
        w.one_problem = made_problem(w, n)
    return w.one_problem


def signed_in(w, n, login="somebody"):
    return w.admin.post("/login", {"login": login, "password": PASSWORD}, expect=200).json


def signs_in(w, n, a):
    type(w.admin)(w.server.port, a.json.get("token") or a.json["access_token"]).get("/me", expect=200)


def refreshable(w, n):
    if w.refresh_token is None:
        w.refresh_token = signed_in(w, n)["refresh_token"]
    token, w.refresh_token = w.refresh_token, None  # good once
    return token


def refreshed(w, n, a):
    w.refresh_token = a.json["refresh_token"]
    signs_in(w, n, a)


def signed_out(w, n, a):
    api = type(w.admin)(w.server.port, w.kept[n]["token"])
    wait_for("the token to be refused", lambda: api.call("GET", "/me").status == 401, 5)  # within a second, by its promise


def may_sign_in(login, password):
    return lambda w, n, a: w.admin.post("/login", {"login": login(n), "password": password(n)}, expect=(200, 429))


def has_token(w, n, a):
    assert any(t["id"] == a.json["id"] for t in w.admin.all("/agents/ada/tokens?")), "acknowledged and not there"
    w.admin.delete(f"/agents/ada/tokens/{a.json['id']}")  # an agent has 100 at most


def lost_token(w, n, a):
    assert all(t["id"] != w.kept[n] for t in w.admin.all("/agents/ada/tokens?")), "acknowledged and still there"


def queued(w, n):
    return w.submit()


def cancelled(w, n):
    sid = w.submit()
    w.admin.post(f"/submissions/{sid}/cancel", expect=(200, 202))
    return sid


def queued_task(w, n):
    return w.admin.post("/task", {"language": "python", "code": f"print({n})"}, expect=201).json["task_id"]


def is_state(path, *states):
    def look(w, n, a):
        it = w.admin.get(path(w, n), expect=200).json
        assert it["status"] in states, f"acknowledged, and it is {it}"
    return look


def leased(w, n):
    w.submit()
    return w.lease()


def result_of(path, name):
    def make(w, n):
        job = w.kept[n]
        sid, tests = job["submission_id"], job["script"]["assay"]["manifest"]["tests"]
        return ("POST", path, {name: sid, "fence": job["fence"],
                               "result": {"id": sid, "status": "OK", "tests": [{"number": t["number"], "status": "OK"} for t in tests]}})
    return make


def ended(w, n, a):
    sid = w.kept[n]["submission_id"]
    it = w.admin.get(f"/submissions/{sid}", expect=200).json
    assert (it["status"], it["verdict"]) == ("done", "OK"), f"acknowledged, and it is {it}"


def held_back(w, n, a):
    """What was leased is given back, so that the next has something."""
    for job in a.json["jobs"]:
        w.worker().post("/results", {"submission_id": job["submission_id"], "fence": job["fence"], "returned": {"reason": "a test", "charge": False}},
                        expect=(200, 204, 409))


def noted(w, n):
    """A submission that notes are still taken of: it has 200 at most."""
    w.notes = getattr(w, "notes", 0) + 1
    if w.notes % 150 == 1:
        w.noted = w.submit()
    return w.noted


def traced(w, n, a):
    last = w.admin.all(f"/traces?submission_id={w.kept[n]}")
    assert any(f"note {n}" in json.dumps(x) for x in last), "acknowledged and not there"


def packed(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, text in files.items():
            z.writestr(name, text)
    return out.getvalue()


PACKAGE = packed({"problem.yaml": "name: P\n", "data/sample/1.in": "1\n", "data/sample/1.ans": "1\n",
                  "submissions/accepted/a.py": "print(input())\n"})
ZIP = {"Content-Type": "application/zip"}
FORM = {"Content-Type": "multipart/form-data; boundary=assay"}
PROJECT = packed({"run-tests": "echo 'Tests run: 2, Failures: 1, Errors: 0, Skipped: 0'; exit 1"})


def form(data):
    head = b'--assay\r\nContent-Disposition: form-data; name="file"; filename="t.zip"\r\nContent-Type: application/zip\r\n\r\n'
    return head + data + b"\r\n--assay--\r\n"


def pit(name):
    return {"id": name, "title": "A project", "language": "bash", "testCommand": "sh ./run-tests", "maxTimeoutMs": 10000}


def made_pit(w, n):
    return w.admin.post("/pits", pit(f"going-{n}"), expect=201).json["id"]


def one_pit(w, n):
    if w.admin.call("GET", "/pits/swept").status == 404:
        w.admin.post("/pits", pit("swept"), expect=201)
    return "swept"


def student(w):
    """Projects are a user's, not the admin's."""
    if not hasattr(w, "student_until") or time.monotonic() > w.student_until:
        w.student_token = signed_in(w, 0, "student")["token"]
        w.student_until = time.monotonic() + 1200
    return type(w.admin)(w.server.port, w.student_token)


def asked_upload(w, n):
    one_pit(w, n)
    up = student(w).post("/submissions/request-upload", {"pitId": "swept"}, expect=201).json
    return {**up, "path": up["uploadUrl"].split(str(w.server.port), 1)[1]}


def uploaded(w, n):
    up = asked_upload(w, n)
    w.admin.call("PUT", up["path"], PROJECT, expect=200)
    return up


def confirmed(w, n):
    if not hasattr(w, "project"):
        w.project = student(w).post("/submissions/confirm", {"pitId": "swept", "fileKey": uploaded(w, n)["fileKey"]}, expect=201).json["submissionId"]
        wait_for("the project", lambda: student(w).get(f"/submissions/feedback/{w.project}").json["status"] in ("DONE", "ERROR"), 60)
    return w.project


def made_set(w, n):
    """Of a benchmark without submissions: there is nothing to wait for."""
    if w.admin.call("GET", "/benchmarks/rejudged").status == 404:
        w.admin.post("/benchmarks", {"id": "rejudged", "name": "Rejudged", "tests": [{"input": "1", "expected_output": "1"}]}, expect=201)
        w.admin.post("/submissions?wait=60", {"benchmark_id": "rejudged", "agent_id": "ada", "language": "c", "source": program("right.c")},
                     expect=(200, 202))
    return w.admin.post("/rejudgings", {"benchmark_id": "rejudged", "reason": f"sweep {n}"}, expect=201).json["id"]


def hook(w, n):
    """Of a benchmark that nobody submits to: nothing is ever sent."""
    if w.admin.call("GET", "/benchmarks/hooked").status == 404:
        w.admin.post("/benchmarks", {"id": "hooked", "name": "Hooked", "tests": [{"input": "1", "expected_output": "1"}]}, expect=201)
    return {"url": f"https://example.com/{n}", "benchmark_id": "hooked", "events": ["submission.done"]}


def made_hook(w, n):
    return w.admin.post("/webhooks", hook(w, n), expect=201).json["id"]


def one_hook(w, n):
    if not hasattr(w, "hook"):
        w.hook = made_hook(w, n)
    return w.hook


def has_hook(w, n, a):
    w.admin.get(f"/webhooks/{a.json['id']}", expect=200)
    w.admin.delete(f"/webhooks/{a.json['id']}")  # an account has some at most


def erasable(w, n):
    return w.admin.post("/register", {"login": f"going-{n}", "password": PASSWORD}, expect=201).json["id"]


def registered(w, n):
    w.admin.post("/register", {"login": f"leaves-{n}", "password": PASSWORD}, expect=201)
    return signed_in(w, n, f"leaves-{n}")


STUDENT = {"token": lambda w, n: student(w).token}
WORKER = {"judges": False, "token": lambda w, n: w.token}

ENDPOINTS = {
    "health_live": get("/healthz"),
    "health_ready": get("/readyz", (200, 503)),
    "metrics_get": get("/metrics"),
    "openapi_get": get("/swagger.json"),
    "index_get": get("/"),
    "dashboard_file": get("/ui/licenses.txt", (200, 404)),  # 404: it was not built here
    "swagger_door": get("/swagger"),
    "swagger_ui": get("/swagger/"),
    "swagger_file": get("/swagger/start.js", (200, 404)),
    "submissions_create": Row(submission("right.c"), {202}, took_submission("OK")),
    "submissions_batch": Row(lambda w, n: ("POST", "/submissions/batch", {"items": [
        {"benchmark_id": "swept", "agent_id": "ada", "language": "c", "source": program("right.c")}] * 3}), {200, 202, 207}, took_batch),
    "submissions_list": get("/submissions?benchmark_id=swept&limit=10"),
    "submissions_get": get(lambda w, n: f"/submissions/{w.done}"),
    "submissions_source": get(lambda w, n: f"/submissions/{w.done}/source"),
    "submissions_delete": Row(lambda w, n: ("DELETE", f"/submissions/{w.kept[n]}", None), {200, 204},
                              there(lambda w, n: f"/submissions/{w.kept[n]}", 404), cancelled, judges=False, again={404}),
    "submissions_cancel": Row(lambda w, n: ("POST", f"/submissions/{w.kept[n]}/cancel", None), {200, 202},
                              is_state(lambda w, n: f"/submissions/{w.kept[n]}", "cancelled"), queued, judges=False),
    "submissions_rejudge": Row(lambda w, n: ("POST", f"/submissions/{w.again}/rejudge", None), {200, 202, 409}),
    "submissions_events": get(lambda w, n: f"/submissions/{w.done}/events", stream=True),
    "events_stream": Row(lambda w, n: ("GET", "/events", None), {200}, stream=True),
    "task_create": Row(lambda w, n: ("POST", "/task", {"translator": "python", "code": f"print({n})"}), {201},
                       lambda w, n, a: w.admin.get(f"/status/{a.json['task_id']}", expect=200)),
    "task_delete": Row(lambda w, n: ("DELETE", f"/task?id={w.kept[n]}", None), {200, 204},
                       there(lambda w, n: f"/status/{w.kept[n]}", 404), queued_task, judges=False, again={404}),
    "task_status": get(lambda w, n: f"/status/{w.task}"),
    "task_result": get(lambda w, n: f"/result/{w.task}"),
    "agents_list": get("/agents"),
    "agents_create": Row(lambda w, n: ("POST", "/agents", {"id": f"agent-{n}", "name": "An agent"}), {201},
                         there(lambda w, n: f"/agents/agent-{n}")),
    "agents_get": get("/agents/ada"),
    "agents_update": Row(lambda w, n: ("PATCH", "/agents/ada", {"name": f"Ada {n}"}), {200},
                         named(lambda w, n: "/agents/ada", lambda n: f"Ada {n}")),
    "agents_delete": Row(lambda w, n: ("DELETE", f"/agents/{w.kept[n]}", None), {200, 204},
                         there(lambda w, n: f"/agents/{w.kept[n]}", 404), made_agent, again={404}),
    "agent_tokens_list": get("/agents/ada/tokens"),
    "agent_tokens_create": Row(lambda w, n: ("POST", "/agents/ada/tokens", {"name": f"token {n}", "expires_in": 600}), {201}, has_token),
    "agent_tokens_delete": Row(lambda w, n: ("DELETE", f"/agents/ada/tokens/{w.kept[n]}", None), {200, 204}, lost_token, made_token,
                               again={404}),
    "agents_heartbeat": Row(lambda w, n: ("POST", "/agents/ada/heartbeat", {
        "status": "busy", "leases": [{"submission_id": w.kept[n]["submission_id"], "fence": w.kept[n]["fence"]}]}), {200},
        prepare=lambda w, n: leased(w, n), **WORKER),
    "register": Row(lambda w, n: ("POST", "/register", {"login": f"user-{n}", "password": PASSWORD}), {201},
                    may_sign_in(lambda n: f"user-{n}", lambda n: PASSWORD)),
    "login": Row(lambda w, n: ("POST", "/login", {"login": "somebody", "password": PASSWORD}), {200}, signs_in),
    "auth": Row(lambda w, n: ("POST", "/auth?user_id=somebody", {"password": PASSWORD}), {200}, signs_in),
    "auth_refresh": Row(lambda w, n: ("POST", "/auth/refresh", {"refresh_token": w.kept[n]}), {200}, refreshed, refreshable),
    "auth_request": Row(lambda w, n: ("POST", "/auth/request", {"email": f"nobody-{n}@example.com"}), {202, 429}),
    "auth_verify": get("/auth/verify?token=asl_none", (401,)),
    "auth_link": Row(lambda w, n: ("POST", "/auth/verify", {"token": f"asl_none{n}"}), {401}),
    "audit_list": get("/audit?limit=10"),
    "logout": Row(lambda w, n: ("POST", "/logout", {}), {200, 204}, signed_out, lambda w, n: signed_in(w, n, "leaving"),
                  token=lambda w, n: w.kept[n]["token"]),
    "me": get("/me"),
    "me_sessions": get("/me/sessions"),
    "me_session_end": Row(lambda w, n: ("DELETE", f"/me/sessions/{w.kept[n]['refresh_token'][4:40]}", None), {204}, signed_out,
                          lambda w, n: signed_in(w, n, "leaving"), token=lambda w, n: w.kept[n]["token"], again={401, 404}),
    "users_list": get("/users"),
    "users_get": get(lambda w, n: f"/users/{w.user}"),
    "users_update": Row(lambda w, n: ("PATCH", f"/users/{w.user}", {"name": f"Somebody {n}"}), {200},
                        named(lambda w, n: f"/users/{w.user}", lambda n: f"Somebody {n}")),
    "users_password": Row(lambda w, n: ("POST", f"/users/{w.changing}/password", {"password": f"{PASSWORD}-{n}"}), {200, 204},
                          may_sign_in(lambda n: "changing", lambda n: f"{PASSWORD}-{n}")),
    "benchmarks_list": get("/benchmarks"),
    "benchmarks_create": Row(lambda w, n: ("POST", "/benchmarks", {"id": f"bench-{n}", "name": "A benchmark", "tests": [
        {"input": f"{n}", "expected_output": "6"}]}), {201}, there(lambda w, n: f"/benchmarks/bench-{n}")),
    "benchmarks_get": get("/benchmarks/swept"),
    "benchmarks_update": Row(lambda w, n: ("PATCH", "/benchmarks/swept", {"name": f"Swept {n}"}), {200},
                             named(lambda w, n: "/benchmarks/swept", lambda n: f"Swept {n}")),
    "benchmarks_delete": Row(lambda w, n: ("DELETE", f"/benchmarks/{w.kept[n]}", None), {200, 204},
                             there(lambda w, n: f"/benchmarks/{w.kept[n]}", 404), made_benchmark, again={404}),
    "problems_list": get("/benchmarks/swept/problems"),
    "problems_create": Row(lambda w, n: ("POST", f"/benchmarks/{with_problems(n)}/problems", {"name": f"new {n}", "tests": [
        {"input": f"{n}", "expected_output": "6"}]}), {201}, lambda w, n, a: w.admin.get(f"/problems/{a.json['id']}", expect=200),
        prepare=has_problems),
    "problems_get": get(lambda w, n: f"/problems/{w.problem}"),
    "problems_update": Row(lambda w, n: ("PATCH", f"/problems/{of_one(w, n)}", {"name": f"Renamed {n}"}), {200},
                           named(lambda w, n: f"/problems/{w.one_problem}", lambda n: f"Renamed {n}"), of_one),
    "problems_delete": Row(lambda w, n: ("DELETE", f"/problems/{w.kept[n]}", None), {200, 204},
                           there(lambda w, n: f"/problems/{w.kept[n]}", 404), prepared_problem, again={404}),
    "tests_list": get(lambda w, n: f"/problems/{w.problem}/tests"),
    "tests_replace": Row(lambda w, n: ("PUT", f"/problems/{w.problem}/tests", {"tests": [
        {"input": f"{n} 2 3", "expected_output": str(n + 5)}]}), {200, 204}, took_tests),
    "leaderboard_get": get("/leaderboard?benchmark_id=swept"),
    "results_list": get("/results?benchmark_id=swept"),
    "results_get": get(lambda w, n: f"/results/{w.done}"),
    "results_put": Row(result_of("/results", "submission_id"), {200, 204}, ended, leased, **WORKER),
    "results_commit": Row(result_of("/commit", "task_id"), {200, 204}, ended, leased, **WORKER),
    "agents_lease": Row(lambda w, n: ("POST", "/agents/ada/lease", {"max": 1}), {200}, held_back, queued, **WORKER),
    "blobs_get": get(lambda w, n: f"/blobs/{w.ref}", **WORKER),
    "languages_list": get("/languages"),
    "filters_list": get("/filters"),
    "runners_list": get("/runners"),
    "scores_list": get("/scores?benchmark_id=swept"),
    "traces_list": get(lambda w, n: f"/traces?submission_id={w.done}"),
    "traces_create": Row(lambda w, n: ("POST", "/traces", {"submission_id": w.kept[n], "message": f"note {n}"}), {200, 201}, traced, noted),
    "benchmarks_import": Row(lambda w, n: ("POST", f"/benchmarks/import?id=packed-{n}", PACKAGE, ZIP), {201},
                             there(lambda w, n: f"/benchmarks/packed-{n}")),
    "pits_list": get("/pits"),
    "pits_create": Row(lambda w, n: ("POST", "/pits", pit(f"pit-{n}")), {201}, there(lambda w, n: f"/pits/pit-{n}")),
    "pits_get": get("/pits/swept", prepare=one_pit),
    "pits_update": Row(lambda w, n: ("PATCH", "/pits/swept", {"title": f"Project {n}"}), {200}, prepare=one_pit),
    "pits_delete": Row(lambda w, n: ("DELETE", f"/pits/{w.kept[n]}", None), {200, 204}, there(lambda w, n: f"/pits/{w.kept[n]}", 404), made_pit,
                       again={404}),
    "pits_upload_tests": Row(lambda w, n: ("POST", "/pits/swept/upload-tests", form(b"PK\5\6" + bytes(18)), FORM), {201}, prepare=one_pit),
    "leaderboard_statistics": get("/leaderboard/statistics?benchmark_id=swept"),
    "leaderboard_compare": get("/leaderboard/compare?benchmark_id=swept&a=ada&b=grace", prepare=lambda w, n: grace(w)),
    "leaderboard_history": get("/leaderboard/history?benchmark_id=swept&agent_id=grace", prepare=lambda w, n: grace(w)),
    # beyond the table: what does not build, and what is not there
    "submissions_create that does not build": Row(submission("uncompilable.c"), {202}, took_submission("BF")),
    "no route": get("/nothing", (404,)),
}

# Of parts that a server may be built or started without.
PARTS = {
    "rejudgings_list": get("/rejudgings"),
    "rejudgings_create": Row(lambda w, n: ("POST", "/rejudgings", {"benchmark_id": "swept", "reason": f"sweep {n}"}), {201, 409}),
    "rejudgings_get": get(lambda w, n: f"/rejudgings/{w.kept[n]}", prepare=made_set),
    "rejudgings_changes": get(lambda w, n: f"/rejudgings/{w.kept[n]}/changes", (200, 409), prepare=made_set),
    "rejudgings_apply": Row(lambda w, n: ("POST", f"/rejudgings/{w.kept[n]}/apply", None), {200, 409}, prepare=made_set),
    "rejudgings_cancel": Row(lambda w, n: ("POST", f"/rejudgings/{w.kept[n]}/cancel", None), {200, 409}, prepare=made_set),
    "me_erase": Row(lambda w, n: ("POST", "/me/erase", {"password": PASSWORD}), {204}, signed_out, registered, token=lambda w, n: w.kept[n]["token"],
                    again={401}),
    "users_erase": Row(lambda w, n: ("DELETE", f"/users/{w.kept[n]}", None), {204}, there(lambda w, n: f"/users/{w.kept[n]}", 404), erasable,
                       again={404}),
    "webhooks_list": get("/webhooks"),
    "webhooks_create": Row(lambda w, n: ("POST", "/webhooks", w.kept[n]), {201}, has_hook, hook),
    "webhooks_get": get(lambda w, n: f"/webhooks/{w.kept[n]}", prepare=one_hook),
    "webhooks_update": Row(lambda w, n: ("PATCH", f"/webhooks/{w.kept[n]}", {"active": n % 2 == 0}), {200}, prepare=one_hook),
    "webhooks_delete": Row(lambda w, n: ("DELETE", f"/webhooks/{w.kept[n]}", None), {204}, there(lambda w, n: f"/webhooks/{w.kept[n]}", 404),
                           made_hook, again={404}),
    "webhooks_deliveries": get(lambda w, n: f"/webhooks/{w.kept[n]}/deliveries", prepare=one_hook),
    "webhooks_replay": Row(lambda w, n: ("POST", f"/webhooks/{w.kept[n]}/replay", {"since": "2026-11-28T00:00:00Z"}), {202}, prepare=one_hook),
    "projects_request_upload": Row(lambda w, n: ("POST", "/submissions/request-upload", {"pitId": "swept"}), {201}, prepare=one_pit, **STUDENT),
    "projects_upload": Row(lambda w, n: ("PUT", w.kept[n]["path"], PROJECT, ZIP), {200}, prepare=asked_upload),
    "projects_confirm": Row(lambda w, n: ("POST", "/submissions/confirm", {"pitId": "swept", "fileKey": w.kept[n]["fileKey"]}), {201},
                            lambda w, n, a: student(w).get(f"/submissions/feedback/{a.json['submissionId']}", expect=200), uploaded, **STUDENT),
    "projects_feedback": get(lambda w, n: f"/submissions/feedback/{w.project}", prepare=confirmed, **STUDENT),
    "projects_log": get(lambda w, n: f"/submissions/feedback/{w.project}/log", prepare=confirmed, **STUDENT),
    "projects_mine": get("/submissions/mine?pitId=swept", **STUDENT),
}
ENDPOINTS.update((name, row) for name, row in PARTS.items() if name in routes())
