"""As an ordinary user, without root and without a cgroup of its own: the same verdicts; results say what is less precise."""

import os
import pathlib
import shutil
import subprocess
import sys

import harness
from harness import FIXTURES, PREFIX, Server, Skip, program, wait_for

UID = 41999  # of nobody on the machine


def wrap():
    if os.getuid() != 0:
        return []  # it is an ordinary user already
    if shutil.which("setpriv") is None:
        raise Skip("setpriv is not installed (util-linux)")
    return ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all", "--no-new-privs"]


def need():
    """Skips, naming what is missing."""
    unshare = shutil.which("unshare")
    if unshare is None:
        raise Skip("unshare is not installed (util-linux)")
    tried = subprocess.run([*wrap(), unshare, "--user", "--map-root-user", "--mount", "--pid", "--fork", "true"],
                           capture_output=True, cwd="/")
    if tried.returncode != 0:
        raise Skip(f"an ordinary user gets no user namespace here: {tried.stderr.decode(errors='replace').strip()[:150]}")
    seen = subprocess.run([*wrap(), "test", "-x", str(PREFIX / "bin" / "assayd")], capture_output=True, cwd="/")
    if seen.returncode != 0:
        raise Skip(f"an ordinary user cannot read the install under {PREFIX}")


def ordinary():
    server = Server(wrap=wrap(), env={"HOME": "/nonexistent"})
    server.data.mkdir()
    if os.getuid() == 0:
        os.chown(server.data, UID, UID)
    return server


def make_server():
    need()
    return ordinary()


def demo(language):
    for line in (FIXTURES / "demo" / "submissions.tsv").read_text().splitlines():
        if not line.startswith("#") and line.split("\t")[1] == language:
            yield line.split("\t")[2:]


def test_no_process_of_it_is_roots(server):
    pids = [server.process.pid, *server.children().values()]
    assert len(pids) == 3, pids
    for pid in pids:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert set(fields["Uid"].split()) == {str(UID if os.getuid() == 0 else os.getuid())}, status
        assert int(fields["CapEff"], 16) == 0, status


def test_c_and_python_get_the_same_verdicts(server):
    admin = server.login()
    server.demo(admin)
    wrong = []
    for language in ("c", "python"):
        sent = []
        for file, verdict in demo(language):
            a = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": language,
                                            "source": program(file)}, expect=202)
            sent.append((a.json["id"], file, verdict))
        for sid, file, verdict in sent:
            s = server.wait_done(admin, sid, timeout=120)
            if s["verdict"] != verdict:
                wrong.append(f"{file}: want {verdict}, got {s['status']} {s['verdict']}: "
                             f"{admin.get(f'/results/{sid}', expect=(200, 404)).body.decode()[:800]}")
    assert not wrong, "\n".join(wrong)


def test_java_and_go_live_in_its_boxes(server):
    admin = server.login()
    for language, file in (("java", "right.java"), ("go", "right.go"), ("java", "hungry.java"), ("go", "hungry.go")):
        known = wait_for("the self-test", lambda: [i for i in admin.get("/languages").json["items"]
                                                   if i["name"] == language and i["state"] != "testing"], 60)[0]
        if not known["offered"]:
            continue
        s = admin.post("/submissions?wait=60", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": language,
                                                "source": program(file)}, expect=200).json
        assert s["verdict"] == ("OK" if "right" in file else "ML"), (file, admin.get(f"/results/{s['id']}").body)


def test_results_and_the_runner_say_what_is_less_precise(server):
    admin = server.login()
    features = admin.get("/runners").json["items"][0]["features"]
    assert features["user_namespace"] and not features["started_as_root"], features
    results = [r for r in admin.get("/results?limit=100").json["items"] if r["verdict"] != "BF"]
    assert results
    for r in results:
        box = r["sandbox"]
        # with a delegated cgroup all is exact; without one a child may hide time, memory and processes, and that is said
        assert (box["cpu_exact"], box["memory_exact"]) == (features["cpu_accounting"], features["memory_limit"]), (r, features)
    doctor = subprocess.run([*wrap(), str(PREFIX / "bin" / "assayd"), "--doctor"], capture_output=True, cwd="/", timeout=60,
                            env={**server.env, "ASSAY_DATA_DIR": str(server.data)})
    text = doctor.stdout.decode() + doctor.stderr.decode()
    if not features["memory_limit"]:
        assert "cgroup" in text and "ordinary user" in text, text


def test_a_child_that_hides_is_stopped_all_the_same(server):
    admin = server.login()
    hidden = "#include <signal.h>\n#include <unistd.h>\nint main(void)\n{\n    signal(SIGCHLD, SIG_IGN);\n" \
             "    if (fork() == 0) { if (fork() == 0) for (;;) ; _exit(0); }\n    for (;;) pause();\n}\n"
    s = admin.post("/submissions?wait=60", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": hidden},
                   expect=200).json
    assert s["verdict"] == "TL", admin.get(f"/results/{s['id']}").body
    left = [p for p in pathlib.Path("/proc").glob("[0-9]*/stat") if comm(p) == "main" and owner(p) == UID]
    assert not left, left


def comm(stat):
    try:
        return stat.read_text().split("(", 1)[1].rsplit(")", 1)[0]
    except OSError:
        return None


def owner(stat):
    try:
        return stat.stat().st_uid
    except OSError:
        return None


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
