"""Languages live in images; results say where they were made; a benchmark pins a toolchain."""

import json
import pathlib
import shutil
import sys
import tempfile

import harness
from harness import Server, wait_for
from test_languages import languages

# says so when it can see a compiler
C_SUM = ('#include <stdio.h>\n#include <unistd.h>\nint main(void) { long long s = 0, v; while (scanf("%lld", &v) == 1) s += v;\n'
         'if (access("/usr/bin", F_OK) == 0) puts("programs are here"); printf("%lld\\n", s); return 0; }\n')
PY_SUM = "import sys\nprint(sum(map(int, sys.stdin.read().split())))\n"


class Images:
    """A folder with one image in it, whose root is empty but for usr: a static program needs no more."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="assay-images-", dir="/var/tmp"))
        self.path.chmod(0o755)
        (self.path / "run" / "usr" / "local").mkdir(parents=True)
        (self.path / "run.digest").write_text("sha256:" + "0123456789abcdef" * 4 + "\n")
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path)


def prepared(server, **more):
    admin = server.login()
    if admin.call("GET", "/agents/ada").status == 404:
        admin.post("/agents", {"id": "ada", "name": "Ada"}, expect=201)
    return admin, admin.post("/benchmarks", {"name": "sum", "feedback": "full", "compare": "tokens",
                                             "tests": [{"input": "1 2 3\n", "expected_output": "6\n"}], **more}, expect=201).json["id"]


def judge(api, benchmark, language, source):
    s = api.post("/submissions?wait=60", {"benchmark_id": benchmark, "agent_id": "ada", "language": language, "source": source},
                 expect=200).json
    return api.get(f"/results/{s['id']}").json


def test_a_program_runs_where_no_compiler_is_and_the_result_says_where():
    with Images() as images:
        server = Server(env={"C_RUN_IMAGE": str(images / "run"), "PYTHON_IMAGE": str(images / "run"), "ASSAY_NATIVE_IMAGES": str(images)})
        try:
            server.start()
            admin, benchmark = prepared(server)
            for _ in range(2):
                r = judge(admin, benchmark, "c", C_SUM)
                assert r["verdict"] == "OK", r
                e = r["environment"]
                assert e["run"]["place"]["image"] == str(images / "run") and e["build"]["place"]["image"] is None, e
                assert e["run"]["place"]["digest"] == "sha256:" + "0123456789abcdef" * 4, e
                assert "gcc" in e["toolchain"] and e["kernel"].startswith("Linux ") and e["cpu_model"], e
                assert e["build"]["argv"][0].startswith("/usr/bin/") and e["run"]["argv"] == ["app/main"], e
            known = languages(server)
            assert known["python"]["state"] == "unavailable" and "none of these is installed" in known["python"]["reason"], known["python"]
            assert known["c"]["run_place"]["image"] == str(images / "run") and known["cpp"]["run_place"]["image"] is None, known["c"]
            stranger = server.register("stranger")
            told = {i["name"]: i for i in stranger.get("/languages").json["items"]}
            assert told["c"]["run_place"] is None, "what the machine looks like is the operator's business"
        finally:
            server.close()


def test_an_image_that_is_not_allowed_or_not_there_is_our_error_with_its_cause():
    with Images() as images:
        server = Server(env={"C_IMAGE": str(images / "run"), "PERL_IMAGE": "debian:12"})
        try:
            server.start()
            admin, benchmark = prepared(server)
            for language, cause in (("c", "native_images"), ("perl", "sandbox=docker")):
                r = judge(admin, benchmark, language, "x")
                assert r["verdict"] == "IE" and cause in r["fault"], r
            reasons = {i["name"]: i["reason"] for i in admin.get("/languages").json["items"]}
            assert "native_images" in reasons["c"] and "debian:12" in reasons["perl"], reasons
            assert judge(admin, benchmark, "python", PY_SUM)["verdict"] == "OK", "the others are not held up"
            ready = admin.get("/readyz")
            notes = {c["name"]: c.get("note") for c in ready.json["checks"]}
            assert ready.status == 200 and ("native_images" in notes["runner"] or "debian:12" in notes["runner"]), ready
        finally:
            server.close()


def test_a_benchmark_pins_a_toolchain():
    server = Server(env={"ASSAY_PIN_REFUSALS": "3"})
    try:
        server.start()
        admin, benchmark = prepared(server, toolchains={"py": "3", "c": "99.1"})
        assert admin.get(f"/benchmarks/{benchmark}").json["toolchains"] == {"py": "3", "c": "99.1"}
        assert judge(admin, benchmark, "python", PY_SUM)["verdict"] == "OK"
        r = judge(admin, benchmark, "c", C_SUM)
        assert r["verdict"] == "IE" and "pins c to 99.1, here is " in r["fault"] and "gcc" in r["fault"], r
        admin.patch(f"/benchmarks/{benchmark}", {"toolchains": {"c": "1.2"}}, expect=200)
        assert admin.get(f"/benchmarks/{benchmark}").json["toolchains"] == {"c": "1.2"}
        admin.patch(f"/benchmarks/{benchmark}", {"toolchains": None}, expect=200)
        wait_for("the change to reach the runner", lambda: judge(admin, benchmark, "c", C_SUM)["verdict"] == "WA",
                 30)
        for bad in ({"c": ""}, {"c": "sha256:12"}, {"C++ ": "12"}, {"c": "1 2"}):
            a = admin.call("PATCH", f"/benchmarks/{benchmark}", {"toolchains": bad})
            assert a.status == 400 and "/toolchains" in a.body.decode(), (bad, a)
    finally:
        server.close()


def test_a_language_has_the_working_directory_that_was_asked_for():
    server = Server(env={"PYTHON_WORKDIR": "/tmp", "C_WORKDIR": "/tmp"})
    try:
        server.start()
        admin, benchmark = prepared(server)
        where = ("import os, sys\nassert os.getcwd() == '/tmp' == os.path.dirname(os.path.abspath(__file__)), os.getcwd()\n"
                 "assert open('/tmp/main.py').read()\nprint(sum(map(int, sys.stdin.read().split())))\n")
        r = judge(admin, benchmark, "python", where)
        assert r["verdict"] == "OK", r
        r = judge(admin, benchmark, "python", "print(\n")
        assert r["verdict"] == "BF", r
        r = judge(admin, benchmark, "c", '#include <stdio.h>\n#include <unistd.h>\n#include <string.h>\nint main(void) { char d[99]; '
                                         'getcwd(d, sizeof d); puts(strcmp(d, "/tmp") ? d : "6"); return access("/tmp/app/main", X_OK); }\n')
        assert r["verdict"] == "OK", r
        assert server.stop() == 0
    finally:
        server.close()
    wrong = Server(env={"PYTHON_WORKDIR": "tmp"})
    try:
        wrong.spawn()
        assert wrong.process.wait(30) == 78
        assert "working directory" in wrong.log_text() and "python" in wrong.log_text(), wrong.log_text()[-800:]
    finally:
        wrong.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
