"""Who may do what with whose: every role, on every route, with what is its own, another's, public and unknown.

The routes come from the server (`--dump-routes=json`), what each cell must answer from ownership.table.  A route
that the table or the plans below do not know fails the test, and so does a row for a route that is gone.

Each cell is one request.  What it names is made before, by accounts that are all instructors then, so that a viewer too has
something of its own; then each account gets its role.  A cell that changes something has objects of its own,
so no cell meets what another one did.  `ASSAY_RECORD_OWNERSHIP=FILE` writes what the server answers as a
table, to be read line by line before it becomes the expectation.

Cells: a status; `+` or `-` behind it says whether the object is on the list that came.
"""

import io
import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

from contract import ROOT

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
import projects  # noqa: E402
from harness import PREFIX, Api, wait_for  # noqa: E402

TABLE = pathlib.Path(__file__).with_name("ownership.table")
WHO = ("anyone", "viewer", "agent", "token", "bare", "user", "instructor", "admin")
RELATIONS = ("own", "foreign", "public", "unknown")
NOWHERE = "0190a5b2-0000-7000-8000-000000000000"
PASSWORD = "a-long-enough-password"
SCOPES = ["submissions:write", "submissions:read", "results:read", "results:write", "jobs:lease", "agents:read", "benchmarks:read",
          "scores:read", "leaderboard:read", "traces:write", "traces:read"]


def routes():
    a = subprocess.run([str(PREFIX / "bin" / "assayd"), "--dump-routes=json"], capture_output=True, text=True,
                       env={"PATH": "/usr/bin:/bin", "APP_ENV": "development"})
    assert a.returncode == 0, a.stderr
    return [json.loads(line) for line in a.stdout.splitlines()]


def package():
    z = io.BytesIO()
    with zipfile.ZipFile(z, "w") as f:
        for name, text in {"problem.yaml": "name: P\n", "data/sample/1.in": "1\n", "data/sample/1.ans": "1\n",
                           "submissions/accepted/a.py": "print(input())\n"}.items():
            f.writestr(name, text)
    return z.getvalue()


class Party:
    """An account, and what it has."""

    def __init__(self, world, name):
        self.name, self.user = name, world.account(f"m-{name}", "admin" if name == "admin" else "instructor")
        self.api = self.user["api"]
        self.agent = f"bot-{name}"
        self.api.post("/agents", {"id": self.agent, "name": name}, expect=201)


