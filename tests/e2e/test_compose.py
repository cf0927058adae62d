"""packaging/compose.yaml: every profile is understood, keeps the house's rules, and gives the server what it takes; and the profile
embedded runs on a private engine, with an image of the staged install instead of one built from the Dockerfile.

docker-compose 1.29 stands in for Compose 2, which Debian 12 does not have; images that others make are not pulled.
"""

import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.parse

import engine
import harness
from harness import PREFIX, ROOT, wait_for

COMPOSE = ROOT / "packaging" / "compose.yaml"
DEV = ROOT / "packaging" / "compose" / "dev.env"
PROFILES = {"embedded": {"assay"}, "single-runner": {"kafka", "runner"}, "multi-runner": {"kafka", "runner"}, "load-generator": {"load-generator"},
            "full": {"gateway", "runner", "kafka", "postgres", "rabbitmq", "redis", "s3", "prometheus", "grafana"}}
DRIVERS = {"KAFKA_": "broker_kafka", "AMQP_": "broker_amqp", "REDIS_": "session_redis", "AWS_": "blob_s3"}  # whose options they are
OURS = ("assay", "runner", "gateway", "load-generator")


def compose(*args, env_file=DEV, check=True, timeout=300, **env):
    if shutil.which("docker-compose") is None:
        raise harness.Skip("there is no docker-compose here (packaging/install-deps test)")
    p = subprocess.run(["docker-compose", "--env-file", str(env_file), "-f", str(COMPOSE), *args], capture_output=True, text=True, timeout=timeout,
                       env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COMPOSE_PROJECT_NAME": "assay-test", **env})
    assert not check or p.returncode == 0, (args, p.returncode, p.stdout[-2000:], p.stderr[-3000:])
    return p


@functools.cache
def services():
    """All of them, as docker-compose reads the file: with every value put in."""
    out = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin.read())))"  # of the system's Python, as docker-compose
    text = compose("config").stdout
    return json.loads(subprocess.run(["/usr/bin/python3", "-c", out], input=text, capture_output=True, text=True, check=True).stdout)["services"]


def test_every_profile_has_its_services():
    for profile, expected in PROFILES.items():
        compose("--profile", profile, "config", "--quiet")
        assert {n for n, s in services().items() if profile in s["profiles"]} == expected, profile


def test_every_service_is_bounded_and_none_is_privileged():
    everything = services()
    for name, s in everything.items():
        assert not s.get("privileged") and "docker.sock" not in str(s.get("volumes")), name
        assert s.get("cpus") and s.get("mem_limit") and s.get("pids_limit"), f"{name} has no limits"
        assert s.get("healthcheck"), f"{name} has no health check"
        assert name in OURS or s["security_opt"] == ["no-new-privileges:true"], name
        assert ":" in s["image"] and (name in OURS or not s["image"].endswith(":latest")), s["image"]
        assert all(str(p).startswith("127.0.0.1:") or p.get("published") for p in s.get("ports", [])), name
    for name in OURS:
        s = everything[name]
        assert s["read_only"] is True and s["cap_drop"] == ["ALL"], name
    for service, mounts in ((n, s.get("volumes", [])) for n, s in everything.items()):
        for m in mounts:
            m = str(m)
            assert not m.startswith("/") or m.split(":")[0] in ("/sys/fs/cgroup", "/var/lib/assay") or "packaging/compose/" in m or "packaging/monitoring/" in m, (service, m)


