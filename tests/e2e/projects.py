"""What the end-to-end tests of projects share: ZIPs of the sample projects, and the way from an upload to its feedback."""

import io
import shutil
import stat
import urllib.error
import urllib.request
import zipfile

from harness import FIXTURES, wait_for

# id: a program without which its toolchain is not here
SAMPLES = {"java-maven-dummy-dev": "mvn", "python-pytest-words": "pytest", "javascript-node-words": "node", "c-cmake-stack": "ctest"}
CASES = ("passing", "half", "broken", "hanging")


def here():
    """The sample PITs whose tools this machine has, in the places that boxes see."""
    return [p for p, tool in SAMPLES.items() if shutil.which(tool, path="/usr/bin:/bin")]


def packed(files):
    """A ZIP of {name: text or bytes}; a value of ("link", target) is a symbolic link."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            if isinstance(content, tuple):
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                content = content[1]
            z.writestr(info, content)
    return out.getvalue()


def sample(pit, case):
    top = FIXTURES / "pits" / pit / case
    return packed({str(f.relative_to(top)): f.read_bytes() for f in sorted(top.rglob("*")) if f.is_file()})


def form(data):
    head = b'--assay\r\nContent-Disposition: form-data; name="file"; filename="t.zip"\r\nContent-Type: application/zip\r\n\r\n'
    return {"body": head + data + b"\r\n--assay--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=assay"}}


def put(url, data):
    """The status of a PUT to an upload's URL, whoever serves it."""
    r = urllib.request.Request(url, data=data, method="PUT", headers={"Content-Type": "application/octet-stream"})
    try:
        with urllib.request.urlopen(r, timeout=60) as a:
            return a.status
    except urllib.error.HTTPError as e:
        return e.code


def submit(user, pit, data):
    up = user.post("/submissions/request-upload", {"pitId": pit}, expect=201).json
    assert put(up["uploadUrl"], data) == 200, up
    return user.post("/submissions/confirm", {"pitId": pit, "fileKey": up["fileKey"]}, expect=201).json["submissionId"]


def feedback(user, sid, timeout=240):
    def over():
        r = user.get(f"/submissions/feedback/{sid}").json
        return r if r["status"] in ("DONE", "ERROR") else None
    return wait_for(f"the feedback of {sid}", over, timeout)


def check(case, r):
    """Whether a sample project of this kind got what it must get."""
    f = r["feedback"]
    assert r["logsS3Key"] == f"logs/{r['submissionId']}/run.log", r
    if case == "passing":
        assert r["status"] == "DONE" and r["score"] == 100 and f["exitCode"] == 0, r
        assert f["totalTests"] == f["passedTests"] > 0 and f["failedTests"] == 0 and not f["timedOut"], r
    elif case == "half":
        assert r["status"] == "ERROR" and 0 < r["score"] < 100 and f["exitCode"] != 0 and "tests failed" in f["error"], r
        assert 0 < f["passedTests"] < f["totalTests"] and "failed: " in f["details"] + f["details"].replace("error: ", "failed: "), r
    elif case == "broken":
        assert r["status"] == "ERROR" and r["score"] == 0 and f["error"] and f["step"] in ("setup", "test") and not f["timedOut"], r
    else:
        assert r["status"] == "ERROR" and r["score"] == 0 and f["timedOut"] and "time" in f["error"], r


def publish(admin, pit, limit_ms):
    """The instructor's tests of a sample, and a copy of the PIT that gives up sooner; its id."""
    tests = sample(pit, "tests")
    admin.post(f"/pits/{pit}/upload-tests", expect=201, **form(tests))
    whole = admin.get(f"/pits/{pit}").json
    short = {k: whole[k] for k in ("title", "language", "buildTool", "testCommand", "setupCommands", "environment", "requiredFiles", "reports")}
    admin.post("/pits", {**short, "id": f"{pit}-short", "maxTimeoutMs": limit_ms}, expect=201)
    admin.post(f"/pits/{pit}-short/upload-tests", expect=201, **form(tests))
    return f"{pit}-short"
