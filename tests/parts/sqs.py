"""An SQS and S3 for tests, which checks every signature (tests/parts/aws/server.mjs): on loopback, ended by its pid.

npm puts fauxqs and Amazon's signer into build/aws-parts the first time, by the lock file beside server.mjs.
"""

import datetime
import fcntl
import hashlib
import hmac
import json
import os
import pathlib
import shutil
import subprocess
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = ROOT / "tests" / "parts" / "aws"
KEY, SECRET, REGION = "AKIDTEST", "secret-of-the-tests", "us-east-1"


class Missing(Exception):
    """It cannot run here; the text says what is missing."""


def installed(build):
    place = pathlib.Path(build) / "aws-parts"
    try:
        place.mkdir(parents=True, exist_ok=True)
        with open(place / "lock", "w", encoding="ascii") as lock:  # several tests may want it at once
            fcntl.flock(lock, fcntl.LOCK_EX)
            return install(place)
    except PermissionError:
        raise Missing(f"{place} cannot be written") from None


def install(place):
    if (place / "done").exists():
        shutil.copy(PARTS / "server.mjs", place / "server.mjs")  # modules are looked for beside the program
        return place
    if not shutil.which("npm") or not shutil.which("node"):
        raise Missing("Node.js and npm are not installed (Debian: apt-get install nodejs npm)")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < 20:
        raise Missing(f"fauxqs needs Node.js 20 or later, and this is {version}")
    for f in ("package.json", "package-lock.json", "server.mjs"):
        shutil.copy(PARTS / f, place / f)
    a = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=place, capture_output=True, text=True, timeout=600)
    assert a.returncode == 0, f"npm ci: {(a.stderr or a.stdout).strip()[-1000:]}"
    (place / "done").touch()
    return place


class Sqs:
    def __init__(self, build=None):
        self.place = installed(build or ROOT / "build")

    def __enter__(self):
        self.process = subprocess.Popen(["node", "server.mjs", KEY, SECRET], cwd=self.place, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line, "the SQS of the tests did not start"
        self.url = json.loads(line)["url"]
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()

    @property
    def env(self):
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION, "AWS_ENDPOINT_URL": self.url}

    def control(self, path, body=None):
        with urllib.request.urlopen(f"{self.url}/-/{path}", data=json.dumps(body or {}).encode(), timeout=30) as r:
            return json.loads(r.read())

    def fault(self, kind="", times=10 ** 9, match=""):
        """refuse-like faults of the next requests: reset, error, cut, slow, hang; "" ends them."""
        self.control("fault", {"kind": kind, "left": times, "match": match})

    def signed(self, method, path, service, body=b"", headers=None):
        """A request signed here, in Python: (status, body)."""
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        sha = hashlib.sha256(body).hexdigest()
        h = {"host": self.url.split("//")[1], "x-amz-date": stamp, **(headers or {})}
        if service == "s3":
            h["x-amz-content-sha256"] = sha
        names = ";".join(sorted(h))
        path_only, _, query = path.partition("?")
        text = "\n".join([method, path_only, query, *(f"{k}:{h[k]}" for k in sorted(h)), "", names, sha])
        scope = f"{day}/{REGION}/{service}/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(text.encode()).hexdigest()}"
        key = f"AWS4{SECRET}".encode()
        for part in (day, REGION, service, "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        h["authorization"] = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
        rq = urllib.request.Request(self.url + path, data=body if method != "GET" else None, headers=h, method=method)
        try:
            with urllib.request.urlopen(rq, timeout=40) as r:
                return r.status, r.read()
        except urllib.error.HTTPError as e:
            return e.code, e.read()

    def ask(self, operation, **body):
        status, text = self.signed("POST", "/", "sqs", json.dumps(body).encode(),
                                   {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AmazonSQS.{operation}"})
        assert status == 200, (operation, status, text)
        return json.loads(text or b"{}")

    def queue(self, name, **attributes):
        return self.ask("CreateQueue", QueueName=name, Attributes={k: str(v) for k, v in attributes.items()})["QueueUrl"]

    def arn(self, url):
        return self.ask("GetQueueAttributes", QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def send(self, url, body, **attributes):
        return self.ask("SendMessage", QueueUrl=url, MessageBody=body,
                        MessageAttributes={k: {"DataType": "String", "StringValue": v} for k, v in attributes.items()})["MessageId"]

    def take(self, url, wait=1, visibility=300):
        """Up to ten messages, not deleted."""
        return self.ask("ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait, VisibilityTimeout=visibility,
                        AttributeNames=["All"], MessageAttributeNames=["All"]).get("Messages") or []

    def drop(self, url, message):
        self.ask("DeleteMessage", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def left(self, url):
        """(waiting, in flight)"""
        a = self.ask("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(a["ApproximateNumberOfMessages"]), int(a["ApproximateNumberOfMessagesNotVisible"])

    def bucket(self, name):
        status, text = self.signed("PUT", f"/{name}", "s3")
        assert status == 200, (status, text)
        return name