class World:
    def __init__(self, server):
        self.server, self.n = server, 0
        self.root = server.login()
        self.anyone = Api(server.port)
        self.party = {n: Party(self, n) for n in ("viewer", "agent", "holder", "user", "instructor", "admin", "stranger")}
        token = self.root.post("/agents/bot-holder/tokens", {"scopes": SCOPES}, expect=201).json
        bare = self.root.post("/agents/bot-holder/tokens", {"scopes": ["submissions:read"]}, expect=201).json
        self.token, self.bare = Api(server.port, token["token"]), Api(server.port, bare["token"])
        self.lessor = Api(server.port, self.root.post("/agents/bot-stranger/tokens", {"scopes": SCOPES}, expect=201).json["token"])
        self.shared = {}

    def name(self, what):
        self.n += 1
        return f"{what}-{self.n}"

    def account(self, login, role="user"):
        made = self.root.post("/register", {"login": login, "password": PASSWORD, "role": role}, expect=201).json
        tokens = self.anyone.post("/login", {"login": login, "password": PASSWORD}, expect=200).json
        return {"id": made["id"], "login": login, "role": role, "refresh": tokens["refresh_token"], "api": Api(self.server.port, tokens["token"])}

    def caller(self, who):
        return {"anyone": self.anyone, "token": self.token, "bare": self.bare}.get(who) or self.party[who].api

    def mine(self, who):
        """The account on whose behalf who asks; nobody's stands for itself where one must have something."""
        return self.party[{"anyone": "stranger", "token": "holder", "bare": "holder"}.get(who, who)]

    def owner(self, who, rel):
        return self.mine(who) if rel == "own" else self.party["stranger"]

    def webhook(self, who, rel):
        if rel == "unknown":
            return NOWHERE
        return self.owner(who, rel).api.post("/webhooks", {"url": "https://hooks.invalid/x", "benchmark_id": self.kept(self.benchmark, "stranger", "public")}, expect=201).json["id"]

    # ---- what can be named: each gives an id --------------------------------------------------------------

    def benchmark(self, who, rel, **more):
        if rel == "unknown":
            return NOWHERE
        body = {"visibility": "public" if rel == "public" else "private", "feedback": "full", "name": self.name("b"), **more}
        return self.owner(who, rel).api.post("/benchmarks", body, expect=201).json["id"]

    def problem(self, who, rel):
        if rel == "unknown":
            return NOWHERE
        b = self.benchmark(who, rel)
        return self.owner(who, rel).api.post(f"/benchmarks/{b}/problems", {"name": "p", "mode": "answer", "tests": [{"expected_output": "42"}]},
                                             expect=201).json["id"]

    def agent(self, who, rel):
        if rel == "unknown":
            return "nobody-at-all"
        if rel == "public":
            return self.party["stranger"].agent
        return self.owner(who, rel).api.post("/agents", {"name": self.name("a")}, expect=201).json["id"]

    def agent_token(self, who, rel):
        a = self.agent(who, rel)
        t = NOWHERE if rel == "unknown" else self.root.post(f"/agents/{a}/tokens", {}, expect=201).json["id"]
        return f"{a}/tokens/{t}"

    def kept(self, make, who, rel):
        """One object for all cells that only look."""
        key = (make.__name__, self.mine(who).name if rel == "own" else "stranger", rel)
        if key not in self.shared:
            self.shared[key] = make(who, rel)
        return self.shared[key]

    def arena(self, who, rel, answer=True):
        """A benchmark of the stranger's to submit to: one that everybody sees, or a private one."""
        visibility = "private" if rel == "foreign" else "public"
        key = ("arena", visibility, answer)
        if key not in self.shared:
            self.shared[key] = self.party["stranger"].api.post(
                "/benchmarks", {"name": visibility, "visibility": visibility, "feedback": "full", "tests": [{"expected_output": "42"}],
                                **({"mode": "answer"} if answer else {})}, expect=201).json["id"]
        return self.shared[key]

    def benchmark_to_enter(self, who, rel):
        return self.benchmark(who, rel, mode="answer", tests=[{"expected_output": "42"}])

    def benchmark_judged(self, who, rel):
        """One's own, with a submission."""
        b = self.benchmark_to_enter(who, rel)
        if rel != "unknown":
            owner = self.owner(who, rel)
            owner.api.post("/submissions", {"benchmark_id": b, "agent_id": owner.agent, "payload": "42"}, expect=202)
        return b

    def as_owner(self, who, rel):
        """Whose credentials make it: what a token sees is what was made with it."""
        return self.token if rel == "own" and who in ("token", "bare") else self.owner(who, rel).api

    def submission(self, who, rel):
        if rel == "unknown":
            return NOWHERE
        body = {"benchmark_id": self.arena(who, rel), "agent_id": self.owner(who, rel).agent, "payload": "42"}
        return self.as_owner(who, rel).post("/submissions", body, expect=202).json["id"]

    def queued(self, who, rel):
        """For a server that judges nothing."""
        if rel == "unknown":
            return NOWHERE
        body = {"benchmark_id": self.arena(who, rel, False), "agent_id": self.owner(who, rel).agent, "language": "python", "source": "print(42)"}
        return self.as_owner(who, rel).post("/submissions", body, expect=202).json["id"]

    def leased(self, api, agent):
        self.queued("stranger", "public")
        return api.post(f"/agents/{agent}/lease", {"max": 1}, expect=200).json["jobs"][0]

    def task(self, who, rel):
        if rel == "unknown":
            return NOWHERE
        return self.as_owner(who, rel).post("/task", {"translator": "python3", "code": "print(1)"}, expect=201).json["task_id"]

    def pit(self, who, rel):
        if rel == "unknown":
            return "no-such-pit"
        pit = {"id": self.name("pit"), "title": "t", "language": "bash", "testCommand": "sh ./run-tests", "active": rel != "foreign"}
        return self.owner(who, rel).api.post("/pits", pit, expect=201).json["id"]

    def uploaded(self, who, rel):
        """An object that was uploaded by its owner: (pit, key, path)."""
        if rel == "unknown":
            return self.kept(self.pit, "stranger", "public"), f"submissions/{NOWHERE}/x/1.zip", "/submissions/uploads/x/y/z.zip"
        api = self.as_owner(who, rel)
        pit = self.kept(self.pit, "stranger", "public")
        up = api.post("/submissions/request-upload", {"pitId": pit}, expect=201).json
        path = up["uploadUrl"].split(str(self.server.port), 1)[1]
        self.anyone.call("PUT", path, projects.packed({"run-tests": "echo 'Tests run: 1, Failures: 0, Errors: 0, Skipped: 0'"}), expect=200)
        return pit, up["fileKey"], path

    def project(self, who, rel):
        if rel == "unknown":
            return NOWHERE
        pit, key, _ = self.uploaded(who, rel)
        return self.as_owner(who, rel).post("/submissions/confirm", {"pitId": pit, "fileKey": key}, expect=201).json["submissionId"]

    def rejudging(self, who, rel):
        if rel == "unknown":
            return NOWHERE
        s = self.kept(self.submission, "stranger", "foreign" if rel == "foreign" else "public")
        return self.owner(who, rel).api.post("/rejudgings", {"benchmark_id": self.arena(who, rel), "submission_id": s, "reason": "r"},
                                             expect=201).json["id"]

    def person(self, who, rel):
        """The id of an account."""
        return NOWHERE if rel == "unknown" else self.owner(who, rel).user["id"]

    def throwaway(self, who, rel):
        """An account of who's role for one cell, and the one that the cell names."""
        me = self.account(self.name("one"), {"viewer": "viewer", "agent": "agent", "user": "user", "instructor": "instructor",
                                              "admin": "admin"}.get(who, "user"))
        if who in ("token", "bare"):
            me["api"] = self.caller(who)
        elif who == "anyone":
            me["api"] = self.anyone
        return me, me if rel == "own" else self.account(self.name("other")) if rel != "unknown" else None