def test_no_secret_has_a_default():
    text = COMPOSE.read_text()
    secrets = {"ASSAY_ADMIN_PASSWORD", "JWT_SIGNING_SECRET", "POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "REDIS_PASSWORD", "S3_PASSWORD", "GRAFANA_PASSWORD"}
    used = set(re.findall(r"\$\{(\w+):\?\}", text)) - {"APP_ENV"}
    assert used == secrets, used ^ secrets
    assert not re.search(r"\$\{\w*(PASSWORD|SECRET)\w*:?-", text)
    example = (ROOT / "packaging" / "compose" / "env.example").read_text()
    assert secrets == set(re.findall(r"^(\w+)=$", example, re.M)), "each is asked for, and none is filled in"
    p = compose("--profile", "embedded", "config", env_file=ROOT / "packaging" / "compose" / "env.example", check=False)
    assert p.returncode != 0 and "ASSAY_ADMIN_PASSWORD" in p.stderr, p.stderr
    assert re.findall(r"^(\w+)=.+$", DEV.read_text(), re.M) == ["APP_ENV", *re.findall(r"^(\w+)=.+$", DEV.read_text(), re.M)[1:]]
    assert "APP_ENV=development" in DEV.read_text() and secrets <= set(re.findall(r"^(\w+)=.+$", DEV.read_text(), re.M))


def test_the_server_takes_what_each_service_gives_it():
    for name in ("assay", "runner", "gateway"):
        s = services()[name]
        p = subprocess.run([str(PREFIX / "bin" / "assayd"), "--dump-config", *s.get("command", [])], capture_output=True, text=True, timeout=60,
                           env={"PATH": "/usr/bin:/bin", **{k: str(v) or "a=b" for k, v in s["environment"].items()}})  # (what is empty is not set)
        assert p.returncode == 0, (name, p.stderr)
        for key in set(s["environment"]) - {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}:  # (which the drivers read themselves)
            # each is some option's, and not passed over
            driver = next((d for prefix, d in DRIVERS.items() if key.startswith(prefix)), None)
            if driver and not (PREFIX / "lib" / "assay" / "plugins" / f"assay_{driver}.so").exists():
                print(f"# {key} is not tried: {driver} is not built here")
                continue
            assert re.search(rf"; {key}$", p.stdout, re.M), (name, key)


def test_telemetry_goes_where_the_env_file_says():
    text = compose("config", OTEL_EXPORTER_OTLP_ENDPOINT="http://collector.example:4318", OTEL_TRACES_SAMPLER_ARG="0.25").stdout
    assert text.count("collector.example:4318") == 3 and text.count("OTEL_TRACES_SAMPLER_ARG: '0.25'") == 3, "the gateway, the runner, all in one"


def test_the_load_generator_is_understood():
    s = services()["load-generator"]
    assert s["entrypoint"] == ["assay", "simulate"]
    words = [w for w in s["command"] if not w.startswith(("--log", "--csv", "--plot", "--via"))]
    p = subprocess.run([str(PREFIX / "bin" / "assay"), "simulate", *words, "--list"], capture_output=True, text=True, timeout=60)
    assert p.returncode == 0 and "java ol" in p.stdout, p.stderr


def image_of_the_install(e):
    """As the Dockerfile's, but of the staged install and this machine's Python: no language but that, and no registry."""
    prefix = PREFIX.resolve()
    tar = e.tmp / "compose.tar"
    engine.make_image(tar, runs=prefix)
    with tarfile.open(tar, "a") as t:
        t.add(prefix, arcname=str(prefix).lstrip("/"), filter=lambda i: None if i.name.endswith((".a", ".h")) else i)
        for program in ("assayd", "assay"):
            link = tarfile.TarInfo(f"usr/bin/{program}")
            link.type, link.linkname = tarfile.SYMTYPE, f"{prefix}/bin/{program}"
            t.addfile(link)
    change = "".join("&changes=" + urllib.parse.quote(c) for c in (
        'ENTRYPOINT ["assayd"]', "ENV ASSAY_DATA_DIR=/var/lib/assay ASSAY_HTTP_ADDRESS=0.0.0.0 HTTP_PORT=8080", "VOLUME /var/lib/assay",
        f"ENV ASSAY_PLUGIN_PATH={prefix}/lib/assay/plugins ASSAY_SHARE_DIR={prefix}/share/assay ASSAY_LIBEXEC_DIR={prefix}/libexec/assay"))
    # (the prefix may have been configured as a/../b)
    status, text = e.call("POST", f"/images/create?fromSrc=-&repo=assay-test/assay&tag=1{change}", open(tar, "rb"), "application/x-tar")
    assert status == 200 and b"errorDetail" not in text, (status, text)
    return "assay-test/assay:1"


@contextlib.contextmanager
def up(e, *profiles, **env):
    flags = [w for p in profiles for w in ("--profile", p)]
    env = {"DOCKER_HOST": e.host, **env}
    try:
        compose(*flags, "up", "-d", "--no-build", **env)
        yield flags, env
    except BaseException:
        for line in compose(*flags, "logs", "--no-color", check=False, **env).stdout.splitlines()[-40:]:
            print("#", re.sub(r"[^\x20-\x7e]", "?", line)[:300], flush=True)
        raise
    finally:
        compose(*flags, "down", "-v", "-t", "30", check=False, **env)


def test_the_embedded_profile_judges():
    compose("version")
    e = engine.Engine()
    try:
        port = harness.free_port()
        with up(e, "embedded", ASSAY_IMAGE=image_of_the_install(e), HTTP_PORT=str(port), RUNNER_MAX_PARALLEL="2", ASSAY_CPUS="2",
                LOAD_VIA="http", LOAD_SECONDS="1", LOAD_LANGUAGES="python") as (flags, env):
            def health():
                ids = [c["Id"] for c in e.containers()]
                states = [json.loads(e.call("GET", f"/containers/{i}/json")[1]) for i in ids]
                assert not any(s["RestartCount"] for s in states), "it ended"
                assert not any(s["HostConfig"]["Privileged"] for s in states)
                return ids and all(s["State"]["Health"]["Status"] == "healthy" for s in states)
            wait_for("a healthy container", health, 180, every=0.5)
            p = compose("--profile", "load-generator", "run", "--rm", "-T", "load-generator", "--via=http", "--languages=python", "-n", "1",
                        "--json", check=False, timeout=600, **env)
            summary = json.loads(p.stdout[p.stdout.index("{"):])
            assert p.returncode == 0 and summary["all"]["judged"] == 7 and summary["differences"] == 0, (p.stdout, p.stderr)
            a = harness.Api(port).call("GET", "/readyz")
            assert a.status == 200, a
    finally:
        e.stop()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
