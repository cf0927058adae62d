"""Compiler options: what a language's file lists may be asked for, as far as the problem lets one; all else is refused."""

import contextlib
import json
import sys

import harness
import test_remote
from harness import wait_for
from test_builds import fresh, prepared

OPTIMISED = "#include <stdio.h>\nint main(void)\n{\n#ifdef __OPTIMIZE__\n    puts(\"optimised\");\n#else\n    puts(\"plain\");\n#endif\n    return 0;\n}\n"
STANDARD = "#include <cstdio>\nint main() { std::printf(\"%ld\\n\", __cplusplus); }\n"
EDITION = "public class Main { public static void main(String[] a) { record P(int x) {} System.out.println(new P(6).x()); } }\n"
HOSTILE = ("-fplugin=/box/x.so", "@/etc/passwd", "-I/etc", "-I", "-specs=/box/s", "-wrapper,sh", "-x", "-B/box", "-B", "-o", "-o/box/y", "-O2 -o",
           "-o2", "-O", "-O2\n", " -O2", "-O2 ", "", "-", "--", "-Wl,-rpath=/x", "-include", "-imacros", "-std=c11 -fplugin=x", ";id", "$(id)",
           "{source}", "{sources}", "-lm/../../x", "-l", "-O\u0662", "--help", "-run", "-v", "-save-temps", "-dumpdir")


def problem(api, **more):
    return api.post("/benchmarks", {"name": "options", "limits": {"time_limit_ms": 10000, "wall_limit_ms": 60000},
                                    "tests": [{"expected_output": "plain\n"}], **more}, expect=201).json["id"]


def submit(api, benchmark, options, source=OPTIMISED, language="c", expect=200, **more):
    return api.post("/submissions?wait=60", {"benchmark_id": benchmark, "agent_id": "ada", "language": language, "source": source,
                                             "compiler_options": options, **more}, expect=expect)


def judged(api, benchmark, options, verdict, **more):
    s = submit(api, benchmark, options, **more).json
    result = api.get(f"/results/{s['id']}").json
    assert s["verdict"] == verdict, (s, result)
    return s, result


def refused(a, *words):
    fault = a.json["errors"][0]
    assert a.status == 400 and fault["pointer"].endswith("/compiler_options"), a
    for word in words:
        assert word in fault["detail"], (word, fault)
    return fault["detail"]


def test_what_is_listed_may_be_asked_for_and_is_recorded(server):
    api = prepared(server, "c", "cpp", "java")
    b = problem(api)
    judged(api, b, [], "WA")
    s, result = judged(api, b, ["-lm", "-O0"], "OK")
    assert s["compiler_options"] == ["-lm", "-O0"], s
    assert result["compiler_options"] == ["-O0", "-lm"], result  # in the order of the language's file
    argv = result["environment"]["build"]["argv"]
    assert "-O0" in argv and argv.index("-O0") > argv.index("-O2"), argv
    assert api.get(f"/submissions/{s['id']}").json["compiler_options"] == ["-lm", "-O0"]
    b = problem(api, tests=[{"expected_output": "201402\n"}])
    judged(api, b, ["-std=c++14"], "OK", source=STANDARD, language="cpp")
    judged(api, b, ["-std=c++17"], "WA", source=STANDARD, language="g++")
    b = problem(api, tests=[{"expected_output": "6\n"}])
    judged(api, b, [], "OK", source=EDITION, language="java")
    _, result = judged(api, b, ["--release=11"], "BF", source=EDITION, language="java")
    assert "records are not supported" in result["build_output"], result


def test_whatever_else_is_refused_and_what_is_allowed_is_named(server):
    api = prepared(server, "c", "python")
    b = problem(api)
    for option in HOSTILE:
        detail = refused(submit(api, b, [option], expect=400))
        assert "-O0 -O1 -O2 -O3" in detail and "-std=c11" in detail, (option, detail)
    assert submit(api, b, ["-O2\0"], expect=400).json["errors"][0]["pointer"] == "/compiler_options/0"
    refused(submit(api, b, ["-O1", "-O2"], expect=400), "-O2 is not taken together with -O1")
    refused(submit(api, b, ["-O1", "-O1"], expect=400), "not taken together")
    refused(submit(api, b, ["-O0"], source="print(1)", language="python", expect=400), "python takes no compiler options")
    a = submit(api, b, ["-O0"] * 17, expect=400)
    assert a.json["errors"][0]["pointer"] == "/compiler_options", a
    assert submit(api, b, "-O0", expect=400).json["errors"][0]["pointer"] == "/compiler_options"
    a = api.post("/submissions", {"benchmark_id": b, "agent_id": "ada", "payload": "x", "compiler_options": ["-O0"]}, expect=400)
    assert a.json["errors"][0]["pointer"] == "/compiler_options", a
    item = {"benchmark_id": b, "agent_id": "ada", "language": "c", "source": OPTIMISED}
    batch = api.post("/submissions/batch", {"items": [{**item, "compiler_options": ["-fplugin=x"]}, {**item, "compiler_options": ["-O1"]}]}).json["items"]
    assert batch[0]["status"] == 400 and batch[0]["error"]["errors"][0]["pointer"] == "/compiler_options", batch
    assert batch[1]["status"] == 202, batch
    task = {"translator": "c", "code": OPTIMISED}
    refused(api.post("/task", {**task, "compiler_options": ["-o"]}, expect=400), "-O0")
    t = api.post("/task", {**task, "compiler_options": ["-O0"]}, expect=201).json["task_id"]
    wait_for("the task", lambda: api.get(f"/status/{t}").json["status"] == "ready", 60)
    assert "plain" in json.dumps(api.get(f"/result/{t}").json)


