"""The Debian packages in a fresh root: they install, the server starts and judges, an upgrade keeps everything, a purge leaves nothing.

Takes the packages of ASSAY_DEBS, or makes them (packaging/deb) in build/deb.  The root is mmdebstrap's; what runs in it runs in a mount
and process namespace of its own, which ends with it, so nothing stays mounted.  There is no systemd in it: the server is started by hand.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import harness
from harness import FIXTURES, PREFIX, ROOT, Skip, night

NAMES = {"assay-server", "assay-client", "assay-dev", "assay-driver-postgres", "assay-driver-kafka", "assay-driver-amqp", "assay-driver-aws",
         "assay-driver-redis", "assay-driver-docker"}
STATE = {}


def run(*argv, **kw):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, **kw)


def packages():
    """{name: path}; made once."""
    if "debs" not in STATE:
        folder = pathlib.Path(os.environ.get("ASSAY_DEBS", ROOT / "build" / "deb"))
        debs = sorted(folder.glob("assay-*_*.deb"))
        if not debs:
            if not shutil.which("dpkg-buildpackage") or run("dpkg-query", "-W", "debhelper").returncode != 0:
                raise Skip("debhelper is not installed (packaging/install-deps deb)")
            a = run(ROOT / "packaging" / "deb", folder, timeout=3000)
            assert a.returncode == 0, a.stderr[-3000:]
            debs = sorted(folder.glob("assay-*_*.deb"))
        STATE["debs"] = {d.name.split("_")[0]: d for d in debs if "dbgsym" not in d.name}
    return STATE["debs"]


def contents(deb):
    return [line.split(None, 5)[5].removeprefix(".") for line in run("dpkg-deb", "-c", deb).stdout.splitlines()]


def test_each_plugin_that_is_installed_has_a_package_and_the_manual_pages_name_every_option():
    """By day, from the sources and the staged install alone."""
    listed = re.findall(r"plugins/assay_(\w+)\.so", "".join(f.read_text() for f in (ROOT / "packaging" / "debian").glob("*.install")))
    installed = sorted(p.stem.removeprefix("assay_") for p in (PREFIX / "lib" / "assay" / "plugins").glob("assay_*.so"))
    assert sorted(listed) == installed, set(listed) ^ set(installed)
    pages = {}
    for page in ("assayd.8", "assayd.conf.5"):
        a = run(ROOT / "packaging" / "man" / "assayd-man", PREFIX / "bin" / "assayd", page)
        assert a.returncode == 0, a.stderr
        pages[page] = a.stdout.replace("\\-", "-")
        a = subprocess.run(["groff", "-man", "-Tascii", "-ww", "-z"], input=a.stdout, capture_output=True, text=True) if shutil.which("groff") else a
        assert not a.stderr, a.stderr
    a = run(PREFIX / "bin" / "assayd", "--help")
    options = re.findall(r"^  --([a-z0-9-]+)", a.stdout.split("Options of core:")[1], re.M)
    assert len(options) > 100
    missing = [o for o in options if not re.search(rf"^\.B {o.replace('-', '_')} =", pages["assayd.conf.5"], re.M)]
    assert not missing, missing
    commands = re.findall(r"^  (\S+?)[=\[ ]", a.stdout.split("Commands:")[1].split("Options of core:")[0] , re.M)
    assert not [c for c in commands if c not in pages["assayd.8"]], commands
    a = run(sys.executable, ROOT / "packaging" / "sbom", PREFIX)
    bill = json.loads(a.stdout)
    names = {p["name"] for p in bill["packages"]}
    assert {"assay", "libsqlite3-0", "libjansson4", "libcurl4", "libsodium23", "libevent-2.1-7"} <= names, names
    assert all(p["licenseDeclared"] != "NOASSERTION" for p in bill["packages"] if p["name"] in ("libcurl4", "libsodium23")), "licences are read"
    refs = {p["SPDXID"] for p in bill["packages"]} | {f["SPDXID"] for f in bill["files"]} | {"SPDXRef-DOCUMENT"}
    assert all(r["spdxElementId"] in refs and r["relatedSpdxElement"] in refs for r in bill["relationships"])
    extracted = {x["licenseId"] for x in bill["hasExtractedLicensingInfos"]}
    assert {r for p in bill["packages"] for r in re.findall(r"LicenseRef-[\w.-]+", p["licenseDeclared"])} == extracted


@night
def test_each_part_is_in_its_package():
    debs = packages()
    assert set(debs) == NAMES, set(debs) ^ NAMES
    files = {n: contents(d) for n, d in debs.items()}
    plugins = {n: sorted(re.findall(r"/plugins/assay_(\w+)\.so", "\n".join(f))) for n, f in files.items()}
    assert plugins["assay-driver-postgres"] == ["store_postgres"] and plugins["assay-driver-aws"] == ["blob_s3", "broker_sqs"], plugins
    assert "store_sqlite" in plugins["assay-server"] and "webhooks" in plugins["assay-server"] and not plugins["assay-client"], plugins
    every = [p for n in plugins.values() for p in n]
    built = sorted(re.findall(r"/(?:plugins|services)/\w+/assay_(\w+)\.la", (ROOT / "build" / "gcc" / "Makefile").read_text())) if (
        ROOT / "build" / "gcc" / "Makefile").exists() else every
    assert len(every) == len(set(every)) and set(built) <= set(every) | {"hello"}, set(built) - set(every)
    server = files["assay-server"]
    for path in ("/usr/bin/assayd", "/usr/libexec/assay/assay-warden", "/etc/assay/assay.ini", "/usr/share/man/man8/assayd.8.gz",
                 "/usr/share/man/man5/assayd.conf.5.gz", "/usr/share/assay/sbom.spdx.json"):
        assert path in server, path
    assert any(f.endswith("/systemd/system/assayd.socket") for f in server) and any(f.endswith("/systemd/system/assayd.service") for f in server)
    assert "/usr/bin/assay" in files["assay-client"] and "/usr/share/man/man1/assay.1.gz" in files["assay-client"]
    assert "/usr/include/assay/plugin.h" in files["assay-dev"]


@night
def test_lintian_finds_no_error():
    if not shutil.which("lintian"):
        raise Skip("lintian is not installed (packaging/install-deps deb)")
    a = run("lintian", "--no-tag-display-limit", "--allow-root", "--fail-on", "error", *packages().values(), timeout=600)
    errors = [line for line in a.stdout.splitlines() if line.startswith("E:")]
    assert a.returncode == 0 and not errors, "\n".join(errors) or a.stderr


def root():
    if "root" in STATE:
        return STATE["root"]
    if os.geteuid() != 0:
        raise Skip("only root makes a root")
    if not shutil.which("mmdebstrap"):
        raise Skip("mmdebstrap is not installed (packaging/install-deps images)")
    release = re.search(r"^VERSION_CODENAME=(\w+)", pathlib.Path("/etc/os-release").read_text(), re.M).group(1)
    place = pathlib.Path(tempfile.mkdtemp(prefix="assay-deb-", dir="/var/tmp"))
    place.chmod(0o755)
    STATE["place"] = place
    target = place / "root"
    sources = [p for p in ("/etc/apt/sources.list", *map(str, pathlib.Path("/etc/apt/sources.list.d").glob("*"))) if os.path.isfile(p)]
    # in a mount namespace of its own: what it mounts in there goes with it, also when it is killed
    a = run("unshare", "--mount", "--propagation", "private", "mmdebstrap", "--mode=root", "--variant=minbase", "--include=ca-certificates,adduser,gcc,libc6-dev,python3-minimal,procps,man-db", release, target,
            *[p for p in sources if not p.endswith((".bak", ".save"))], timeout=900)
    assert a.returncode == 0, a.stderr[-2000:]
    for conf in pathlib.Path("/etc/apt/apt.conf.d").glob("*proxy*"):
        shutil.copy(conf, target / "etc/apt/apt.conf.d")
    (target / "debs").mkdir()
    for deb in packages().values():
        shutil.copy(deb, target / "debs")
    shutil.copytree(FIXTURES / "demo", target / "demo")
    STATE["root"] = target
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
exec /bin/sh -ec "$2"
"""


