#!/usr/bin/env python3
"""The image builder: locks and their form, two builds of one lock, what it says when it cannot, the import into
Docker. The smallest image serves; all of them are built by night.

Locks for the builds are made here, in a temporary folder, of what the mirror has today: a distribution's update
must not turn these tests red. Of the committed locks only the form is looked at.
"""

import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import harness  # noqa: E402

ROOT = harness.ROOT
DEFINITIONS = ROOT / "packaging" / "images"
TOOL = DEFINITIONS / "assay-images"
NAME = "run"


def images(*argv, env=None, user=None, umask=None):
    """Runs the builder; its exit status and all that it printed."""
    argv = [str(a) for a in (TOOL, *argv)]
    if user is not None:
        argv = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *argv]
    p = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False,
                       preexec_fn=(lambda: os.umask(umask)) if umask is not None else None)
    return p.returncode, p.stdout + p.stderr


class Place:
    """A folder of definitions with a fresh lock, an output folder and a cache; one for all tests of this file."""

    one = None

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="assay-images-", dir="/var/tmp"))
        self.dir.chmod(0o755)
        self.definitions, self.output = self.dir / "definitions", self.dir / "output"
        self.definitions.mkdir()
        shutil.copy(DEFINITIONS / f"{NAME}.image", self.definitions)
        self.rc, self.said = images("--no-docker", "--definitions", self.definitions, "--output", self.output, "--relock", NAME)

    @classmethod
    def get(cls):
        if not shutil.which("apt-get"):
            raise harness.Skip("images are built from Debian packages, and there is no apt here")
        if cls.one is None:
            cls.one = Place()
        if cls.one.rc != 0 and "do not answer" in cls.one.said:
            raise harness.Skip("this machine's apt sources do not answer: " + cls.one.said.splitlines()[-1])
        assert cls.one.rc == 0, cls.one.said
        return cls.one

    def fresh(self):
        """A copy of the definitions and their lock, and an output folder that is not there yet."""
        base = pathlib.Path(tempfile.mkdtemp(dir=self.dir))
        base.chmod(0o755)
        shutil.copytree(self.definitions, base / "definitions")
        return base / "definitions", base / "output", base / "definitions" / f"{NAME}.lock"

    def digest(self):
        return json.loads((self.output / f"{NAME}.json").read_text())["digest"]

    def build(self, definitions, output, *more, cache=True, **how):
        where = ["--cache", self.output / "packages"] if cache else []
        return images("--no-docker", "--definitions", definitions, "--output", output, *where, *more, NAME, **how)


class LocalMirror:
    """An apt archive in a folder, in the name of a distribution, with packages made here."""

    def __init__(self, place, origin=None):
        release = dict(l.split("=", 1) for l in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in l)
        self.dir = pathlib.Path(tempfile.mkdtemp(dir=place.dir))
        self.dir.chmod(0o755)
        self.codename = release["VERSION_CODENAME"].strip('"')
        self.origin = origin or {"debian": "Debian", "ubuntu": "Ubuntu"}[release["ID"].strip('"')]
        self.arch = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
        self.line = f"deb [trusted=yes] file:{self.dir} {self.codename} main\n"

    def publish(self, **versions):
        """The archive has these packages and no others."""
        binary = self.dir / "dists" / self.codename / "main" / f"binary-{self.arch}"
        binary.mkdir(parents=True, exist_ok=True)
        stanzas = ""
        for name, version in versions.items():
            tree = self.dir / "tree"
            (tree / "DEBIAN").mkdir(parents=True)
            (tree / "usr/lib").mkdir(parents=True)
            (tree / "usr/lib" / name).write_text(f"{version} by {self.origin}\n")
            control = (f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: tests <t@example.org>\nInstalled-Size: 1\n"
                       "Description: a test\n")
            (tree / "DEBIAN/control").write_text(control)
            deb = self.dir / f"{name}_{version.replace(':', '%3a')}_all.deb"
            subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, deb], check=True, stdout=subprocess.DEVNULL)
            shutil.rmtree(tree)
            data = deb.read_bytes()
            stanzas += f"{control}Filename: {deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n\n"
        (binary / "Packages").write_text(stanzas)
        listed = f"main/binary-{self.arch}/Packages"
        (self.dir / "dists" / self.codename / "Release").write_text(
            f"Origin: {self.origin}\nCodename: {self.codename}\nDate: Mon, 01 Jan 2024 00:00:00 UTC\nArchitectures: {self.arch}\n"
            "Components: main\n"
            f"SHA256:\n {hashlib.sha256(stanzas.encode()).hexdigest()} {len(stanzas)} {listed}\n")