def test_a_problem_narrows_and_sets_them(server):
    api = prepared(server, "c")
    b = problem(api, compiler_options=[{"language": "gcc", "allowed": ["-O0", "-lm"], "always": ["-std=c11"]}])
    p = api.get(f"/benchmarks/{b}/problems").json["items"][0]["id"]
    assert api.get(f"/problems/{p}").json["compiler_options"] == [{"language": "gcc", "allowed": ["-O0", "-lm"], "always": ["-std=c11"]}]
    detail = refused(submit(api, b, ["-O1"], expect=400), "takes of compiler options only -O0 -lm in this problem")
    assert "-std" not in detail, detail
    refused(submit(api, b, ["-std=c17"], expect=400))
    _, result = judged(api, b, ["-O0", "-std=c11"], "OK")
    assert result["compiler_options"] == ["-O0", "-std=c11"], result
    _, result = judged(api, b, [], "WA")
    assert result["compiler_options"] == ["-std=c11"], result
    api.patch(f"/problems/{p}", {"compiler_options": [{"language": "c", "allowed": [], "always": ["-O0"]}]})
    wait_for("the change", lambda: submit(api, b, ["-lm"], expect=(200, 400)).status == 400, 20)
    refused(submit(api, b, ["-lm"], expect=400), "c takes no compiler options in this problem")
    judged(api, b, [], "OK")
    api.patch(f"/problems/{p}", {"compiler_options": [{"language": "c", "always": ["-O9"]}]})
    s = wait_for("the change", lambda: (lambda s: s if s["verdict"] == "IE" else None)(submit(api, b, []).json), 20)
    assert "-O9" in api.get(f"/results/{s['id']}").json["fault"], s
    api.patch(f"/problems/{p}", {"compiler_options": None})
    wait_for("the change", lambda: submit(api, b, []).json["verdict"] == "WA", 20)
    for bad in ([{"language": "c", "always": ["@x"]}], [{"language": "c", "allowed": ["-I/etc"]}], [{"language": "c"}],
                [{"language": "C!", "allowed": []}], [{"language": "c", "allowed": []}, {"language": "c", "allowed": []}]):
        assert api.call("PATCH", f"/problems/{p}", {"compiler_options": bad}).status == 400, bad


def test_each_choice_is_a_build_of_its_own(server):
    api = prepared(server, "c")
    b = problem(api)
    source = OPTIMISED + "/* kept */\n"
    first = judged(api, b, ["-O0", "-lm"], "OK", source=source)[1]
    # what was built optimised must not answer for what is not
    judged(api, b, [], "WA", source=source)
    wait_for("the build to be kept", lambda: judged(api, b, ["-lm", "-O0"], "OK", source=source)[1]["build_cached"], 30)
    assert not first["build_cached"]


def test_a_rejudged_submission_keeps_its_options(server):
    api = prepared(server, "c")
    b = problem(api)
    s, _ = judged(api, b, ["-O0"], "OK")
    api.post(f"/submissions/{s['id']}/rejudge")
    wait_for("its end", lambda: api.get(f"/submissions/{s['id']}").json["status"] == "done", 60)
    assert api.get(f"/results/{s['id']}").json["compiler_options"] == ["-O0"]
    r = api.post("/rejudgings", {"benchmark_id": b}).json
    wait_for("the set", lambda: api.get(f"/rejudgings/{r['id']}").json["judged"] == 1, 60)
    assert api.get(f"/rejudgings/{r['id']}/changes").json["items"] == []


def test_a_runner_elsewhere_asks_again():
    """A runner has its own files: what a gateway lets pass and they do not list is refused where it would be built."""
    server = test_remote.make_server()
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        server.start()
        admin = server.login()
        admin.post("/agents", {"id": "ada", "name": "Ada"}, expect=201)
        b = problem(admin, compiler_options=[{"language": "c", "always": ["-std=c11"]}])
        narrow = problem(admin, compiler_options=[{"language": "c", "allowed": ["-lm"]}])
        refused(submit(admin, b, ["-O2 -o"], expect=400))
        refused(submit(admin, narrow, ["-O0"], expect=400))
        c = json.loads((harness.ROOT / "languages" / "c.json").read_text())
        folder = server.data.parent / "languages"
        folder.mkdir()
        (folder / "c.json").write_text(json.dumps({**c, "options": {"optimisation": "-O0 -O1", "standard": "-std=c11"}}))
        worker = test_remote.worker(server, admin, "w1", {"ASSAY_LANGUAGES_PATH": str(folder)})
        stack.callback(worker.close)
        worker.start()
        _, result = judged(admin, b, ["-O0"], "OK")
        assert result["compiler_options"] == ["-O0", "-std=c11"] and result["runner"], result
        _, result = judged(admin, b, ["-O2"], "BF")
        assert '"-O2" is not taken: c takes of compiler options only -O0 -O1' in result["build_output"], result


def test_a_fault_in_a_languages_file_stops_the_start():
    base = json.loads((harness.ROOT / "languages" / "c.json").read_text())
    for change, word in (({"options": {"g": "-O0 -I/etc"}}, "-I/etc"), ({"options": {"g": "-O0 -O0"}}, "listed twice"),
                         ({"options": {"g": "-O0", "h": "-O0"}}, "listed twice"), ({"options": {"g": " "}}, "lists none"),
                         ({"build": {**base["build"], "argv": ["{cc}", "{sources}"]}}, "{options}")):
        with fresh(env={}) as server:
            folder = server.data.parent / "languages"
            folder.mkdir()
            (folder / "c.json").write_text(json.dumps({**base, **change}))
            server.env["ASSAY_LANGUAGES_PATH"] = str(folder)
            server.spawn()
            server.process.wait(60)
            log = server.log_path.read_text()
            assert server.process.returncode != 0 and word in log, (change, log)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