def inside(script, timeout=900):
    """Runs a script in the root, with namespaces of its own for mounts and processes."""
    a = run("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-c", ENTER, "sh", root(),
            "export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive HOME=/root LC_ALL=C.UTF-8\n" + script, timeout=timeout,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})  # the ASSAY_* of the tests are no options of the server
    assert a.returncode == 0, f"{script}\n{a.stdout[-2500:]}\n{a.stderr[-2500:]}"
    return a.stdout


# what a person types; without systemd the service is a background process
SERVE = r"""
serve() {
  APP_ENV=production ASSAY_ADMIN_PASSWORD=an-admin-password-for-tests ASSAY_WARM=false ASSAY_REQUIRE=${REQUIRE:-namespaces,seccomp} assayd >> /var/log/assayd.log 2>&1 &
  server=$!
  export ASSAY_URL=http://127.0.0.1:8080
  for i in $(seq 300); do assay status > /dev/null 2>&1 && break; kill -0 $server || { cat /var/log/assayd.log; exit 1; }; sleep 0.2; done
  assay status
  printf 'an-admin-password-for-tests\n' | assay login admin
}
finish() { kill -TERM $server; wait $server; }
"""


@night
def test_packages_install_start_and_judge():
    out = inside(SERVE + r"""
apt-get update -qq
apt-get install -y -qq --no-install-recommends /debs/*.deb > /tmp/install.log 2>&1 || { cat /tmp/install.log; exit 1; }
id assay
stat -c '%U %a' /var/lib/assay /etc/default/assay
assayd --version
man -w assayd.conf
serve
assay benchmarks create -f /demo/benchmark.json
assay agents create ada --name Ada
assay submit -b sum-integers -a ada --wait /demo/programs/right.c
assay submit -b sum-integers -a ada --wait /demo/programs/right.py
assay submit -b sum-integers -a ada --wait /demo/programs/wrong.c || test $? = 1
assay leaderboard sum-integers
ps -o user= -C assayd | sort | uniq -c
finish
assayd --dump-config=json > /tmp/config.json
grep -q store_postgres /tmp/config.json || assayd --dump-config | grep -q store_timeout
""")
    assert out.count("OK") >= 2 and "WA" in out and "Ada" in out, out
    assert "assay 750" in out and "root 600" in out and re.search(r"\d+ assay\b", out), out


