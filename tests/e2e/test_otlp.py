"""Traces and metrics by OTLP/HTTP: each export is read by OpenTelemetry's own generated code; one trace from the client's header to
the last test, over the ring and over each way that work goes out; and a collector that is away, slow or unwilling hurts nobody."""

import contextlib
import pathlib
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
import harness  # noqa: E402
import otlp  # noqa: E402
import test_sqs  # noqa: E402
from harness import PREFIX, ROOT, Server, Skip, program, wait_for  # noqa: E402
from rabbitmq import Missing, RabbitMQ  # noqa: E402
from test_remote import worker as remote_worker  # noqa: E402

SERVER, PRODUCER, INTERNAL = 2, 4, 1  # kinds of spans


@contextlib.contextmanager
def collected(**env):
    """A server that exports to a collector, and that collector."""
    decoder()
    with otlp.Collector() as c:
        s = Server(env={**c.env(), **env})
        try:
            s.start()
            yield s, c
        finally:
            s.close()


def decoder():
    try:
        otlp.installed(ROOT / "build")
    except otlp.Missing as why:
        raise Skip(str(why)) from None


def header(flags="01"):
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, {"traceparent": f"00-{trace}-{span}-{flags}"}


def submit(server, admin, headers, file="right.c", language="c"):
    a = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": language, "source": program(file)}, headers=headers)
    done = server.wait_done(admin, a.json["id"], 120)
    assert done["status"] == "done", done
    return a, done


def tree(collector, trace, tests, timeout=30):
    """The spans of a trace by name, once the whole submission and all its tests are there."""
    def there():
        spans = collector.spans(trace)
        return spans if sum(s["name"] == "test" for s in spans) >= tests and any(s["name"] == "submission" for s in spans) else None
    spans = wait_for(f"the spans of {trace}", there, timeout, every=0.3)
    assert len({s["spanId"] for s in spans}) == len(spans), "a span was exported twice"
    return spans


def one(spans, name, **more):
    found = [s for s in spans if s["name"] == name and more.items() <= s.items()]
    assert len(found) == 1, (name, more, [(s["name"], s["service"], s["kind"]) for s in spans])
    return found[0]


def below(spans, span, ancestor):
    """Whether a span lies below another, by what the spans say of their parents."""
    by = {s["spanId"]: s for s in spans}
    while span["spanId"] != ancestor:
        parent = span.get("parentSpanId")
        if parent == ancestor:
            return True
        if parent not in by:
            return False
        span = by[parent]
    return True


def judged_tree(spans, service, n_tests):
    """The spans of one judged submission, as they must lie: queue, build and tests in the whole, within its time."""
    whole = one(spans, "submission", service=service)
    parts = [s for s in spans if s["parentSpanId"] == whole["spanId"]]
    names = [s["name"] for s in parts]
    assert names.count("queue") == 1 and names.count("build") == 1 and names.count("test") == n_tests, names
    assert sorted(s["attributes"]["assay.test.number"] for s in parts if s["name"] == "test") == [str(i + 1) for i in range(n_tests)]
    for s in parts:
        assert int(whole["startTimeUnixNano"]) <= int(s["startTimeUnixNano"]) <= int(s["endTimeUnixNano"]) <= int(whole["endTimeUnixNano"]), (s, whole)
    return whole


def test_one_trace_from_the_clients_header_to_the_last_test():
    with collected(OTEL_SERVICE_NAME="assay-here", OTEL_RESOURCE_ATTRIBUTES="deployment.environment=exam%20week") as (server, c):
        admin = server.login()
        n_tests = len(server.demo(admin)["tests"])
        trace, span, headers = header()
        a, done = submit(server, admin, headers)
        answered = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01", a.headers["traceparent"])
        assert answered and answered[1] == trace and answered[2] != span, a.headers
        spans = tree(c, trace, n_tests)
        request = one(spans, "POST /submissions")
        assert request["kind"] == SERVER and request["parentSpanId"] == span and request["spanId"] == answered[2]
        assert request["attributes"]["http.response.status_code"] == "202" and request["attributes"]["http.route"] == "/submissions"
        assert request["service"] == "assay-here" and request["resource"]["deployment.environment"] == "exam week"
        assert request["resource"]["service.version"] and request["resource"]["service.instance.id"]
        whole = judged_tree(spans, "assay-here", n_tests)
        assert whole["parentSpanId"] == request["spanId"]
        assert whole["attributes"]["assay.submission_id"] == done["id"] and whole["attributes"]["assay.verdict"] == "OK"
        assert all(s["attributes"]["assay.verdict"] == "OK" for s in spans if s["name"] == "test")
        assert all(below(spans, s, request["spanId"]) for s in spans if s["name"] in ("queue", "build", "test"))
        assert f'"trace_id":"{trace}"' in server.log_text(), "the log does not name the trace"


