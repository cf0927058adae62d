"""A collector of OpenTelemetry for tests: takes exports by OTLP/HTTP on loopback, keeps them, and has OpenTelemetry's own generated
code read them (tests/parts/otlp/decode.cjs).

npm puts that code into build/otlp-parts the first time, by the lock file beside decode.cjs.
"""

import base64
import fcntl
import gzip
import http.server
import json
import pathlib
import shutil
import subprocess
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = ROOT / "tests" / "parts" / "otlp"


JSON, PROTOBUF = "application/json", "application/x-protobuf"


class Missing(Exception):
    """It cannot run here; the text says what is missing."""


def installed(build):
    place = pathlib.Path(build) / "otlp-parts"
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = open(place / "lock", "w", encoding="ascii")
    except PermissionError:
        raise Missing(f"{place} cannot be written") from None
    with lock:  # several tests may want it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shutil.which("npm") or not shutil.which("node"):
            raise Missing("Node.js and npm are not installed (Debian: apt-get install nodejs npm)")
        for f in ("package.json", "package-lock.json", "decode.cjs"):
            shutil.copy(PARTS / f, place / f)
        if not (place / "done").exists():
            a = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=place, capture_output=True, text=True, timeout=600)
            assert a.returncode == 0, f"npm ci: {(a.stderr or a.stdout).strip()[-1000:]}"
            (place / "done").touch()
    return place


def decode(exports, build=None):
    """What OpenTelemetry's code reads in (signal, type, body) triples; an AssertionError with its words where it reads less than was sent."""
    place = installed(build or ROOT / "build")
    text = json.dumps([{"signal": s, **({"json": b.decode()} if t == JSON else {"base64": base64.b64encode(b).decode()})} for s, t, b in exports])
    a = subprocess.run(["node", "decode.cjs"], cwd=place, input=text, capture_output=True, text=True, timeout=120)
    assert a.returncode == 0, f"the decoder does not take what was exported: {a.stderr[-1000:]}"
    return json.loads(a.stdout)


def attributes(of):
    """{name: value} of a list of OTLP's key values."""
    return {a["key"]: next(iter(v for k, v in a["value"].items() if k.endswith("Value"))) for a in of}


class Collector:
    """status: what it answers from now on, and advice: with which words; delay: seconds that it takes for that."""

    def __init__(self):
        self.exports, self.headers, self.status, self.delay, self.retry_after, self.asked = [], [], 200, 0, None, 0
        self.advice = ""
        outer, self.gone = self, threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked += 1
                outer.gone.wait(outer.delay)
                kind, words = self.headers["Content-Type"], outer.advice.encode()
                if outer.status == 200:
                    assert kind in (JSON, PROTOBUF), self.headers
                    if self.headers["Content-Encoding"] is not None:
                        assert self.headers["Content-Encoding"] == "gzip", self.headers
                        body = gzip.decompress(body)
                    outer.headers.append({**self.headers, "path": self.path})
                    outer.exports.append((self.path.rsplit("/", 1)[1], kind, body))
                # partial_success {rejected: 1, error_message: words}
                message = b"\x08\x01\x12" + bytes([len(words)]) + words
                if kind == JSON:
                    answer = json.dumps({"partialSuccess": {"rejectedSpans": "1", "errorMessage": outer.advice} if words else {}}, separators=(",", ":")).encode()
                else:
                    answer = b"\x0a" + bytes([len(message)]) + message if words else b""
                try:
                    self.send_response(outer.status)
                    if outer.retry_after is not None:
                        self.send_header("Retry-After", str(outer.retry_after))
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:
                    pass  # it did not wait

            def log_message(self, *a):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *what):
        self.gone.set()
        self.server.shutdown()
        self.server.server_close()

    def env(self, **more):
        """What a server needs to export here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "1000", **more}

    def bodies(self, signal):
        return [e for e in list(self.exports) if e[0] == signal]

    def spans(self, trace=None):
        """All spans so far, of one trace if it is named, each with its service's name and its attributes as a dict."""
        out = []
        for export in decode(self.bodies("traces")):
            for resource in export["resourceSpans"]:
                service = attributes(resource["resource"]["attributes"])
                for scope in resource["scopeSpans"]:
                    for s in scope["spans"]:
                        if trace in (None, s["traceId"]):
                            out.append({**s, "attributes": attributes(s["attributes"]), "service": service["service.name"], "resource": service})
        return out
