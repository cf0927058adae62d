"""What the tests of the Debian packages share: the packages, a higher version of them, and fresh roots to install them in.

The packages are those of ASSAY_DEBS, or are made (packaging/deb) in build/deb.  Roots are mmdebstrap's, of the release that this machine
has, under /var/tmp; what runs in one runs in a mount and process namespace of its own, which ends with it, so nothing stays mounted.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from harness import ROOT, Skip  # noqa: E402

NAMES = {"assay-server", "assay-client", "assay-dev", "assay-driver-postgres", "assay-driver-kafka", "assay-driver-amqp", "assay-driver-aws",
         "assay-driver-redis", "assay-driver-docker"}
# a server as an administrator finds it, but for documentation; neither compilers nor what Assay depends on
BASE = "systemd,systemd-sysv,procps"
LEAN = ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright"]
STATE = {}


def run(*argv, **kw):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, **kw)


def folder():
    """Where the packages lie, made once."""
    if "folder" not in STATE:
        given = os.environ.get("ASSAY_DEBS")
        place = pathlib.Path(given or ROOT / "build" / "deb")
        if not given:
            if not shutil.which("dpkg-buildpackage") or run("dpkg-query", "-W", "debhelper").returncode != 0:
                raise Skip("debhelper is not installed (packaging/install-deps deb)")
            a = run(ROOT / "packaging" / "deb", place, timeout=3000)
            assert a.returncode == 0, a.stderr[-3000:]
        STATE["folder"] = place
    return STATE["folder"]


def packages():
    """{name: path}"""
    return {d.name.split("_")[0]: d for d in sorted(folder().glob("assay-*_*.deb")) if "dbgsym" not in d.name}


def place():
    if "place" not in STATE:
        STATE["place"] = pathlib.Path(tempfile.mkdtemp(prefix="assay-deb-", dir="/var/tmp"))
        STATE["place"].chmod(0o755)
    return STATE["place"]


def newer():
    """The folder of the same packages in a higher version."""
    out = place() / "newer"
    if not out.exists():
        out.mkdir()
        for name, deb in packages().items():
            tree = place() / "tree"
            assert run("dpkg-deb", "-R", deb, tree).returncode == 0
            control = (tree / "DEBIAN/control").read_text()
            version = re.search(r"^Version: (.*)$", control, re.M).group(1)
            (tree / "DEBIAN/control").write_text(control.replace(version, version + "+next"))
            assert run("dpkg-deb", "--root-owner-group", "-b", tree, out / f"{name}.deb").returncode == 0
            shutil.rmtree(tree)
    return out


def base():
    """A fresh root that nothing is done in: others are copies of it."""
    target = place() / "base"
    if target.exists():
        return target
    if os.geteuid() != 0:
        raise Skip("only root makes a root")
    if not shutil.which("mmdebstrap"):
        raise Skip("mmdebstrap is not installed (packaging/install-deps deb)")
    release = re.search(r"^VERSION_CODENAME=(\w+)", pathlib.Path("/etc/os-release").read_text(), re.M).group(1)
    sources = [p for p in ("/etc/apt/sources.list", *map(str, sorted(pathlib.Path("/etc/apt/sources.list.d").glob("*")))) if p.endswith((".list", ".sources"))]
    # in a mount namespace of its own: what it mounts in there goes with it, also when it is killed
    a = run("unshare", "--mount", "--propagation", "private", "mmdebstrap", "--mode=root", "--variant=minbase", f"--include={BASE}", *LEAN, release, target,
            *[p for p in sources if os.path.isfile(p)], timeout=1800)
    assert a.returncode == 0, a.stderr[-2000:]
    for conf in pathlib.Path("/etc/apt/apt.conf.d").glob("*proxy*"):
        shutil.copy(conf, target / "etc/apt/apt.conf.d")
    return target


def root(name):
    """A copy of the fresh root, with the packages in /debs and their higher version in /newer."""
    target = place() / name
    if not target.exists():
        assert run("cp", "-a", "--reflink=auto", base(), target).returncode == 0
        shutil.copytree(newer(), target / "newer")
        (target / "debs").mkdir()
        for deb in packages().values():
            shutil.copy(deb, target / "debs")
    return target


ENTER = r"""
set -e
cd "$1"
mount --bind . .
cd "$1"
mount -t proc proc proc
mount --rbind /sys sys
mkdir -p old
pivot_root . old
umount -l /old
exec /bin/bash -ec "$2"
"""


def inside(target, script, timeout=1800):
    """Runs a script in a root, with namespaces of its own for mounts and processes."""
    a = run("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-c", ENTER, "sh", target,
            "export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive HOME=/root LC_ALL=C.UTF-8\n" + script, timeout=timeout,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})  # the ASSAY_* of the tests are no options of the server
    assert a.returncode == 0, f"{script}\n{a.stdout[-2500:]}\n{a.stderr[-2500:]}"
    return a.stdout


def close():
    if "place" in STATE and f"{STATE['place']}/" not in pathlib.Path("/proc/mounts").read_text() and not os.environ.get("ASSAY_KEEP"):
        shutil.rmtree(STATE["place"], ignore_errors=True)
