"""assay support-bundle: what it holds of a real server, and that no secret that was planted anywhere comes along."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness
from harness import ADMIN_PASSWORD, PREFIX, ROOT, Server, program

ASSAY = str(PREFIX / "bin" / "assay")
PLANTED = {  # options and variables that hold secrets, with what must not be seen of them
    "JWT_SIGNING_SECRET": ("planted-signing-secret-0123456789abcdef", "planted-signing"),
    "OTEL_EXPORTER_OTLP_HEADERS": ("authorization=Bearer%20planted-collector-key", "planted-collector"),
    "REDIS_URL": ("redis://assay:planted-redis-password@127.0.0.1:1/0", "planted-redis"),
    "AMQP_URL": ("amqp://assay:planted-amqp-password@127.0.0.1:1/", "planted-amqp"),
    "AWS_ACCESS_KEY_ID": ("AKIAPLANTEDPLANTED1", "AKIAPLANTED"),
    "AWS_SECRET_ACCESS_KEY": ("planted/aws+secret", "planted/aws"),
    "DB_PASSWORD": ("planted-db-password", "planted-db"),
    "DATABASE_URL": ("", "planted-dsn"),
}


def make_server():
    return Server(env={k: v for k, (v, _) in PLANTED.items() if v})


def unpacked(path):
    """{name without the folder: text} of a bundle."""
    with tarfile.open(path) as t:
        members = t.getmembers()
        assert all(m.isfile() and m.mode == 0o600 and ".." not in m.name for m in members), members
        assert len({m.name.split("/")[0] for m in members}) == 1
        return {m.name.split("/", 1)[1]: t.extractfile(m).read().decode() for m in members}


def bundle(server, *args, home, expect=0, **env):
    out = home / f"bundle-{time.monotonic_ns()}.tar.gz"
    e = {**server.env, "HOME": str(home), "ASSAY_URL": f"http://127.0.0.1:{server.port}", "LC_ALL": "C.UTF-8", **env}
    e.pop("ASSAY_WARM", None)
    p = subprocess.run([ASSAY, "support-bundle", "-o", str(out), *args], capture_output=True, text=True, env=e, timeout=180)
    assert p.returncode == expect, (p.returncode, p.stdout, p.stderr)
    return out, p


def home(server):
    d = server.tmp / "home"
    d.mkdir(exist_ok=True)
    return d


def test_a_bundle_has_all_parts_and_no_secret(server):
    admin = server.login()
    server.demo(admin)
    s = admin.post("/submissions", {"benchmark_id": "sum-integers", "agent_id": "ada", "language": "c", "source": program("right.c")}).json
    server.wait_done(admin, s["id"])
    agent_token = admin.post("/agents/ada/tokens", {"scopes": ["submissions:write"]}, expect=201).json["token"]
    # the log as it is, and what a careless line could hold
    log = server.tmp / "seen.log"
    log.write_text(server.log_text() + f'{{"event":"x","authorization":"Bearer {admin.token}","note":"{agent_token}"}}\n'
                   f"password={ADMIN_PASSWORD} dsn=postgresql://u:planted-dsn-password@db/x\n")
    h = home(server)
    signed_in = subprocess.run([ASSAY, "login", "admin"], env={"PATH": os.environ["PATH"], "HOME": str(h), "ASSAY_URL": f"http://127.0.0.1:{server.port}",
                                                              "ASSAY_PASSWORD": ADMIN_PASSWORD}, capture_output=True, text=True)
    assert signed_in.returncode == 0, signed_in
    kept = "".join(p.read_text() for p in h.rglob("*") if p.is_file())
    path, p = bundle(server, "--log", str(log), home=h)
    assert path.stat().st_mode & 0o777 == 0o600 and "without" not in p.stdout, p.stdout
    parts = unpacked(path)
    manifest = json.loads(parts["manifest.json"])
    assert {r["file"] for r in manifest["parts"] if r["there"]} | {"manifest.json"} == set(parts)
    assert '"ready":true' in parts["server/readyz.json"].replace(" ", "") and "assay_runner_verdicts_total" in parts["server/metrics.txt"]
    assert '"c"' in parts["server/languages.json"] and "slots" in parts["server/runners.json"]
    assert parts["assayd/version.txt"].startswith("assayd ") and "sandbox" in parts["assayd/doctor.txt"] and "http_port" in parts["assayd/config.txt"]
    assert s["id"] in parts["log.txt"] and "submission_judged" in parts["log.txt"] and "Linux" in parts["machine.txt"]
    everything = "\n".join(parts.values())
    assert "[hidden]" in parts["log.txt"]
    for name, (_, seen) in PLANTED.items():
        assert seen not in everything, f"{name} is in the bundle"
    for what, secret in (("the admin's password", ADMIN_PASSWORD), ("the token of this test", admin.token), ("an agent's token", agent_token)):
        assert secret not in everything, f"{what} is in the bundle"
    tokens = [t for t in json.loads(kept).values() if isinstance(t, str) and len(t) > 20 and "://" not in t] if kept.startswith("{") else []
    assert tokens and not any(t in everything for t in tokens), "the client's own token is in the bundle"


def test_what_cannot_be_had_is_left_out_and_said_and_nothing_is_overwritten(server):
    h = server.tmp / "nobody"
    h.mkdir(exist_ok=True)
    path, p = bundle(server, "--log", str(h / "no.log"), "--assayd", str(h / "no-assayd"), home=h)
    assert "without server/runners.json" in p.stdout and "without log.txt" in p.stdout and "without assayd/doctor.txt" in p.stdout, p.stdout
    parts = unpacked(path)
    why = {r["file"]: r["why"] for r in json.loads(parts["manifest.json"])["parts"] if not r["there"]}
    assert "sign in" in why["server/runners.json"] and "No such file" in why["log.txt"] and set(why) & set(parts) == set()
    e = {"PATH": os.environ["PATH"], "HOME": str(h)}
    again = subprocess.run([ASSAY, "support-bundle", "-o", str(path)], capture_output=True, text=True, env=e)
    assert again.returncode == 9 and "File exists" in again.stderr, again
    assert unpacked(path) == parts
    assert subprocess.run([ASSAY, "support-bundle", "--lines", "many"], capture_output=True, text=True, env=e).returncode == 2


def test_a_server_that_is_down_still_has_a_bundle():
    server = make_server()
    try:
        (server.tmp / "config.ini").write_text("storage_dsn = postgresql://assay:planted-dsn-in-a-file@127.0.0.1:1/assay\n")
        (server.tmp / "some.log").write_text("\n".join(f"line {i} planted-dsn-in-a-file" for i in range(100)) + "\n")
        path, p = bundle(server, "--log", str(server.tmp / "some.log"), "--lines", "10", "--config", str(server.tmp / "config.ini"), home=server.tmp)
        parts = unpacked(path)
        assert "does not answer" in p.stdout and "server/readyz.json" not in parts
        assert parts["log.txt"].splitlines() == [f"line {i} [hidden]" for i in range(90, 100)]
        assert "storage_dsn" in parts["assayd/config.txt"] and not any("planted-" in t for t in parts.values())
    finally:
        server.close()


def secret_settings(server):
    """Each option whose row says that it is a secret, of the core and of every plugin that is installed."""
    said = subprocess.run([str(PREFIX / "bin" / "assayd"), "--dump-config=json"], env=server.env, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    return [row["name"] for row in json.loads(said.stdout) if row["secret"]]


def read_from_the_environment():
    """Variables that the sources read by name, where the name says that a secret is in them: credentials are no options."""
    names = set()
    for place in ("gateway", "plugins", "services", "boxkeeper", "cli"):
        for f in (ROOT / place).rglob("*.c"):
            names |= set(re.findall(r'\w*env\("([A-Z][A-Z0-9_]+)"', f.read_text()))
    return sorted(n for n in names if re.search("PASS|SECRET|TOKEN|ACCESS_KEY", n) and not n.endswith("_FILE"))


def test_no_secret_of_any_setting_is_in_a_bundle_wherever_it_was_set_and_however_it_was_logged():
    server = make_server()
    try:
        options = secret_settings(server)
        assert len(options) >= 12 and {"jwt_signing_secret", "storage_dsn", "smtp_password", "otel_exporter_otlp_traces_headers"} <= set(options), options
        variables = read_from_the_environment()
        assert {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} <= set(variables), variables
        planted, env, file, log = {}, {}, [], []

        def plant(name, where):
            mark = f"Planted{len(planted):03}x{name.replace('_', '').lower()[:12]}"
            planted[name, where] = mark
            if re.search("_dsn$|_url$", name.lower()):
                return mark, f"postgresql://someone:{mark}@127.0.0.1:1/x"
            if name.lower().endswith("_headers"):
                return mark, f"authorization=Bearer%20{mark}"
            return mark, mark
        for name in options:
            mark, value = plant(name, "environment")
            env[f"ASSAY_{name.upper()}"] = value
            log += [f"a line with {mark} in it", json.dumps({"event": "x", "note": f"it was {value}, they say"})]
            mark, value = plant(name, "file")
            file.append(f"{name} = {value}")
            log.append(f"another with {mark}.")
        for name in variables:
            mark, env[name] = plant(name, "environment")
            log.append(f"level=warn event=y text=<{mark}>")
        (server.tmp / "config.ini").write_text("\n".join(file) + "\n")
        (server.tmp / "some.log").write_text("\n".join(log) + "\n")
        path, _ = bundle(server, "--log", str(server.tmp / "some.log"), "--config", str(server.tmp / "config.ini"), home=server.tmp, **env)
        parts = unpacked(path)
        assert len(parts["log.txt"].splitlines()) == len(log) and "jwt_signing_secret" in parts["assayd/config.txt"], sorted(parts)
        whole = "\n".join([path.name, *parts, *parts.values()]) + path.read_bytes().decode("latin-1")
        seen = [f"{name} of the {where}" for (name, where), mark in planted.items() if mark in whole]
        assert not seen, f"in the bundle: {seen}"
    finally:
        server.close()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