class Cell:
    """A request; listed: the id to look for in the answer's list."""

    def __init__(self, method, path, body=None, headers=None, api=None, listed=None, late=False):
        self.method, self.path, self.body, self.headers = method, path, body, headers or {}
        self.api, self.listed, self.late = api, listed, late


class Plans:
    """What a cell asks, by the operation's id: (relations, function of world, who, relation)."""

    def __init__(self):
        self.of = {}
        same, all4 = ("same",), RELATIONS
        w = self.put
        get, post, patch, put, delete = (lambda p, b=None, m=m, **k: Cell(m, p, b, **k) for m in ("GET", "POST", "PATCH", "PUT", "DELETE"))
        for op, path in (("health_live", "/healthz"), ("health_ready", "/readyz"), ("metrics_get", "/metrics"), ("openapi_get", "/swagger.json"),
                         ("index_get", "/"), ("dashboard_file", "/ui/nothing.js"), ("swagger_door", "/swagger"), ("swagger_ui", "/swagger/"),
                         ("swagger_file", "/swagger/nothing.js"), ("me", "/me"), ("languages_list", "/languages"), ("filters_list", "/filters"), ("runners_list", "/runners")):
            w(op, same, lambda x, who, rel, path=path: get(path))

        # accounts
        def register(x, who, rel):
            return post("/register", {"login": x.name("new") if rel == "unknown" else x.owner(who, rel).user["login"], "password": PASSWORD})

        def sign_in(path):
            def plan(x, who, rel):
                me, other = x.throwaway(who, rel)
                mine = PASSWORD if rel == "own" else PASSWORD + "!"
                return post(path, {"login": other["login"] if other else x.name("ghost"), "password": mine})
            return plan

        def refresh(x, who, rel):
            me, other = x.throwaway(who, rel)
            session, secret = (other or me)["refresh"].split(".")
            if other is None:
                session = f"asr_{NOWHERE}"
            elif other is not me:  # another's session with one's own secret
                secret = me["refresh"].split(".")[1]
            token = f"{session}.{secret}"
            return post("/auth/refresh", {"refresh_token": token})

        def logout(x, who, rel):
            me, other = x.throwaway(who, rel)
            return post("/logout", {"refresh_token": other["refresh"] if other else f"asr_{NOWHERE}.{'0' * 64}"}, api=me["api"])

        def password(x, who, rel):
            me, other = x.throwaway(who, rel)
            return post(f"/users/{other['id'] if other else NOWHERE}/password", {"current_password": PASSWORD, "password": PASSWORD + "2"}, api=me["api"])

        def erase(x, who, rel):
            me, other = x.throwaway(who, rel)
            return delete(f"/users/{other['id'] if other else NOWHERE}", api=me["api"])

        w("register", all4, register)
        w("login", all4, sign_in("/login"))
        w("auth", all4, sign_in("/auth"))
        w("auth_refresh", all4, refresh)
        w("auth_request", same, lambda x, who, rel: post("/auth/request", {"email": "nobody@example.com"}))
        w("auth_verify", ("unknown",), lambda x, who, rel: get(f"/auth/verify?token=asl_{'0' * 64}"))
        w("auth_link", ("unknown",), lambda x, who, rel: post("/auth/verify", {"token": f"asl_{'0' * 64}"}))
        w("logout", all4, logout)
        def session_end(x, who, rel):
            me, other = x.throwaway(who, rel)
            return delete(f"/me/sessions/{other['refresh'].removeprefix('asr_').split('.')[0] if other else NOWHERE}", api=me["api"])

        def own_erase(x, who, rel):
            me, _ = x.throwaway(who, rel)
            return post("/me/erase", {"password": PASSWORD if rel == "own" else PASSWORD + "!"}, api=me["api"])

        w("me_sessions", same, lambda x, who, rel: get("/me/sessions"))
        w("me_session_end", all4, session_end)
        w("me_erase", ("own", "unknown"), own_erase)
        w("users_password", all4, password)
        w("users_erase", all4, erase)
        w("users_list", all4, lambda x, who, rel: get("/users?limit=200", listed=x.person(who, rel)))
        w("users_get", all4, lambda x, who, rel: get(f"/users/{x.person(who, rel)}"))
        w("users_update", all4, lambda x, who, rel: patch(f"/users/{x.person(who, rel)}", {"name": "renamed"}))

        w("audit_list", ("own", "foreign", "unknown"), lambda x, who, rel: get("/audit?limit=200", listed=x.person(who, rel)))

        # agents
        w("agents_list", all4, lambda x, who, rel: get("/agents?limit=200", listed=x.kept(x.agent, who, rel)))
        w("agents_create", all4, lambda x, who, rel: post("/agents", {"id": x.name("fresh") if rel == "unknown" else x.kept(x.agent, who, rel)}))
        w("agents_get", all4, lambda x, who, rel: get(f"/agents/{x.kept(x.agent, who, rel)}"))
        w("agents_update", all4, lambda x, who, rel: patch(f"/agents/{x.kept(x.agent, who, rel)}", {"description": "d"}))
        # the stranger's own agent is on the board: it is not removed, another of the same owner's is
        w("agents_delete", all4, lambda x, who, rel: delete(f"/agents/{x.agent(who, 'foreign' if rel == 'public' else rel)}"))
        w("agent_tokens_list", all4, lambda x, who, rel: get(f"/agents/{x.kept(x.agent, who, rel)}/tokens"))
        w("agent_tokens_create", all4, lambda x, who, rel: post(f"/agents/{x.agent(who, 'foreign' if rel == 'public' else rel)}/tokens", {}))
        w("agent_tokens_delete", all4, lambda x, who, rel: delete(f"/agents/{x.agent_token(who, 'foreign' if rel == 'public' else rel)}"))

        def worker(x, who, rel):
            return x.mine(who).agent if rel == "own" else x.kept(x.agent, who, rel)
        w("agents_heartbeat", all4, lambda x, who, rel: post(f"/agents/{worker(x, who, rel)}/heartbeat", {}))
        w("agents_lease", all4, lambda x, who, rel: post(f"/agents/{worker(x, who, rel)}/lease", {"max": 1}, late=True))

        # webhooks
        w("webhooks_list", all4, lambda x, who, rel: get("/webhooks?limit=200", listed=x.kept(x.webhook, who, rel)))
        w("webhooks_create", all4, lambda x, who, rel: post("/webhooks", {"url": "https://hooks.invalid/x", "benchmark_id": x.kept(x.benchmark, who, rel)}))
        w("webhooks_get", all4, lambda x, who, rel: get(f"/webhooks/{x.kept(x.webhook, who, rel)}"))
        w("webhooks_update", all4, lambda x, who, rel: patch(f"/webhooks/{x.kept(x.webhook, who, rel)}", {"active": False}))
        w("webhooks_delete", all4, lambda x, who, rel: delete(f"/webhooks/{x.webhook(who, rel)}"))
        w("webhooks_deliveries", all4, lambda x, who, rel: get(f"/webhooks/{x.kept(x.webhook, who, rel)}/deliveries"))
        w("webhooks_replay", all4, lambda x, who, rel: post(f"/webhooks/{x.kept(x.webhook, who, rel)}/replay", {"since": "2020-01-01T00:00:00Z"}))

        # benchmarks
        one = [{"expected_output": "1"}]
        w("benchmarks_list", all4, lambda x, who, rel: get("/benchmarks?limit=200", listed=x.kept(x.benchmark, who, rel)))
        w("benchmarks_create", all4, lambda x, who, rel: post("/benchmarks", {"id": x.name("fresh") if rel == "unknown" else x.kept(x.benchmark, who, rel)}))
        w("benchmarks_import", all4, lambda x, who, rel: post(f"/benchmarks/import?benchmark_id={x.benchmark(who, rel)}", package(),
                                                            headers={"Content-Type": "application/zip"}))
        w("benchmarks_get", all4, lambda x, who, rel: get(f"/benchmarks/{x.kept(x.benchmark, who, rel)}"))
        w("benchmarks_update", all4, lambda x, who, rel: patch(f"/benchmarks/{x.kept(x.benchmark, who, rel)}", {"description": "d"}))
        w("benchmarks_delete", all4, lambda x, who, rel: delete(f"/benchmarks/{x.benchmark(who, rel)}"))
        w("problems_list", all4, lambda x, who, rel: get(f"/benchmarks/{x.kept(x.benchmark, who, rel)}/problems"))
        w("problems_create", all4, lambda x, who, rel: post(f"/benchmarks/{x.benchmark(who, rel)}/problems", {"name": "n", "tests": one}))
        w("problems_get", all4, lambda x, who, rel: get(f"/problems/{x.kept(x.problem, who, rel)}"))
        w("problems_update", all4, lambda x, who, rel: patch(f"/problems/{x.kept(x.problem, who, rel)}", {"name": "renamed"}))
        w("problems_delete", all4, lambda x, who, rel: delete(f"/problems/{x.problem(who, rel)}"))
        # a hidden test: `+` where it is shown
        w("tests_list", all4, lambda x, who, rel: get(f"/problems/{x.kept(x.problem, who, rel)}/tests", listed=1))
        w("tests_replace", all4, lambda x, who, rel: put(f"/problems/{x.problem(who, rel)}/tests", {"tests": one}))

        # submissions
        def send(x, who, rel, path="/submissions"):
            b = x.kept(x.benchmark_to_enter, who, rel)
            item = {"benchmark_id": b, "agent_id": x.mine(who).agent, "payload": "42"}
            return post(path, {"items": [item]} if path.endswith("batch") else item, listed="batch" if path.endswith("batch") else None)
        w("submissions_create", all4, send)
        w("submissions_batch", all4, lambda x, who, rel: send(x, who, rel, "/submissions/batch"))
        look = {"submissions_get": "/submissions/{}", "submissions_source": "/submissions/{}/source", "submissions_events": "/submissions/{}/events",
                "results_get": "/results/{}"}
        for op, path in look.items():
            w(op, all4, lambda x, who, rel, path=path: get(path.format(x.kept(x.submission, who, rel))))
        for op, path in {"submissions_list": "/submissions?limit=100", "results_list": "/results?limit=100", "scores_list": "/scores?limit=100"}.items():
            w(op, all4, lambda x, who, rel, path=path: get(path, listed=x.kept(x.submission, who, rel)))
        w("traces_list", all4, lambda x, who, rel: get(f"/traces?submission_id={x.kept(x.submission, who, rel)}"))
        w("traces_create", all4, lambda x, who, rel: post("/traces", {"submission_id": x.kept(x.submission, who, rel), "message": "m"}))
        w("submissions_delete", all4, lambda x, who, rel: delete(f"/submissions/{x.submission(who, rel)}"))
        w("submissions_cancel", all4, lambda x, who, rel: post(f"/submissions/{x.queued(who, rel)}/cancel"))
        w("submissions_rejudge", all4, lambda x, who, rel: post(f"/submissions/{x.submission(who, rel)}/rejudge"))
        w("events_stream", all4, lambda x, who, rel: get(f"/events?benchmark_id={x.kept(x.benchmark, who, rel)}", listed="stream"))

        w("rejudgings_list", all4, lambda x, who, rel: get("/rejudgings?limit=100", listed=x.kept(x.rejudging, who, rel)))
        w("rejudgings_create", all4, lambda x, who, rel: post("/rejudgings", {"benchmark_id": x.arena(who, rel) if rel in ("foreign", "public")
                                                                              else x.kept(x.benchmark_judged, who, rel)}))
        w("rejudgings_get", all4, lambda x, who, rel: get(f"/rejudgings/{x.kept(x.rejudging, who, rel)}"))
        w("rejudgings_changes", all4, lambda x, who, rel: get(f"/rejudgings/{x.kept(x.rejudging, who, rel)}/changes"))
        w("rejudgings_apply", all4, lambda x, who, rel: post(f"/rejudgings/{x.kept(x.rejudging, who, rel)}/apply"))
        w("rejudgings_cancel", all4, lambda x, who, rel: post(f"/rejudgings/{x.rejudging(who, rel)}/cancel"))

        # tasks
        w("task_create", same, lambda x, who, rel: post("/task", {"translator": "python3", "code": "print(1)"}))
        w("task_delete", all4, lambda x, who, rel: delete(f"/task?id={x.task(who, rel)}"))
        w("task_status", all4, lambda x, who, rel: get(f"/status/{x.kept(x.task, who, rel)}"))
        w("task_result", all4, lambda x, who, rel: get(f"/result/{x.kept(x.task, who, rel)}"))

        # projects
        form = (b'--assay\r\nContent-Disposition: form-data; name="file"; filename="t.zip"\r\nContent-Type: application/zip\r\n\r\n'
                b"PK\5\6" + bytes(18) + b"\r\n--assay--\r\n")
        w("pits_list", all4, lambda x, who, rel: get("/pits?limit=200", listed=x.kept(x.pit, who, rel)))
        w("pits_create", all4, lambda x, who, rel: post("/pits", {"id": x.name("fresh") if rel == "unknown" else x.kept(x.pit, who, rel), "testCommand": "x"}))
        w("pits_get", all4, lambda x, who, rel: get(f"/pits/{x.kept(x.pit, who, rel)}"))
        w("pits_update", all4, lambda x, who, rel: patch(f"/pits/{x.pit(who, rel)}", {"title": "renamed"}))
        w("pits_delete", all4, lambda x, who, rel: delete(f"/pits/{x.pit(who, rel)}"))
        w("pits_upload_tests", all4, lambda x, who, rel: post(f"/pits/{x.pit(who, rel)}/upload-tests", form,
                                                            headers={"Content-Type": "multipart/form-data; boundary=assay"}))
        w("projects_request_upload", all4, lambda x, who, rel: post("/submissions/request-upload", {"pitId": x.kept(x.pit, who, rel)}))

        def upload(x, who, rel):
            """The signed URL is the permission: own has one, the others changed it to name another's place."""
            _, _, path = x.uploaded(who, "unknown" if rel == "unknown" else "own")
            if rel in ("foreign", "public"):
                path = re.sub(r"/uploads/[^/]+/", f"/uploads/{x.party['stranger' if who != 'anyone' else 'user'].user['id']}/", path)
            return put(path, projects.packed({"run-tests": "true"}))
        w("projects_upload", all4, upload)

        def confirm(x, who, rel):
            pit, key, _ = x.uploaded(who, rel)
            return post("/submissions/confirm", {"pitId": pit, "fileKey": key})
        w("projects_confirm", all4, confirm)
        w("projects_feedback", all4, lambda x, who, rel: get(f"/submissions/feedback/{x.kept(x.project, who, rel)}"))
        w("projects_log", all4, lambda x, who, rel: get(f"/submissions/feedback/{x.kept(x.project, who, rel)}/log"))
        w("projects_mine", all4, lambda x, who, rel: get("/submissions/mine", listed=x.kept(x.project, who, rel)))

        # boards: of a benchmark
        for op, path in {"leaderboard_get": "/leaderboard?benchmark_id={}", "leaderboard_statistics": "/leaderboard/statistics?benchmark_id={}&draws=100",
                         "leaderboard_compare": "/leaderboard/compare?benchmark_id={}&a=bot-stranger&b=bot-user",
                         "leaderboard_history": "/leaderboard/history?benchmark_id={}&agent_id=bot-stranger"}.items():
            w(op, all4, lambda x, who, rel, path=path: get(path.format(x.kept(x.benchmark, who, rel))))

        # workers
        def hand_in(path):
            def body(x, rel):
                job = {"submission_id": NOWHERE, "fence": 1}
                if rel == "own":  # nobody but a token of an agent can have one
                    job = x.leased(x.token, "bot-holder")
                elif rel == "foreign":
                    job = x.leased(x.lessor, "bot-stranger")
                elif rel == "public":  # waiting, and leased by nobody
                    job["submission_id"] = x.queued("stranger", "public")
                return {"submission_id": job["submission_id"], "fence": job["fence"], "returned": {"reason": "r"}}
            # made at the last moment: a lease does not last, and the next one would take what waits
            return lambda x, who, rel: post(path, lambda: body(x, rel))
        w("results_put", all4, hand_in("/results"))
        w("results_commit", all4, hand_in("/commit"))

        def blob(x, who, rel):
            ref = "0" * 64
            if rel != "unknown":  # a reference is all there is to know of a blob
                ref = x.leased(x.token, "bot-holder")["script"]["assay"]["manifest"]["tests"][0]["expected_ref"]
            return get(f"/blobs/{ref}")
        w("blobs_get", ("public", "unknown"), blob)

    def put(self, op, relations, plan):
        assert op not in self.of, op
        self.of[op] = (relations, plan)


