"""What a server tells of itself: metrics by Prometheus' rules and all of them documented, alert rules, and a dashboard whose
queries a real Prometheus answers from a real server."""

import copy
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
import grafana
import harness
from harness import PREFIX, ROOT, free_port, program, wait_for

MONITORING = PREFIX / "share" / "assay" / "monitoring"
# Metrics that exist only with a part that this server has not in use, or once something has gone wrong.
ONLY_WITH = re.compile(r"assay_(broker|intake|otlp|webhook|kafka|amqp|sqs|s3|session|docker)_|assay_runner_(checker_faults|check_seconds|away)|"
                       r"assay_(submissions_refused|http_limited|filter|store_errors|native_leaves|dispatch_dead)|outcome=\"failed\"")
JUDGED = (("c", "right.c", "OK"), ("c", "wrong.c", "WA"), ("python", "right.py", "OK"), ("c", "uncompilable.c", "BF"), ("c", "right.c", "OK"))


def promtool(*args, **kw):
    if shutil.which("promtool") is None:
        raise harness.Skip("there is no promtool here (packaging/install-deps test)")
    p = subprocess.run(["promtool", *args], capture_output=True, text=True, timeout=60, **kw)
    return p.returncode, p.stdout + p.stderr


def judge(server):
    """Some of each: a verdict that is right, one that is wrong, a failed build, one from the build cache."""
    if hasattr(server, "judged"):
        return
    admin = server.login()
    server.demo(admin)
    for language, name, verdict in JUDGED:
        s = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": language, "source": program(name)}).json
        assert server.wait_done(admin, s["id"])["verdict"] == verdict, name
    server.judged = True


def metrics(server):
    return server.api().get("/metrics").body.decode()


def value(text, name, **labels):
    """The sum of the samples of a name that have these labels."""
    total, seen = 0.0, False
    for line in text.splitlines():
        m = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if m and m[1] == name and labels.items() <= dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m[2] or "")).items():
            total, seen = total + float(m[3]), True
    assert seen, (name, labels)
    return total


def documented():
    """{metric: (type, labels)} of docs/telemetry.md."""
    out = {}
    for name, kind, labels in re.findall(r"^\| `(assay_\w+)` \| (\w+) \| (.*?) \|", (ROOT / "docs" / "telemetry.md").read_text(), re.M):
        assert name not in out, f"{name} is documented twice"
        out[name] = (kind, set(re.findall(r"`(\w+)`", labels)))
    return out


def test_promtool_finds_nothing_to_say_about_the_metrics(server):
    judge(server)
    code, said = promtool("check", "metrics", input=metrics(server))
    assert (code, said) == (0, ""), said
    code, said = promtool("check", "metrics", input="# TYPE assay_things_count counter\nassay_things_count 1\n")
    assert code != 0, "promtool takes anything"