def small_image(place, *mirrors, more=""):
    """A definition of one package, and arguments that build it from these archives."""
    base = pathlib.Path(tempfile.mkdtemp(dir=place.dir))
    (base / "definitions").mkdir()
    (base / "definitions" / "tiny.image").write_text("title a test\nkind bare\npackages tiny\n")
    (base / "x.list").write_text("".join(m.line for m in mirrors) + more)
    where = ["--no-docker", "--definitions", base / "definitions", "--output", base / "output", "--sources", base / "x.list", "tiny"]
    return base / "output" / "tiny" / "usr/lib/tiny", where


def change(lock, pattern, replacement, count=1):
    text, n = re.subn(pattern, replacement, lock.read_text(), count=count, flags=re.MULTILINE)
    assert n > 0, pattern
    lock.write_text(text)


def nowhere(place):
    """apt sources that nobody answers for."""
    path = place.dir / "nowhere.list"
    path.write_text(f"deb [trusted=yes] http://127.0.0.1:{harness.free_port()}/debian bookworm main\n")
    return path


def leftovers(output):
    return sorted(p.name for p in output.iterdir() if p.name not in (".lock", "packages", "trees")) if output.exists() else []


# ---- locks -----------------------------------------------------------------------------------------


def test_each_committed_definition_has_a_lock_of_its_form():
    rc, said = images("--check")
    assert rc == 0, said
    room = (DEFINITIONS / "room.mk").read_text()
    names = sorted(p.stem for p in DEFINITIONS.glob("*.image"))
    assert {"run", "java-run", "python", "gcc", "go", "java", "languages"} <= set(names), names
    for name in names:
        text = (DEFINITIONS / f"{name}.lock").read_text()
        assert f"==> {name}: " in said, said
        assert f"packaging/images/{name}.image" in room and f"packaging/images/{name}.lock" in room, name
        assert "/" not in text, f"{name}.lock names a place"
        assert text.isascii() and text.endswith("\n"), name


def test_what_is_no_lock_is_refused_by_its_line():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="assay-images-"))
    try:
        for p in (f"{NAME}.image", f"{NAME}.lock"):
            shutil.copy(DEFINITIONS / p, folder)
        lock, good = folder / f"{NAME}.lock", (DEFINITIONS / f"{NAME}.lock").read_text()
        package = next(l for l in good.splitlines() if l.startswith("package "))
        for what, text, status, expected in (
            ("empty", "", 1, "first line"),
            ("another version", good.replace("assay-image-lock 1", "assay-image-lock 9"), 1, "first line"),
            ("cut off before the packages", good[: good.index("package ")], 1, "packages missing"),
            ("without its epoch", re.sub(r"^epoch .*\n", "", good, flags=re.M), 1, "epoch missing"),
            ("cut off within a line", good[:-30], 1, f"{NAME}.lock:"),
            ("a package twice", good + package + "\n", 1, "twice"),
            ("a short hash", good.replace(package, package[:-12]), 1, f"{NAME}.lock:"),
            ("an address", good + "package http://x 1 amd64 " + "0" * 64 + " 1\n", 1, "http"),
            ("not text", "\udcff", 1, "decode"),
            ("of another definition", good.replace("wanted ", "wanted nano "), 3, "--relock"),
            ("of another version of the builder", re.sub(r"^recipe .*", "recipe 0123456789ab", good, flags=re.M), 3, "another version"),
            ("of another image", good.replace(f"image {NAME}", "image gcc"), 3, "--relock"),
        ):
            lock.write_bytes(text.encode(errors="surrogateescape"))
            rc, said = images("--check", "--definitions", folder)
            assert rc == status and expected in said and "Traceback" not in said, f"{what}: {rc} {said}"
        lock.unlink()
        rc, said = images("--check", "--definitions", folder)
        assert rc == 3 and f"--relock {NAME}" in said, said
    finally:
        shutil.rmtree(folder)


def test_wrong_use_says_what_there_is():
    for argv, expected in ((["no-such-image"], "languages"), (["--definitions", "/var/empty"], "--definitions"),
                           (["--no-such-option"], "usage")):
        rc, said = images(*argv)
        assert rc == 2 and expected in said, (argv, rc, said)


# ---- builds ----------------------------------------------------------------------------------------