def test_each_export_is_read_by_opentelemetrys_own_code():
    exports_are_read(otlp.PROTOBUF, None)


def test_each_export_in_json_and_compressed_is_read_too():
    exports_are_read(otlp.JSON, "gzip", OTEL_EXPORTER_OTLP_PROTOCOL="http/json", OTEL_EXPORTER_OTLP_COMPRESSION="gzip")


def exports_are_read(kind, encoding, **env):
    with collected(**env) as (server, c):
        admin = server.login()
        server.demo(admin)
        for file, language in (("right.c", "c"), ("wrong.py", "python"), ("uncompilable.c", "c")):
            submit(server, admin, {}, file, language)
        admin.call("GET", "/submissions/no-such-thing?x=" + "%C3%A4" * 50)
        admin.call("GET", "/nowhere")
        wait_for("a report of the metrics", lambda: len(c.bodies("metrics")) >= 2)
        scrape = server.api().get("/metrics").body.decode()
        assert server.stop() == 0
        assert len(c.exports) >= 4
        traces, metrics = otlp.decode(c.bodies("traces")), otlp.decode(c.bodies("metrics"))
        assert traces and metrics and all((h["Content-Type"], h.get("Content-Encoding")) == (kind, encoding) for h in c.headers), c.headers[0]
        # the last report says what the last scrape said
        last = {m["name"]: m for r in metrics[-1]["resourceMetrics"] for s in r["scopeMetrics"] for m in s["metrics"]}
        names = {re.sub(r"_(bucket|sum|count)$", "", n) for n in re.findall(r"^(assay_\w+)", scrape, re.M)}
        boxes = {n for n in names if re.match("assay_(native|docker|boxkeeper)_", n)}
        own = {n for n in names if n.startswith("assay_metrics_")} | boxes
        assert len(names - own) > 40 and names - own <= set(last), sorted(names - own - set(last))
        # the boxkeeper's own are in those that were made while it was there
        theirs = {m["name"]: m for e in metrics for r in e["resourceMetrics"] for s in r["scopeMetrics"] for m in s["metrics"] if m["name"] in boxes}
        assert len(boxes) > 4 and set(theirs) == boxes, boxes - set(theirs)
        opened = theirs["assay_boxkeeper_open_seconds"]["histogram"]["dataPoints"][0]
        assert sum(map(int, opened["bucketCounts"])) == int(opened["count"]) > 0 and opened["explicitBounds"] == sorted(set(opened["explicitBounds"]))
        starts = theirs["assay_native_warden_starts_total"]["sum"]
        assert starts["isMonotonic"] and otlp.attributes(starts["dataPoints"][0]["attributes"])["outcome"] == "ok" and starts["dataPoints"][0]["asDouble"] > 0
        runs = {}
        for p in last["assay_runner_verdicts_total"]["sum"]["dataPoints"]:
            a = otlp.attributes(p["attributes"])
            runs[a["language"], a["verdict"]] = p["asDouble"]
        assert runs == {("c", "OK"): 1, ("python", "WA"): 1, ("c", "BF"): 1}
        assert last["assay_runner_verdicts_total"]["sum"]["isMonotonic"] and last["assay_runner_verdicts_total"]["sum"]["aggregationTemporality"] == 2
        assert last["assay_runner_slots"]["gauge"]["dataPoints"][0]["asDouble"] > 0
        h = last["assay_runner_verdict_seconds"]
        assert h["unit"] == "s" and h["histogram"]["aggregationTemporality"] == 2
        for p in h["histogram"]["dataPoints"]:
            assert len(p["bucketCounts"]) == len(p["explicitBounds"]) + 1 and sum(map(int, p["bucketCounts"])) == int(p["count"]) == 1
            assert p["explicitBounds"] == sorted(p["explicitBounds"]) and int(p["timeUnixNano"]) > int(p["startTimeUnixNano"]) > 0
        # the stop sent what was left: also the last request
        paths = [otlp.attributes(s["attributes"]).get("url.path") for t in traces for r in t["resourceSpans"] for x in r["scopeSpans"] for s in x["spans"]]
        assert "/nowhere" in paths and not any(p in ("/readyz", "/metrics") for p in paths)


