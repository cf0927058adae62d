"""One round through what no story of the other tests needs: lists, single things and their removal, and the pages."""

import io
import re
import socket
import sys
import zipfile

import harness
from harness import Server, wait_for

ZIP = {"Content-Type": "application/zip"}


def make_server():
    return Server(args=["--boxkeeper=false"])


def packed(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, text in files.items():
            z.writestr(name, text)
    return out.getvalue()


def test_things_are_listed_shown_and_removed(server):
    admin = server.login()
    admin.post("/agents", {"id": "rounds"}, expect=201)
    admin.post("/benchmarks", {"id": "rounds-set"}, expect=201)
    admin.post("/benchmarks/rounds-set/problems", {"id": "rounds-problem", "name": "p"}, expect=201)
    admin.get("/problems/rounds-problem")
    admin.delete("/problems/rounds-problem", expect=204)
    admin.call("GET", "/problems/rounds-problem", expect=404)
    admin.delete("/agents/rounds", expect=204)
    assert "rounds" not in {a["id"] for a in admin.all("/agents?")}
    assert admin.get("/rejudgings").json["items"] == [] and admin.get("/filters").json["items"]
    admin.call("GET", "/rejudgings/0190a5b2-0000-7000-8000-000000000000/changes", expect=404)


def test_boards_without_entries(server):
    admin = server.login()
    admin.post("/benchmarks", {"id": "rounds-board", "tests": [{"expected_output": "1\n"}]}, expect=201)

    def seen():
        return admin.call("GET", "/leaderboard?benchmark_id=rounds-board").status == 200
    wait_for("the board", seen, 10)
    assert admin.get("/leaderboard?benchmark_id=rounds-board").json["items"] == []
    admin.get("/leaderboard/statistics?benchmark_id=rounds-board&draws=100")
    admin.call("GET", "/leaderboard/compare?benchmark_id=rounds-board&a=one&b=two", expect=(200, 404))
    admin.call("GET", "/leaderboard/history?benchmark_id=rounds-board&agent_id=one", expect=(200, 404))


def test_a_task_of_which_a_worker_tells(server):
    """Submitted, leased by an agent over HTTP, watched, annotated and handed back."""
    admin = server.login()
    admin.post("/agents", {"id": "rounds-worker"}, expect=201)
    worker = harness.Api(server.port, admin.post("/agents/rounds-worker/tokens", {"scopes": ["jobs:lease", "results:write"]}, expect=201).json["token"])
    task = admin.post("/task", {"translator": "python3", "code": "print(1)"}, expect=201).json["task_id"]
    for path in (f"/submissions/{task}/events", "/events"):
        with socket.create_connection(harness.at(server.port), 20) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 0\r\nAuthorization: Bearer {admin.token}\r\n\r\n".encode())
            assert s.recv(1000).startswith(b"HTTP/1.1 200 ")
    admin.post("/traces", {"submission_id": task, "message": "planned"}, expect=201)
    job = wait_for("the job", lambda: worker.post("/agents/rounds-worker/lease", {"wait_s": 5}).json["jobs"], 20)[0]
    worker.post("/commit", {"task_id": job["submission_id"], "fence": job["fence"], "result": {"id": task, "status": "OK", "stdout": "1\n"}})
    assert admin.get(f"/result/{task}").json == {"result": "1\n"}


def test_a_project_from_its_upload_on(server):
    admin = server.login()
    admin.post("/pits", {"id": "rounds-pit", "language": "bash", "testCommand": "sh ./t"}, expect=201)
    form = (b'--x\r\nContent-Disposition: form-data; name="file"; filename="t.zip"\r\nContent-Type: application/zip\r\n\r\n'
            + packed(t="exit 0") + b"\r\n--x--\r\n")
    admin.post("/pits/rounds-pit/upload-tests", form, headers={"Content-Type": "multipart/form-data; boundary=x"}, expect=201)
    assert admin.patch("/pits/rounds-pit", {"title": "T"}).json == admin.get("/pits/rounds-pit").json
    assert "rounds-pit" in {p["id"] for p in admin.all("/pits?")}
    up = admin.post("/submissions/request-upload", {"pitId": "rounds-pit"}, expect=201).json
    server.api().put(up["uploadUrl"].split(str(server.port), 1)[1], packed(a="1"), headers=ZIP)
    sid = admin.post("/submissions/confirm", {"pitId": "rounds-pit", "fileKey": up["fileKey"]}, expect=201).json["submissionId"]
    assert admin.get(f"/submissions/feedback/{sid}").json["status"] == "PENDING"
    assert sid in {m["submissionId"] for m in admin.get("/submissions/mine").json}
    admin.call("GET", f"/submissions/feedback/{sid}/log", expect=404)  # it has none yet


def test_pages(server):
    for path in ("/", "/swagger", "/swagger/"):
        page = server.api().get(path, headers={"Accept": "text/html"})
        assert page.headers["content-type"].startswith("text/html")
    for path in ("/ui/licenses.txt", "/swagger/start.js"):  # 404 where the pages were not built
        assert server.api().call("GET", path).status == (200 if (harness.PREFIX / "share" / "assay" / "www").is_dir() else 404)
    assert re.search(r'"openapi": ?"3', server.api().get("/swagger.json").body.decode())


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