def test_two_builds_of_one_lock_agree():
    place = Place.get()
    definitions, output, _ = place.fresh()
    rc, said = place.build(definitions, output, "--sources", nowhere(place), umask=0o077,
                           env={"TZ": "Asia/Tokyo", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1"})
    assert rc == 0, said
    first, second = place.output / f"{NAME}.tar", output / f"{NAME}.tar"
    assert first.stat().st_ino != second.stat().st_ino
    sums = [hashlib.sha256(p.read_bytes()).hexdigest() for p in (first, second)]
    assert sums[0] == sums[1] and place.digest() == "sha256:" + sums[0], sums
    assert f"digest sha256:{sums[0]}" in (definitions / f"{NAME}.lock").read_text()


def test_the_layer_holds_what_a_program_needs_and_no_trace_of_its_build():
    place = Place.get()
    epoch = int(re.search(r"^epoch (\d+)$", (place.definitions / f"{NAME}.lock").read_text(), re.M)[1])
    with tarfile.open(place.output / f"{NAME}.tar") as tar:
        members = tar.getmembers()
    names = [m.name for m in members]
    assert [m for m in members if m.mtime > epoch] == []
    assert [m.name for m in members if m.uid or m.gid or m.uname or m.gname] == []
    assert [m.name for m in members if m.mode & 0o6000] == []
    assert [m.name for m in members if m.isdev()] == []
    for wanted in ("./etc/passwd", "./tmp", "./proc", "./lib64", "./usr/lib64/ld-linux-x86-64.so.2"):
        assert wanted in names or "x86-64" in wanted and os.uname().machine != "x86_64", f"{wanted} is missing"
    for unwanted in ("./etc/apt", "./etc/resolv.conf", "./etc/hostname", "./var/lib/apt", "./usr/share/man", "./usr/bin/sh"):
        assert unwanted not in names, f"{unwanted} is there"
    assert any(n.endswith("/copyright") for n in names), "licences are missing"
    tree = place.output / NAME
    assert tree.is_symlink() and (tree / "usr/lib").is_dir() and (tree / "tmp").stat().st_mode & 0o7777 == 0o1777


def test_an_ordinary_user_builds_the_same_layer():
    place = Place.get()
    if os.geteuid() != 0:
        raise harness.Skip("the other tests ran as an ordinary user already")
    definitions, output, _ = place.fresh()
    output.mkdir()
    os.chown(output, 65534, 65534)
    rc, said = place.build(definitions, output, user=65534, env={"HOME": str(output)})
    assert rc == 0, said
    assert json.loads((output / f"{NAME}.json").read_text())["digest"] == place.digest()


def test_what_is_up_to_date_is_not_built_again():
    place = Place.get()
    before = (place.output / f"{NAME}.tar").stat().st_ino
    tree = (place.output / NAME).resolve()
    digest = tree.with_name(tree.name + ".digest")
    digest.unlink()  # as an image has none that an earlier version built
    rc, said = place.build(place.definitions, place.output)
    assert rc == 0 and "up to date" in said and (place.output / f"{NAME}.tar").stat().st_ino == before, said
    assert digest.read_text() == place.digest() + "\n"


def test_two_at_once_take_turns():
    place = Place.get()
    definitions, output, _ = place.fresh()
    argv = [TOOL, "--no-docker", "--definitions", definitions, "--output", output, "--cache", place.output / "packages", NAME]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [p.communicate()[0] for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    assert sum("building from" in s for s in said) == 1 and sum("up to date" in s for s in said) == 1, said


def test_an_older_directory_stays_until_it_is_pruned():
    place = Place.get()
    definitions, output, lock = place.fresh()
    rc, said = place.build(definitions, output)
    assert rc == 0, said
    old = (output / NAME).resolve()
    (definitions / f"{NAME}.image").write_text("title less\nkind bare\npackages libc6\n")
    rc, said = place.build(definitions, output)
    assert rc == 3 and "--relock" in said and "libstdc++6" in said, said
    rc, said = place.build(definitions, output, "--relock")
    assert rc == 0, said
    new = (output / NAME).resolve()
    assert new != old and old.is_dir() and not list(new.glob("usr/lib/*/libstdc++*")), said
    rc, said = place.build(definitions, output, "--prune")
    assert rc == 0 and new.is_dir() and not old.exists(), said


# ---- what goes wrong -------------------------------------------------------------------------------


def test_a_mirror_that_has_moved_on_is_named_with_the_packages():
    place = Place.get()
    definitions, output, lock = place.fresh()
    change(lock, r"^package libc6 \S+ (.*) [0-9a-f]{64}", r"package libc6 2.0-1 \1 " + "aa" * 32)
    change(lock, r"^package libgcc-s1 (.*) [0-9a-f]{64}", r"package libgcc-s1 \1 " + "bb" * 32)
    change(lock, r"^package gcc-[0-9]+-base (.*) [0-9a-f]{64}", r"package nobody-has-this \1 " + "cc" * 32)
    rc, said = place.build(definitions, output)
    assert rc == 3 and f"--relock {NAME}" in said, said
    assert "libc6 2.0-1 (now " in said and "(no longer there)" in said and "nobody-has-this" in said, said
    assert re.search(r"libgcc-s1 \S+ \(now \S+ with another content\)", said), said
    assert "libstdc++6" not in said and "no longer has 3:" in said and leftovers(output) == [], said


def test_only_the_distributions_own_packages_count():
    place = Place.get()
    own, other = LocalMirror(place), LocalMirror(place, origin="Somebody")
    own.publish(tiny="1.0")
    other.publish(tiny="2.0")
    file, where = small_image(place, own, other)
    rc, said = images(*where, "--relock")
    assert rc == 0 and file.read_text() == f"1.0 by {own.origin}\n", said
    own.publish(tiny="1.1")
    rc, said = images(*where, "--force", "--cache", place.dir / "empty")
    assert rc == 3 and "tiny 1.0 (now 1.1)" in said and "Not all" not in said, said


def test_no_lock_is_made_while_a_source_is_silent():
    place = Place.get()
    own = LocalMirror(place)
    own.publish(tiny="1.0")
    file, where = small_image(place, own, more=nowhere(place).read_text())
    rc, said = images(*where, "--relock")
    assert rc == 1 and "could lack updates" in said and "127.0.0.1" in said and not file.exists(), said
    own.publish(tiny="1:1.0")
    file, where = small_image(place, own)
    rc, said = images(*where, "--relock")
    assert rc == 0 and "package tiny 1:1.0 all " in (file.parents[4] / "definitions" / "tiny.lock").read_text(), said


def test_a_damaged_package_in_the_cache_is_not_used():
    place = Place.get()
    definitions, output, lock = place.fresh()
    cache = output.parent / "cache"
    shutil.copytree(place.output / "packages", cache)
    sha = re.search(r"^package libc6 .* ([0-9a-f]{64}) ", lock.read_text(), re.M)[1]
    with open(cache / f"{sha}.deb", "r+b") as f:
        f.seek(4000)
        f.write(b"damage")
    rc, said = images("--no-docker", "--definitions", definitions, "--output", output, "--cache", cache, "--sources", nowhere(place), NAME)
    assert rc == 1 and "do not answer" in said and leftovers(output) == [], said
    rc, said = images("--no-docker", "--definitions", definitions, "--output", output, "--cache", cache, NAME)
    assert rc == 0 and "downloading 1 of" in said and place.digest() in said, said


def test_a_mirror_that_does_not_answer_is_said():
    place = Place.get()
    definitions, output, _ = place.fresh()
    rc, said = place.build(definitions, output, "--sources", nowhere(place), cache=False)
    assert rc == 1 and "Check the network" in said and "127.0.0.1" in said and leftovers(output) == [], said


def test_a_layer_that_is_not_the_recorded_one_is_not_taken():
    place = Place.get()
    definitions, output, lock = place.fresh()
    change(lock, r"^epoch \d+", "epoch 1500000000")
    rc, said = place.build(definitions, output)
    assert rc == 4 and "--relock" in said and leftovers(output) == [], said


def test_a_full_disk_is_said_and_leaves_the_old_image():
    place = Place.get()
    if os.geteuid() != 0:
        raise harness.Skip("only root can mount a small disk")
    definitions, output, _ = place.fresh()
    output.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", output], check=False).returncode != 0:
        raise harness.Skip("no tmpfs can be mounted here")
    try:
        rc, said = place.build(definitions, output)
        assert rc == 1 and "Make room" in said and leftovers(output) == [], said
    finally:
        subprocess.run(["umount", output], check=True)


def test_an_interrupted_build_leaves_nothing_half_made():
    place = Place.get()
    for number, status in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 128 + signal.SIGINT), (signal.SIGKILL, -signal.SIGKILL)):
        definitions, output, _ = place.fresh()
        argv = [TOOL, "--no-docker", "--definitions", definitions, "--output", output, "--cache", place.output / "packages", NAME]
        for _ in range(20):
            shutil.rmtree(output, ignore_errors=True)
            p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            while p.poll() is None and not (output / ".work" / NAME / "bare").exists():
                time.sleep(0.002)
            p.send_signal(number)
            said = p.communicate()[0]
            if p.returncode != 0:
                break  # else it was quicker than we
        assert p.returncode == status, (number, p.returncode, said)
        kept = leftovers(output)
        assert kept == ([".work"] if number == signal.SIGKILL else []), (number, kept, said)
        rc, said = place.build(definitions, output)
        assert rc == 0 and place.digest() in said, said
        assert leftovers(output) == [NAME, f"{NAME}.json", f"{NAME}.tar"], leftovers(output)


# ---- Docker ----------------------------------------------------------------------------------------


class FakeEngine:
    """Answers /_ping, knows no image, and gives `answer` (bytes, or None to hang up) to the load."""

    def __init__(self, place, answer):
        self.path = str(pathlib.Path(tempfile.mkdtemp(dir=place.dir)) / "d.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.answer = answer
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    got = connection.recv(65536)
                    if not got:
                        break
                    head += got
                if head.startswith(b"GET /_ping"):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
                elif head.startswith(b"GET "):
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")
                elif self.answer is not None:
                    tail = head[-5:]
                    while tail != b"0\r\n\r\n":
                        got = connection.recv(1 << 20)
                        if not got:
                            break
                        tail = (tail + got)[-5:]
                    connection.sendall(self.answer)


def test_an_engine_that_refuses_is_quoted():
    place = Place.get()
    error = b'{"errorDetail":{"message":"write: no space left on device"},"error":"write: no space left on device"}\n'
    for answer, expected in (
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 19\r\n\r\n{\"message\":\"broken\"}", "broken"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(error), error), "no space left on device"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "and not sha256:"),
        (b"nonsense\r\n\r\n", "broke off"),
        (None, "broke off"),
    ):
        engine = FakeEngine(place, answer)
        rc, said = images("--docker", "--definitions", place.definitions, "--output", place.output, NAME,
                          env={"DOCKER_HOST": f"unix://{engine.path}"})
        engine.listener.close()
        assert rc == 1 and expected in said and "Traceback" not in said, f"{answer}: {rc} {said}"


def test_no_engine_matters_only_when_one_is_demanded():
    place = Place.get()
    where = ["--definitions", place.definitions, "--output", place.output, NAME]
    env = {"DOCKER_HOST": f"unix://{place.dir}/nobody.sock"}
    rc, said = images(*where, env=env)
    assert rc == 0 and "nothing is imported" in said, said
    rc, said = images("--docker", *where, env=env)
    assert rc == 1 and "no Docker Engine answers" in said, said
    rc, said = images(*where, env={"DOCKER_HOST": "ssh://somewhere"})
    assert rc == 2 and "docker import" in said, said


class Dockerd:
    """A Docker Engine of our own, with nothing in it."""

    def __init__(self, place):
        if os.geteuid() != 0 or not shutil.which("dockerd"):
            raise harness.Skip("needs root and dockerd (Debian package docker.io)")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ai-", dir="/tmp"))
        self.socket = self.dir / "d.sock"
        self.log = open(self.dir / "log", "wb")
        self.process = subprocess.Popen(
            ["dockerd", "--data-root", self.dir / "data", "--exec-root", self.dir / "exec", "--pidfile", self.dir / "pid", "-H",
             f"unix://{self.socket}", "--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"],
            stdout=self.log, stderr=self.log, start_new_session=True)

    def __enter__(self):
        try:
            harness.wait_for("dockerd", lambda: self.process.poll() is not None or self.get("/_ping")[0] == 200, timeout=60)
        except BaseException:
            self.__exit__()
            raise
        if self.process.poll() is not None:
            why = (self.dir / "log").read_text(errors="replace").splitlines()[-1:]
            self.__exit__()
            raise harness.Skip(f"dockerd does not start here: {why}")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.log.close()
        for mount in reversed([l.split()[1] for l in open("/proc/mounts", encoding="utf-8") if l.split()[1].startswith(str(self.dir))]):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def get(self, path):
        connection = http.client.HTTPConnection("localhost", timeout=30)
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(self.socket))
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()


