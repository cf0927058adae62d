"""Projects through SQS and S3: a gateway whose confirmations become messages, a worker with a store of its own that takes them,
and the files in a bucket.  The emulator takes only what is signed right (tests/parts/sqs.py)."""

import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
import projects  # noqa: E402
from harness import PREFIX, Server, Skip, main, wait_for  # noqa: E402
from sqs import Missing, Sqs  # noqa: E402

SQS = None


def emulator():
    global SQS
    if not (PREFIX / "lib" / "assay" / "plugins" / "assay_broker_sqs.so").exists():
        raise Skip("broker_sqs was not built")
    if SQS is None:
        try:
            SQS = Sqs(os.environ.get("ASSAY_PARTS_BUILD")).__enter__()
        except Missing as why:
            raise Skip(str(why))
        SQS.bucket("projects")
    return SQS


def shared(s, jobs, results):
    return {**s.env, "AWS_SQS_QUEUE_URL": jobs, "AWS_SQS_RESULTS_QUEUE_URL": results, "ASSAY_SQS_VISIBILITY": "20s", "RUNNER_POLL_INTERVAL_MS": "1000",
            "ASSAY_BLOB_DRIVER": "s3", "AWS_S3_BUCKET": "projects", "ASSAY_PROJECT_GRACE": "500ms"}


def test_each_sample_goes_out_and_comes_back():
    s = emulator()
    jobs, results = s.queue("project-jobs"), s.queue("project-results")
    env = shared(s, jobs, results)
    gateway = Server(env={**env, "ASSAY_DISPATCH_PROJECTS": "sqs"}, args=["--no-boxkeeper"], name="gateway")
    worker = Server(env={**env, "ASSAY_INTAKE": "sqs"}, args=["--only", "submissions,runner"], name="worker")
    try:
        gateway.start()
        worker.start()
        admin, user = gateway.login(), gateway.register("ada")
        sent = {}
        for pit in projects.here():
            short = projects.publish(admin, pit, 3000)
            for case in projects.CASES:
                sent[pit, case] = projects.submit(user, short if case == "hanging" else pit, projects.sample(pit, case))
        assert sent, "no toolchain"
        for (_, case), sid in sent.items():
            projects.check(case, projects.feedback(user, sid))
        sid = next(iter(sent.values()))
        assert user.get(f"/submissions/feedback/{sid}/log").body, "the worker's log is in the bucket"
        wait_for("an empty queue", lambda: s.left(jobs) == (0, 0), 30)
    finally:
        worker.close()
        gateway.close()


def test_the_older_platforms_messages_are_judged_by_the_workers_own_pits():
    s = emulator()
    jobs, results = s.queue("older-jobs"), s.queue("older-results")
    pits = pathlib.Path(os.environ.get("TMPDIR", "/var/tmp")) / f"assay-e2e-pits-{os.getpid()}"
    pits.mkdir()
    worker = Server(env={**shared(s, jobs, results), "ASSAY_INTAKE": "sqs", "ASSAY_PITS_PATH": str(pits)}, args=["--only", "submissions,runner"], name="older")
    try:
        (pits / "default.json").write_text(json.dumps({"testCommand": "sh ./run-tests", "maxTimeoutMs": 20000}))
        (pits / "named.json").write_text(json.dumps({"testCommand": "sh ./run-tests named"}))
        for f in [pits, *pits.iterdir()]:
            f.chmod(0o755)
        worker.start()
        line = 'echo "Tests run: 4, Failures: 1, Errors: 0, Skipped: 0 ($1)"; exit 1'
        for pit in ("named", "no-such-pit"):
            key = f"submissions/user-7/{pit}/1.zip"
            status, text = s.signed("PUT", f"/projects/{key}", "s3", projects.packed({"run-tests": line}), {"content-type": "application/octet-stream"})
            assert status == 200, text
            s.send(jobs, json.dumps({"submissionId": f"s-{pit}", "fileKey": key, "userId": "user-7", "pitId": pit, "createdAt": "2026-11-28T05:00:00.000Z"}))
        s.send(jobs, json.dumps({"submissionId": "s-stolen", "fileKey": "submissions/user-8/named/1.zip", "userId": "user-7", "pitId": "named"}))
        got, end = {}, time.monotonic() + 90
        while len(got) < 3 and time.monotonic() < end:
            for m in s.take(results, wait=1):
                r = json.loads(m["Body"])
                got[r["id"]] = r
                s.drop(results, m)
        assert sorted(got) == ["s-named", "s-no-such-pit", "s-stolen"], got
        for name in ("s-named", "s-no-such-pit"):
            told = got[name]["assay"]
            assert (told["status"], told["score"], told["submissionId"], told["logsS3Key"]) == ("ERROR", 75, name, f"logs/{name}/run.log"), got
            assert told["feedback"]["passedTests"] == 3 and told["feedback"]["exitCode"] == 1, got
        assert "userId" in got["s-stolen"]["error"] and "status" not in got["s-stolen"], got
        status, log = s.signed("GET", "/projects/logs/s-named/run.log", "s3")
        assert status == 200 and b"(named)" in log, (status, log)
    finally:
        worker.close()
        for f in pits.iterdir():
            f.unlink()
        pits.rmdir()


if __name__ == "__main__":
    try:
        main(sys.modules[__name__])
    finally:
        if SQS:
            SQS.__exit__()