PLANS = Plans().of

# planned when nothing is judged any more: what they name must still wait or be leased, and leases are handed out in order
WAITING = ("results_put", "results_commit", "blobs_get", "submissions_cancel")


def read_table():
    """{(method, path): {relation: [cell of each of WHO]}}"""
    out, at = {}, None
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            assert len(words) == 2 and tuple(words) not in out, f"{TABLE.name}:{number}: a route twice, or not METHOD PATH"
            at = out.setdefault(tuple(words), {})
        else:
            assert at is not None and len(words) == 1 + len(WHO) and words[0] not in at, f"{TABLE.name}:{number}: RELATION and {len(WHO)} cells"
            at[words[0]] = words[1:]
    return out


def stream_status(api, path):
    """Of an answer that does not end."""
    import http.client
    c = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
    c.request("GET", path, headers={"Authorization": f"Bearer {api.token}"} if api.token else {})
    status = c.getresponse().status
    c.close()
    return str(status)


def ask(world, who, cell):
    api = cell.api or world.caller(who)
    if cell.listed == "stream":
        return stream_status(api, cell.path)
    a = api.call(cell.method, cell.path, cell.body() if callable(cell.body) else cell.body, cell.headers)
    if cell.listed is None or a.status != 200:
        return str(a.status)
    if cell.listed == "batch":
        return f"200/{a.json['items'][0]['status']}"
    if isinstance(a.json, list):
        return "200+" if str(cell.listed) in a.body.decode() else "200-"
    items, page = list(a.json["items"]), a.json
    while page.get("next_cursor"):
        page = api.get(f"{cell.path}{'&' if '?' in cell.path else '?'}cursor={page['next_cursor']}").json
        items += page["items"]
    found = bool(items) if cell.listed == 1 else str(cell.listed) in json.dumps(items)
    return "200+" if found else "200-"