def test_docker_gets_the_image_under_the_layers_digest():
    place = Place.get()
    with Dockerd(place) as docker:
        where = ["--docker", "--definitions", place.definitions, "--output", place.output, NAME]
        env = {"DOCKER_HOST": f"unix://{docker.socket}"}
        rc, said = images(*where, env=env)
        assert rc == 0 and f"imported into Docker as assay/{NAME}:latest" in said, said
        status, body = docker.get(f"/images/assay/{NAME}:latest/json")
        image = json.loads(body)
        assert status == 200 and image["RootFS"]["Layers"] == [place.digest()], body
        assert image["Os"] == "linux" and any(e.startswith("PATH=/") for e in image["Config"]["Env"]), body
        rc, said = images(*where, env=env)
        assert rc == 0 and "already in Docker" in said, said


# ---- by night --------------------------------------------------------------------------------------

SAMPLES = {
    "gcc": "printf 'int main(void){return 0;}' >/tmp/a.c && gcc -O2 -static -o /tmp/a /tmp/a.c && /tmp/a && "
           "printf '#include <bits/stdc++.h>\\nint main(){std::cout<<6;}' >/tmp/b.cpp && "
           "g++ -O2 -static -o /tmp/b /tmp/b.cpp && test $(/tmp/b) = 6",
    "python": "test $(python3 -c 'import json, decimal, ssl, sqlite3; print(sum([1, 2, 3]))') = 6",
    "go": "cd /tmp && printf 'package main\\nimport \"fmt\"\\nfunc main() { fmt.Print(6) }' >main.go && "
          "GO111MODULE=off CGO_ENABLED=0 GOCACHE=/tmp/c GOPATH=/tmp/g go build -o m main.go && test $(./m) = 6",
    "java": "cd /tmp && printf 'class Main { public static void main(String[] a) { System.out.print(6); } }' >Main.java && "
            "javac Main.java && test $(java -cp . Main) = 6",
    "java-run": "java -version",
    "perl": "test $(perl -e 'use List::Util \"sum\"; use POSIX; print sum 1, 2, 3') = 6",
    "node": "test $(node -p 1+2+3) = 6",
    "bash": "test $(bash -c 'echo $((1+2+3))') = 6",
}


