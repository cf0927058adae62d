"""The real server with its blobs in S3: an emulator whose every request must be signed right, and which fails when told to
(tests/parts/sqs.py).  What blob_s3 promises on Ceph's radosgw is tests/unit/aws_parts.py's, at night.
"""

import os
import pathlib
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
from harness import PREFIX, Server, Skip, main, program, wait_for  # noqa: E402
from sqs import Missing, Sqs  # noqa: E402

S3 = None
PAD = "#" * 70000  # sources this long are blobs


def make_server():
    global S3
    try:
        S3 = Sqs(os.environ.get("ASSAY_PARTS_BUILD"))
    except Missing as why:
        raise Skip(str(why))
    S3.__enter__()
    S3.bucket("assay-blobs")
    return Server(env={**S3.env, "ASSAY_BLOB_DRIVER": "s3", "AWS_S3_BUCKET": "assay-blobs", "AWS_S3_PREFIX": "e2e", "ASSAY_S3_TIMEOUT": "3s"})


def send(admin, source, expect=202):
    return admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "python", "source": source}, expect=expect)


def objects():
    status, text = S3.signed("GET", "/assay-blobs?list-type=2&prefix=e2e%2F", "s3")
    assert status == 200, text
    return text.count(b"<Key>e2e/sha256/")


def test_blobs_are_objects_and_verdicts_come(server):
    admin = server.login()
    server.demo(admin)
    assert objects() > 2, "the tests and the manifest are in the bucket"
    before = objects()
    sid = send(admin, program("right.py") + PAD).json["id"]
    assert objects() == before + 1
    wrong = send(admin, program("wrong.py")).json["id"]
    assert server.wait_done(admin, sid, timeout=120)["verdict"] == "OK"
    assert server.wait_done(admin, wrong, timeout=120)["verdict"] == "WA"
    assert not list((server.data / "blobs").rglob("*")) if (server.data / "blobs").exists() else True
    counts = S3.control("counts")
    assert counts["refused"] == 0 and counts["good"] > 5, counts
    assert "assay_s3_requests_total" in admin.call("GET", "/metrics").body.decode()


def test_while_s3_is_away_nothing_is_acknowledged_that_it_does_not_have(server):
    admin = server.login()
    known = len(admin.get("/submissions?limit=100").json["items"])
    for kind in ("reset", "error", "cut", "hang", "slow"):
        S3.fault(kind)
        started = time.monotonic()
        a = send(admin, program("right.py") + PAD + kind, expect=503)
        took = time.monotonic() - started
        assert took < 25 and a.headers.get("retry-after"), (kind, took, a)
        started = time.monotonic()
        admin.get("/benchmarks/sum-integers")  # needs no blob, and does not wait for one
        assert time.monotonic() - started < 5, kind
        S3.fault()
    assert len(admin.get("/submissions?limit=100").json["items"]) == known
    sid = send(admin, program("right.py") + PAD + "after").json["id"]
    assert server.wait_done(admin, sid, timeout=120)["verdict"] == "OK"


def test_what_was_accepted_waits_for_s3_and_is_not_charged(server):
    admin = server.login()
    # a source that only S3 has; the runner can not read it before S3 is back
    S3.fault("reset", match="^GET")
    sid = send(admin, program("wrong.py") + PAD + "waits").json["id"]
    time.sleep(6)
    assert admin.get(f"/submissions/{sid}").json["status"] in ("queued", "running")
    wait_for("readiness to say so", lambda: admin.call("GET", "/readyz").status in (200, 503), 10)
    S3.fault()
    s = server.wait_done(admin, sid, timeout=120)
    assert s["verdict"] == "WA", s


def test_readiness_says_that_s3_is_away(server):
    S3.fault("reset")
    a = wait_for("readiness to fail", lambda: (lambda r: r if r.status == 503 else None)(server.api().call("GET", "/readyz")), 30)
    assert b"s3" in a.body and b"blobs" in a.body, a
    S3.fault()
    wait_for("readiness to come back", lambda: server.api().call("GET", "/readyz").status == 200, 30)


def test_a_start_without_what_it_needs_says_all_of_it():
    env = {"ASSAY_BLOB_DRIVER": "s3", "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true"}
    server = Server(env=env)
    try:
        server.spawn()
        assert server.process.wait(60) != 0
        text = server.log_text()
        for what in ("AWS_S3_BUCKET", "AWS_REGION", "AWS_ACCESS_KEY_ID"):
            assert what in text, text[-2000:]
    finally:
        server.close()


def test_the_emulator_refuses_what_is_signed_wrong():
    """So that the tests above can fail: another secret, and a body that is not the one signed."""
    with Sqs(os.environ.get("ASSAY_PARTS_BUILD")) as other:
        other.bucket("abc")
        url = other.url + "/abc/x"
        for headers in ({}, {"authorization": "AWS4-HMAC-SHA256 Credential=AKIDTEST/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature="
                             + "0" * 64, "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}):
            try:
                urllib.request.urlopen(urllib.request.Request(url, data=b"x", method="PUT", headers=headers), timeout=20)
                raise AssertionError("it was taken")
            except urllib.error.HTTPError as e:
                assert e.code == 403, e


if __name__ == "__main__":
    try:
        main(sys.modules[__name__])
    finally:
        if S3:
            S3.__exit__()