def plan(world, ops):
    return [(op, rel, who, PLANS[op][1](world, who, rel)) for op in ops for rel in PLANS[op][0] for who in WHO]


def observed():
    """{(operation, relation, who): cell} of a real server."""
    server = harness.Server(env={"ASSAY_QUEUE_MAX_PER_USER": "0", "ASSAY_QUEUE_MAX": "0"})
    try:
        world = World(server.start())
        cells = plan(world, [op for op in PLANS if op not in WAITING])

        def judged():
            for (make, *_), made in world.shared.items():
                if make == "project" and world.root.get(f"/submissions/feedback/{made}", expect=(200, 404)).json["status"] in ("PENDING", "RUNNING"):
                    return False
            return not any(world.root.get(f"/submissions?status={s}&limit=1").json["items"] for s in ("queued", "running"))
        wait_for("everything to be judged", judged, 300, 0.2)
        server.stop()
        server.args = ["--boxkeeper=false"]
        server.start()
        cells += plan(world, WAITING)
        for name, p in world.party.items():
            role = {"holder": "user", "stranger": "instructor"}.get(name, name)
            world.root.patch(f"/users/{p.user['id']}", {"role": role})
            # another role revokes the tokens of the old one
            p.api.token = world.anyone.post("/login", {"login": p.user["login"], "password": PASSWORD}, expect=200).json["token"]
            assert p.api.get("/me").json["role"] == role
        cells.sort(key=lambda c: c[3].late)
        return {(op, rel, who): ask(world, who, cell) for op, rel, who, cell in cells}
    finally:
        server.close()