@harness.night
def test_every_image_builds_and_its_languages_work():
    if os.geteuid() != 0:
        raise harness.Skip("only root can enter an image by chroot")
    helper = ROOT / "tests" / "images" / "rootfs.sh"
    # In a mount namespace of its own, over a copy-free view of the image: tmp, and an etc that holds as little as a box's.
    script = """
      mount --bind "$1" "$1" && cd "$1"
      cp etc/ld.so.cache "$2"
      mount -t tmpfs tmpfs tmp && mount -t proc proc proc && mount -t tmpfs tmpfs dev && mount -t tmpfs tmpfs etc
      mknod -m 666 dev/null c 1 3
      cp "$2/ld.so.cache" etc/
      exec chroot . /bin/sh -ec "$3"
    """
    for name, samples in (("run", []), ("java-run", ["java-run"]), ("python", ["python"]), ("gcc", ["gcc"]), ("go", ["go"]),
                          ("java", ["java"]), ("languages", [s for s in SAMPLES if s != "java-run"])):
        p = subprocess.run([helper, name], capture_output=True, text=True, check=False)
        assert p.returncode == 0 and "the layer is" not in p.stderr, p.stderr  # a lock that has aged is no fault, another layer is
        tree = pathlib.Path(p.stdout.strip()).resolve()
        with tempfile.TemporaryDirectory(prefix="assay-images-") as scratch:
            for sample in samples:
                r = subprocess.run(["unshare", "-m", "--propagation=private", "sh", "-ec", script, "-", tree, scratch, SAMPLES[sample]],
                                   capture_output=True, text=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, check=False)
                assert r.returncode == 0, f"{name}, {sample}: {r.returncode} {r.stdout}{r.stderr}"


@harness.night
def test_two_builds_of_the_large_image_agree():
    if os.geteuid() != 0:
        raise harness.Skip("root builds the image of all languages")
    place = Place.get()
    shutil.copy(DEFINITIONS / "languages.image", place.definitions)
    digests = []
    for extra in (["--relock"], ["--force"]):
        rc, said = images("--no-docker", "--no-directory", "--definitions", place.definitions, "--output", place.output, *extra,
                          "languages")
        assert rc == 0, said
        digests.append(json.loads((place.output / "languages.json").read_text())["digest"])
    assert digests[0] == digests[1], digests


if __name__ == "__main__":
    try:
        harness.main(sys.modules[__name__])
    finally:
        if Place.one is not None:
            shutil.rmtree(Place.one.dir, ignore_errors=True)