@night
def test_an_upgrade_keeps_what_was_there():
    target = root()
    newer = STATE["place"] / "newer"
    newer.mkdir()
    for name, deb in packages().items():
        tree = newer / name
        assert run("dpkg-deb", "-R", deb, tree).returncode == 0
        control = (tree / "DEBIAN/control").read_text()
        version = re.search(r"^Version: (.*)$", control, re.M).group(1)
        (tree / "DEBIAN/control").write_text(control.replace(version, version + "+next"))
        assert run("dpkg-deb", "--root-owner-group", "-b", tree, newer / f"{name}.deb").returncode == 0
    (target / "newer").mkdir()
    for deb in newer.glob("*.deb"):
        shutil.copy(deb, target / "newer")
    out = inside(SERVE + r"""
echo '; changed by the operator' >> /etc/assay/assay.ini
apt-get install -y -qq --no-install-recommends /newer/*.deb > /tmp/upgrade.log 2>&1 || { cat /tmp/upgrade.log; exit 1; }
dpkg-query -W -f '${Package} ${Version}\n' 'assay-*'
tail -1 /etc/assay/assay.ini
serve
assay leaderboard sum-integers
assay submissions -b sum-integers
assay submit -b sum-integers -a ada --wait /demo/programs/right.c
finish
""")
    assert out.count("+next") == len(NAMES) and "; changed by the operator" in out, out
    assert "Ada" in out and "WA" in out and out.count("OK") >= 3, out


@night
def test_removing_keeps_the_data_and_a_purge_leaves_nothing():
    out = inside(r"""
apt-get remove -y -qq 'assay-*' > /tmp/remove.log 2>&1 || { cat /tmp/remove.log; exit 1; }
test -f /var/lib/assay/assay.db && test -f /etc/assay/assay.ini && echo kept
apt-get purge -y -qq 'assay-*' > /tmp/purge.log 2>&1 || { cat /tmp/purge.log; exit 1; }
dpkg-query -W 'assay-*' 2> /dev/null | grep -v '^$' || echo none
getent passwd assay || echo nobody
find / -xdev -path /proc -prune -o -path /sys -prune -o -path /debs -prune -o -path /newer -prune -o -path /demo -prune -o -path /root -prune -o -path /tmp -prune -o -iname '*assay*' ! -path '/var/log/*' -print
echo end
""")
    assert out.splitlines() == ["kept", "none", "nobody", "end"], out


if __name__ == "__main__":
    try:
        harness.main(sys.modules[__name__])
    finally:
        if "place" in STATE and f"{STATE['place']}/" not in pathlib.Path("/proc/mounts").read_text():
            shutil.rmtree(STATE["place"], ignore_errors=True)