def test_each_metric_is_documented_with_its_type_and_labels(server):
    judge(server)
    known, text = documented(), metrics(server)
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))
    assert len(kinds) > 70
    for name, kind in kinds.items():
        assert name in known and known[name][0] == kind, f"docs/telemetry.md does not say that {name} is a {kind}"
    for line in text.splitlines():
        m = re.fullmatch(r"(\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+", line)
        if not m or line.startswith("#"):
            continue
        name = m[1] if m[1] in kinds else re.match(r"\w+", line)[0]
        labels = set(re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', m[2] or "")) - {"le"}
        assert labels == known[name][1], (line, known[name])
    # and what this server has not in use is in the sources: nothing is documented that is not there
    sources = "".join(p.read_text() for d in ("gateway", "services", "plugins", "boxkeeper") for p in (ROOT / d).rglob("*.c"))
    for name in known:
        assert f'"{name}"' in sources or f"{name} " in sources, f"{name} of docs/telemetry.md is nowhere"


def test_histograms_tell_of_each_stage_by_language_and_result(server):
    judge(server)
    text = metrics(server)
    assert value(text, "assay_runner_queue_wait_seconds_count", language="c") == 4
    assert value(text, "assay_runner_queue_wait_seconds_count", language="python") == 1
    assert value(text, "assay_runner_build_seconds_count", language="c", result="failed") == 1
    assert value(text, "assay_runner_build_seconds_count", language="c", result="ok") >= 2
    assert value(text, "assay_runner_run_seconds_count", language="c", verdict="WA") == 1
    assert value(text, "assay_runner_run_seconds_count", language="python", verdict="OK") >= 1
    for language, verdict, n in (("c", "OK", 2), ("c", "WA", 1), ("c", "BF", 1), ("python", "OK", 1)):
        assert value(text, "assay_runner_verdict_seconds_count", language=language, verdict=verdict) == n, (language, verdict)
        assert value(text, "assay_runner_verdicts_total", language=language, verdict=verdict) == n
    assert value(text, "assay_runner_language_info", language="c") == 1
    assert value(text, "assay_runner_slots_ready") == value(text, "assay_runner_slots") > 0
    assert value(text, "assay_runner_data_cache_total", outcome="hit") > 0
    for operation in ("write", "query"):
        assert value(text, "assay_store_operation_seconds_count", operation=operation) > 0
    assert value(text, "assay_blob_operation_seconds_count", operation="put", outcome="ok") > 0
    assert value(text, "assay_http_request_seconds_count", route="/submissions") == len(JUDGED)


def test_what_clients_write_makes_no_series(server):
    before = len(metrics(server).splitlines())
    api = server.api()
    for i in range(50):
        api.call("GET", f"/nowhere/{i}?a={i}")
        api.call("GET", f"/submissions/{i}", headers={"X-Request-Id": f"r{i}"})
        api.call("POST", "/login", {"login": f"nobody-{i}", "password": "not-the-password"})
    after = metrics(server)
    assert len(after.splitlines()) - before < 60, "series grow with what clients write"
    assert "nobody-" not in after and "/nowhere" not in after


def test_alert_rules_do_what_they_say():
    code, said = promtool("check", "rules", str(MONITORING / "alerts.yml"))
    assert code == 0 and "SUCCESS" in said, said
    code, said = promtool("test", "rules", str(MONITORING / "alerts_test.yml"))
    assert code == 0 and "FAILED" not in said, said
    rules, tests = (MONITORING / "alerts.yml").read_text(), (MONITORING / "alerts_test.yml").read_text()
    names = re.findall(r"- alert: (\w+)", rules)
    assert len(names) >= 20
    docs = (ROOT / "docs" / "telemetry.md").read_text()
    for name in names:
        assert f'alertname="{name}",alertstate="firing"' in tests, f"no test lets {name} fire"
        assert f"### {name}\n" in docs, f"docs/telemetry.md does not say what to do about {name}"
    # a rule that is wrong is found: else the tests of the rules are worth nothing
    with tempfile.TemporaryDirectory() as d:
        shutil.copy(MONITORING / "alerts_test.yml", d)
        pathlib.Path(d, "alerts.yml").write_text(rules.replace("> 300", "> 30000"))
        code, said = promtool("test", "rules", str(pathlib.Path(d, "alerts_test.yml")))
        assert code != 0 and "AssayQueueOld" in said, said


class Prometheus:
    """A real one on loopback, which scrapes the given ports each second."""

    def __init__(self, *ports):
        if shutil.which("prometheus") is None:
            raise harness.Skip("there is no prometheus here (packaging/install-deps test)")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="assay-prometheus-", dir="/var/tmp"))
        self.port = free_port()
        targets = ", ".join(f'"127.0.0.1:{p}"' for p in ports)
        (self.dir / "prometheus.yml").write_text(
            f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{MONITORING}/alerts.yml]\n"
            f"scrape_configs:\n  - job_name: assay\n    static_configs: [{{targets: [{targets}]}}]\n")
        self.log = open(self.dir / "log", "wb")
        self.process = subprocess.Popen(["prometheus", f"--config.file={self.dir}/prometheus.yml", f"--storage.tsdb.path={self.dir}/data",
                                         f"--web.listen-address=127.0.0.1:{self.port}"], stdout=self.log, stderr=self.log)

    def __enter__(self):
        wait_for("Prometheus", self.ready)
        return self

    def __exit__(self, *what):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def ready(self):
        assert self.process.poll() is None, (self.dir / "log").read_text()
        try:
            return self.get("/-/ready", raw=True)
        except OSError:
            return False

    def get(self, path, raw=False, **query):
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=20) as r:
            body = r.read()
        return True if raw else json.loads(body)["data"]

    def query(self, expr):
        try:
            return self.get("/api/v1/query", query=expr)["result"]
        except urllib.error.HTTPError as e:
            raise AssertionError(f"Prometheus refuses {expr}: {e.read().decode()}") from None