def test_the_table_has_every_route_and_no_other():
    table, served = read_table(), {(r["method"], r["path"]): r["operation_id"] for r in routes()}
    faults = [f"{m} {p} has no rows in {TABLE.name}" for m, p in served.keys() - table.keys()]
    faults += [f"{m} {p} is in {TABLE.name} only" for m, p in table.keys() - served.keys()]
    faults += [f"{op} has no plan in {pathlib.Path(__file__).name}" for op in set(served.values()) - PLANS.keys()]
    faults += [f"{op} is planned, but no route" for op in PLANS.keys() - set(served.values())]
    for key in served.keys() & table.keys():
        if served[key] in PLANS and tuple(table[key]) != PLANS[served[key]][0]:
            faults.append(f"{' '.join(key)}: rows {list(table[key])}, planned {list(PLANS[served[key]][0])}")
    assert not faults, "\n".join(sorted(faults))


def test_the_gate_stands_in_the_table():
    """What the route table alone decides: who is not named by it gets 401 or 403, whatever the object is."""
    table, faults = read_table(), []
    for r in routes():
        for rel, row in table.get((r["method"], r["path"]), {}).items():
            for who, cell in zip(WHO, row):
                want = None
                if r["roles"]:
                    if who == "anyone":
                        want = "401"
                    elif who in ("token", "bare"):
                        if not r["scope"] or (who == "bare" and r["scope"] != "submissions:read") or "agent" not in r["roles"]:
                            want = "403"
                    elif who not in r["roles"]:
                        want = "403"
                if want and cell != want:
                    faults.append(f"{r['method']} {r['path']} {rel} {who}: {cell}, by the routes {want}")
    assert not faults, "\n".join(faults)


def test_every_cell_is_as_the_table_says():
    seen, served = observed(), {(r["method"], r["path"]): r["operation_id"] for r in routes()}
    record = os.environ.get("ASSAY_RECORD_OWNERSHIP")
    if record:
        with open(record, "w") as f:
            f.write("# " + " " * 10 + " ".join(f"{w:10}" for w in WHO).rstrip() + "\n")
            for (method, path), op in served.items():
                f.write(f"\n{method} {path}\n")
                for rel in PLANS[op][0]:
                    f.write(f"  {rel:10}" + " ".join(f"{seen[op, rel, w]:10}" for w in WHO).rstrip() + "\n")
    table, faults, n = read_table(), [], 0
    for (method, path), rows in table.items():
        for rel, row in rows.items():
            for who, want in zip(WHO, row):
                got = seen.get((served[method, path], rel, who))
                n += 1
                if got != want:
                    faults.append(f"{method} {path}: {who}, {rel}: the table says {want}, the server {got}")
    assert n == len(seen), f"{n} cells in the table, {len(seen)} were asked"
    assert not faults, f"{len(faults)} of {n} cells:\n" + "\n".join(faults)
    print(f"# {n} cells of {len(table)} routes are as the table says", flush=True)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