def test_who_is_not_sampled_leaves_no_span_and_an_unsound_header_begins_a_trace_of_its_own():
    with collected() as (server, c):
        admin = server.login()
        server.demo(admin)
        quiet, _, headers = header("00")
        a, _ = submit(server, admin, headers)
        assert a.headers["traceparent"].startswith(f"00-{quiet}-") and a.headers["traceparent"].endswith("-00")
        bad = "00-" + "0" * 32 + "-b7ad6b7169203331-01"
        a, done = submit(server, admin, {"traceparent": bad})
        trace = a.headers["traceparent"].split("-")[1]
        assert trace != "0" * 32
        spans = tree(c, trace, 1)
        assert "parentSpanId" not in one(spans, "POST /submissions") or one(spans, "POST /submissions")["parentSpanId"] == ""
        assert c.spans(quiet) == []


def test_a_share_of_the_traces_is_kept():
    with collected(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0.5") as (server, c):
        flags = [server.api().get("/").headers["traceparent"][-2:] for _ in range(200)]
        assert 50 < flags.count("01") < 150, flags.count("01")
        _, _, headers = header()
        assert all(server.api().get("/", headers=headers).headers["traceparent"].endswith("-01") for _ in range(20)), "the client's word goes first"


def test_one_trace_over_http_leases():
    decoder()
    with otlp.Collector() as c:
        gateway = Server(args=["--boxkeeper=false"], env=c.env(OTEL_SERVICE_NAME="gateway"))
        worker = None
        try:
            gateway.start()
            admin = gateway.login()
            n_tests = len(gateway.demo(admin)["tests"])
            worker = remote_worker(gateway, admin, "w1", c.env(OTEL_SERVICE_NAME="worker"))
            worker.start(120)
            elsewhere(gateway, admin, c, n_tests)
        finally:
            gateway.close()
            if worker is not None:
                worker.close()


def elsewhere(gateway, admin, c, n_tests, broker=None):
    """One trace over two processes: the request and its going out in the gateway, the judging in the worker."""
    trace, span, headers = header()
    submit(gateway, admin, headers)

    def there():
        spans = c.spans(trace)
        return spans if {s["service"] for s in spans if s["name"] == "submission"} == {"gateway", "worker"} else None
    spans = wait_for("both processes' spans", there, 30, every=0.3)
    request = one(spans, "POST /submissions", service="gateway")
    assert request["parentSpanId"] == span
    whole = judged_tree(spans, "worker", n_tests)
    assert one(spans, "submission", service="gateway")["parentSpanId"] == request["spanId"]
    assert all(below(spans, s, request["spanId"]) for s in spans if s["service"] == "worker" and s["name"] in ("queue", "build", "test", "submission"))
    if broker is not None:
        out = one(spans, f"publish {broker}", service="gateway")
        assert out["kind"] == PRODUCER and out["parentSpanId"] == request["spanId"] and whole["parentSpanId"] == out["spanId"]
        assert out["attributes"]["messaging.system"] == broker


def over(broker, env):
    """A gateway whose work goes out through a broker, and a worker, both of which export to one collector."""
    decoder()
    with otlp.Collector() as c:
        gateway = Server(env={**env, **c.env(OTEL_SERVICE_NAME="gateway"), "ASSAY_DISPATCH": broker}, args=["--boxkeeper=false"], name="gateway")
        worker = Server(env={**env, **c.env(OTEL_SERVICE_NAME="worker"), "ASSAY_INTAKE": broker}, args=["--only", "submissions,runner"], name="worker")
        try:
            gateway.start()
            worker.start(120)
            admin = gateway.login()
            elsewhere(gateway, admin, c, len(gateway.demo(admin)["tests"]), broker)
        except BaseException:
            for s in (gateway, worker):
                print(*("# " + line[:300] for line in s.log_text().splitlines()[-8:]), sep="\n", flush=True)
            raise
        finally:
            gateway.close()
            worker.close()


@contextlib.contextmanager
def kafka_of_today():
    """librdkafka's mock cluster: messages with headers, which the real Kafka of the other tests (0.9) does not have."""
    if not (PREFIX / "lib" / "assay" / "plugins" / "assay_broker_kafka.so").exists():
        raise Skip("the Kafka driver was not built: librdkafka was not there (Debian: librdkafka-dev)")
    with tempfile.TemporaryDirectory() as d:
        built = subprocess.run(["cc", "-o", f"{d}/kafka_mock", str(ROOT / "tests" / "parts" / "kafka_mock.c"), "-lrdkafka"], capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        p = subprocess.Popen([f"{d}/kafka_mock", "1", "scripts", "2", "script-results", "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield p.stdout.readline().strip()
        finally:
            p.stdin.close()
            p.wait(20)
            p.stdout.close()


def test_one_trace_over_kafka():
    with kafka_of_today() as brokers:
        over("kafka", {"KAFKA_BROKERS": brokers})


def test_one_trace_over_rabbitmq():
    if not (PREFIX / "lib" / "assay" / "plugins" / "assay_broker_amqp.so").exists():
        raise Skip("the RabbitMQ broker was not built: rabbitmq-c was not there (Debian: librabbitmq-dev)")
    try:
        broker = RabbitMQ()
    except Missing as why:
        raise Skip(str(why)) from None
    with broker as mq:
        over("amqp", {"AMQP_URL": mq.url, "AMQP_QUEUE": "o.tasks", "AMQP_RESULTS_QUEUE": "o.results"})


def test_one_trace_over_sqs():
    s = test_sqs.emulator()
    over("sqs", {**s.env, "AWS_SQS_QUEUE_URL": s.queue("otlp-jobs"), "AWS_SQS_RESULTS_QUEUE_URL": s.queue("otlp-results"), "RUNNER_POLL_INTERVAL_MS": "500"})


def outcome(server, what):
    return server.metric(f'assay_otlp_spans_total{{outcome="{what}"}}')


def test_a_collector_that_is_away_or_hangs_hurts_nobody_and_drops_are_counted():
    decoder()
    with otlp.Collector() as c:
        with socket.socket() as silent:  # takes connections and says nothing
            silent.bind(("127.0.0.1", 0))
            silent.listen(64)
            server = Server(env=c.env(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}", OTEL_BSP_MAX_QUEUE_SIZE="20",
                                      OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10", OTEL_EXPORTER_OTLP_TIMEOUT="30s"))
            try:
                server.start()
                admin = server.login()
                server.demo(admin)
                submit(server, admin, {})
                for _ in range(60):
                    server.api().get("/")
                wait_for("spans to be dropped", lambda: outcome(server, "dropped") > 0, 20)
                assert server.metric("assay_otlp_queued_spans") <= 20 and outcome(server, "exported") == 0
                submit(server, admin, {}, "wrong.c")
                begun = time.monotonic()
                assert server.stop() == 0
                assert time.monotonic() - begun < 20, "a collector that hangs holds up the stop"  # bound by 2 s beside the drain; wide for a busy machine
            finally:
                server.close()


def test_a_collector_that_comes_back_gets_what_waited_and_refusals_are_final():
    with collected() as (server, c):
        admin = server.login()
        c.status = 503
        trace, _, headers = header()
        admin.get("/", headers=headers)
        wait_for("a try that fails", lambda: server.metric('assay_otlp_exports_total{signal="traces",outcome="unreachable"}') > 0)
        assert "otlp_away" in server.log_text() and server.log_text().count("otlp_away") == 1
        c.status = 200
        assert wait_for("what waited", lambda: c.spans(trace), 30, every=0.3)
        assert outcome(server, "failed") == 0 and "otlp_back" in server.log_text()
        c.status = 400
        lost, _, headers = header()
        admin.get("/", headers=headers)
        wait_for("a refusal", lambda: outcome(server, "failed") > 0)
        c.status = 200
        kept, _, headers = header()
        admin.get("/", headers=headers)
        assert wait_for("the next", lambda: c.spans(kept), 30, every=0.3)
        assert c.spans(lost) == [], "what was refused was sent again"


def test_a_signals_own_variables_go_before_the_common_ones():
    decoder()
    with otlp.Collector() as other, collected(
            OTEL_EXPORTER_OTLP_HEADERS="x-tenant=both", OTEL_EXPORTER_OTLP_COMPRESSION="gzip", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=other.url + "/own/traces",
            OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="http/json", OTEL_EXPORTER_OTLP_TRACES_COMPRESSION="none", OTEL_EXPORTER_OTLP_TRACES_HEADERS="x-tenant=mine",
            OTEL_EXPORTER_OTLP_METRICS_TIMEOUT="5000") as (server, c):
        server.api().get("/")
        wait_for("both signals", lambda: other.headers and c.headers)
        h, m = other.headers[0], c.headers[0]
        assert h["path"] == "/own/traces" and h["Content-Type"] == otlp.JSON and h["x-tenant"] == "mine" and "Content-Encoding" not in h, h
        assert m["path"] == "/v1/metrics" and m["Content-Type"] == otlp.PROTOBUF and m["x-tenant"] == "both" and m["Content-Encoding"] == "gzip", m
        assert {e[0] for e in other.exports} == {"traces"} and {e[0] for e in c.exports} == {"metrics"}
        assert otlp.decode(other.exports) and otlp.decode(c.exports)


def test_what_a_collector_takes_in_part_is_logged_with_its_words():
    for protocol in ("http/protobuf", "http/json"):
        with collected(OTEL_EXPORTER_OTLP_PROTOCOL=protocol) as (server, c):
            server.api().get("/")
            wait_for("an export", lambda: c.headers)
            assert "otlp_partial" not in server.log_text()
            c.advice = "one span was too long"
            server.api().get("/")
            wait_for("the advice in the log", lambda: "otlp_partial" in server.log_text() and "one span was too long" in server.log_text())
            assert outcome(server, "failed") == 0, "what was taken in part is not sent again, and counts as sent"


def test_headers_are_sent_and_stay_secret():
    with collected(OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20planted-secret, x-tenant=a") as (server, c):
        server.api().get("/")
        wait_for("an export", lambda: c.headers)
        got = {k.lower(): v for k, v in c.headers[0].items()}
        assert got["authorization"] == "Bearer planted-secret" and got["x-tenant"] == "a", got
        shown = subprocess.run([str(PREFIX / "bin" / "assayd"), "--dump-config"], env=server.env, capture_output=True, text=True).stdout
        assert "otel_exporter_otlp_headers" in shown and "planted-secret" not in shown + server.log_text()


def test_what_cannot_be_is_said_at_the_start():
    for env, words in (({"OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:4317"}, "not the http:// or https:// URL of a collector"),
                       ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "only http/protobuf and http/json are"),
                       ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "json"}, 'otel_exporter_otlp_protocol (metrics): \\"json'),
                       ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}, "is neither gzip nor none"),
                       ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "sometimes"}, "is none of parentbased_always_on"),
                       ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "7"}, "no number from 0 to 1"),
                       ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_HEADERS": "x=a%0d%0ay: b"}, "is not one line of text"),
                       ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_RESOURCE_ATTRIBUTES": "nothing"}, "a pair has no name")):
        server = Server(env=env)
        try:
            server.spawn()
            assert server.process.wait(30) != 0
            assert words in server.log_text(), (env, server.log_text()[-600:])
        finally:
            server.close()


def test_without_a_collector_nothing_is_made_and_a_clients_trace_is_given_on():
    server = Server()
    try:
        server.start()
        assert "traceparent" not in server.api().get("/").headers
        _, _, headers = header()
        assert server.api().get("/", headers=headers).headers["traceparent"] == headers["traceparent"]
        assert "assay_otlp" not in server.api().get("/metrics").body.decode()
    finally:
        server.close()


if __name__ == "__main__":
    try:
        harness.main(sys.modules[__name__])
    finally:
        if test_sqs.SQS is not None:
            test_sqs.SQS.__exit__()