def dashboard():
    d = json.loads((MONITORING / "assay-dashboard.json").read_text())
    assert d["title"] == "Assay" and len({p["id"] for p in d["panels"]}) == len(d["panels"])
    return d


UNITS = {"short", "s", "ops", "reqps", "percentunit", "bytes"}  # of Grafana's, those that are used


def dashboard_faults(d):
    """What Grafana's types do not say and an import needs all the same."""
    out, taken = [], set()
    names = [v["name"] for v in d["templating"]["list"]]
    if len({p["id"] for p in d["panels"]}) != len(d["panels"]):
        out.append("two panels have one id")
    if d["schemaVersion"] < 36:
        out.append("a schema of before data sources were named by type and uid")
    for p in d["panels"]:
        g, title = p["gridPos"], p["title"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        if g["x"] + g["w"] > 24 or cells & taken:
            out.append(f"{title} lies over another or over the edge")
        taken |= cells
        if p["type"] == "row":
            if p["panels"] or p["collapsed"]:
                out.append(f"{title}: an open row has its panels behind it")
            continue
        if p["fieldConfig"]["defaults"]["unit"] not in UNITS:
            out.append(f"{title}: no unit of Grafana's")
        if not p["targets"] or len({t["refId"] for t in p["targets"]}) != len(p["targets"]):
            out.append(f"{title}: each query has a letter of its own")
        for ref in [p["datasource"], *(t["datasource"] for t in p["targets"])]:
            if ref != {"type": "prometheus", "uid": "${datasource}"}:
                out.append(f"{title}: the data source is not the one that is chosen")
    for name in re.findall(r"\$\{?(\w+)", json.dumps(d)):
        if name not in names and name not in ("__rate_interval", "__all"):
            out.append(f"the variable {name} is not there")
    if d["templating"]["list"][0]["type"] != "datasource" or d["templating"]["list"][0]["query"] != "prometheus":
        out.append("the first variable is the data source")
    return out


def test_the_dashboard_is_one_by_grafanas_own_model():
    d = dashboard()
    assert not dashboard_faults(d), dashboard_faults(d)

    def changed(change):
        other = copy.deepcopy(d)
        change(other["panels"][1], other)
        return other
    for fault, change in (("one id", lambda p, b: p.update(id=3)), ("over another", lambda p, b: p["gridPos"].update(w=6)), ("no unit", lambda p, b: p["fieldConfig"]["defaults"].update(unit="seconds")),
                          ("a letter", lambda p, b: p.update(targets=[])), ("not the one", lambda p, b: p.update(datasource={"type": "prometheus", "uid": "abc"})),
                          ("variable", lambda p, b: p.update(title="$nothing"))):
        assert any(fault in f for f in dashboard_faults(changed(change))), fault
    planted = [changed(c) for c in (
        lambda p, b: p["gridPos"].pop("w"), lambda p, b: p["options"].update(colorMode="colourful"), lambda p, b: p.update(titel="x"), lambda p, b: p.update(type=7),
        lambda p, b: b["panels"][8]["options"]["legend"].pop("showLegend"), lambda p, b: b["panels"][8]["fieldConfig"]["defaults"]["custom"].update(showPoints="sometimes"),
        lambda p, b: p["targets"][0].pop("refId"), lambda p, b: b.update(schemaVersion="39"), lambda p, b: b["annotations"]["list"][0].pop("enable"),
        lambda p, b: b["templating"]["list"][1].update(type="question"))]
    try:
        said, missed = grafana.check(d, planted)
    except grafana.Missing as why:
        raise harness.Skip(str(why)) from None
    assert not said, "\n".join(said[:10])
    assert not missed, f"the types find nothing in what was planted: {missed}"


def test_each_query_of_the_dashboard_is_answered_by_a_prometheus_that_scrapes_a_server(server):
    judge(server)
    board, known = dashboard(), documented()
    with Prometheus(server.port) as p:
        # rates want two scrapes with a difference between them
        wait_for("two scrapes", lambda: any(float(r["value"][1]) >= 3 for r in p.query("count_over_time(up[1m])")))
        del server.judged
        admin = server.login()
        for language, name, _ in JUDGED:
            s = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": language,
                                            "source": program(name) + ("\n# again\n" if language == "python" else "\n/* again */\n")}).json
            server.wait_done(admin, s["id"])
        server.judged = True
        wait_for("the verdicts in Prometheus", lambda: p.query("sum(increase(assay_runner_verdicts_total[1m])) > 0"))

        variables = {v["name"]: v for v in board["templating"]["list"]}
        chosen = {}
        for name in ("job", "instance", "language"):  # as Grafana asks for them, each with those before it
            m = re.fullmatch(r"label_values\((.*), (\w+)\)", variables[name]["query"]["query"])
            expr = m[1]
            for k, v in chosen.items():
                expr = expr.replace(f"${k}", v)
            values = {r["metric"][m[2]] for r in p.query(expr)}
            assert values, f"the variable {name} has no values"
            chosen[name] = "|".join(sorted(map(re.escape, values))).replace("\\", "\\\\")
        assert {"c", "python"} <= set(chosen["language"].replace("\\", "").split("|"))

        asked = 0
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"].replace("$__rate_interval", "1m")
                for name, v in chosen.items():
                    expr = expr.replace(f"${name}", v)
                assert "$" not in expr, expr
                for name in re.findall(r"\b(assay_\w+)", target["expr"]):
                    assert name in known or re.sub(r"_(bucket|sum|count)$", "", name) in known, f"{panel['title']}: there is no {name}"
                answer = p.query(expr)
                assert answer or ONLY_WITH.search(target["expr"]), f"{panel['title']}: nothing comes of {expr}"
                asked += 1
        assert asked > 50
        titles = " ".join(x["title"] for x in board["panels"] if x["type"] == "row")
        for part in ("Latency", "Throughput", "Languages and compilers", "Verdicts", "Image filters"):
            assert part in titles

        # the filters filter
        both = p.query('sum by (language) (assay_runner_verdicts_total{language=~"c|python"})')
        one = p.query('sum by (language) (assay_runner_verdicts_total{language=~"python"})')
        assert len(both) == 2 and len(one) == 1
        # the rules are loaded and can be evaluated over what a server really says; on a sound one nothing fires
        rules = [r for g in p.get("/api/v1/rules")["groups"] for r in g["rules"]]
        assert len(rules) >= 20
        wait_for("all rules to be evaluated", lambda: all(
            r["health"] == "ok" for g in p.get("/api/v1/rules")["groups"] for r in g["rules"]))
        firing = p.query('ALERTS{alertstate="firing"}')
        assert not firing, firing


def test_a_server_that_is_gone_is_alarmed_of():
    server = harness.Server().start()
    try:
        with Prometheus(server.port) as p:
            wait_for("a scrape", lambda: p.query("up == 1"))
            server.stop()
            found = wait_for("the alert", lambda: p.query('ALERTS{alertname="AssayDown"}'))
            assert found[0]["metric"]["severity"] == "page"
    finally:
        server.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
