"""The Debian packages: what is in which, lintian; and by night in a fresh root: they install as documented, the server starts and judges, an
upgrade keeps everything, a purge leaves nothing.

There is no systemd in the root that could start anything: the server is started as the unit starts it, its socket handed over.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import debs
import harness
from debs import NAMES, folder, packages, run
from harness import FIXTURES, PREFIX, ROOT, Skip, night


def contents(deb):
    return [line.split(None, 5)[5].removeprefix(".") for line in run("dpkg-deb", "-c", deb).stdout.splitlines()]


def test_each_plugin_that_is_installed_has_a_package_and_the_manual_pages_name_every_option():
    """From the sources and the staged install alone."""
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


def test_each_part_is_in_its_package():
    made = packages()
    assert set(made) == NAMES, set(made) ^ NAMES
    files = {n: contents(d) for n, d in made.items()}
    plugins = {n: sorted(re.findall(r"/plugins/assay_(\w+)\.so", "\n".join(f))) for n, f in files.items()}
    assert plugins["assay-driver-postgres"] == ["store_postgres"] and plugins["assay-driver-aws"] == ["blob_s3", "broker_sqs"], plugins
    assert "store_sqlite" in plugins["assay-server"] and "webhooks" in plugins["assay-server"] and not plugins["assay-client"], plugins
    every = [p for n in plugins.values() for p in n]
    built = sorted(re.findall(r"/(?:plugins|services)/\w+/assay_(\w+)\.la", (ROOT / "build" / "gcc" / "Makefile").read_text())) if (
        ROOT / "build" / "gcc" / "Makefile").exists() else every
    assert len(every) == len(set(every)) and set(built) <= set(every) | {"hello"}, set(built) - set(every)
    server = files["assay-server"]
    for path in ("/usr/bin/assayd", "/usr/libexec/assay/assay-warden", "/etc/assay/assay.ini", "/usr/share/man/man8/assayd.8.gz",
                 "/usr/libexec/assay/assay-imgfilter",
                 "/usr/share/man/man5/assayd.conf.5.gz", "/usr/share/assay/sbom.spdx.json", "/usr/share/assay/processors/image.json"):
        assert path in server, path
    assert any(f.endswith("/systemd/system/assayd.socket") for f in server) and any(f.endswith("/systemd/system/assayd.service") for f in server)
    assert "/usr/bin/assay" in files["assay-client"] and "/usr/share/man/man1/assay.1.gz" in files["assay-client"]
    assert "/usr/include/assay/plugin.h" in files["assay-dev"]


def test_lintian_finds_no_error():
    if not shutil.which("lintian"):
        raise Skip("lintian is not installed (packaging/install-deps deb)")
    a = run("lintian", "--no-tag-display-limit", "--allow-root", "--fail-on", "error", *packages().values(), timeout=600)
    errors = [line for line in a.stdout.splitlines() if line.startswith("E:")]
    assert a.returncode == 0 and not errors, "\n".join(errors) or a.stderr


# as the unit starts it: its environment, its capabilities, its socket
SERVE = r"""
unit=/lib/systemd/system/assayd.service
serve() {
  test -f $unit || unit=/usr$unit
  env=$(sed -n 's/^Environment=/-E /p' $unit; grep -hv '^#' /etc/default/assay | grep = | sed 's/^/-E /')
  caps=$(sed -n 's/^CapabilityBoundingSet=//p' $unit | sed 's/CAP_/+/g; s/ /,/g' | tr A-Z a-z)
  install -d -o root -g root -m 0755 /run
  systemd-socket-activate -l "$(sed -n 's/^ListenStream=//p' ${unit%service}socket)" $env setpriv --bounding-set=-all,$caps --no-new-privs \
    $(sed -n 's/^ExecStart=//p' $unit) >> /var/log/assayd.log 2>&1 &
  server=$!
  for i in $(seq 600); do assay status > /dev/null 2>&1 && break; kill -0 $server || { cat /var/log/assayd.log; exit 1; }; sleep 0.2; done
  assay status
  [ -n "$PASSWORD" ] || PASSWORD=$(sed -n 's/.*with the password \([^ ]*\) .*/\1/p' /var/log/assayd.log)
  ASSAY_PASSWORD=$PASSWORD assay login admin
}
finish() { kill -TERM $server; wait $server; echo "ended with $?"; }
judge() {
  id=$(assay submit -b sum-integers -a ada --id-only /demo/programs/$1)
  assay watch $id > /dev/null || true
  echo "$1: $(assay results --verdict-only $id || true)"
}
"""


def fresh():
    target = debs.root("root")
    if not (target / "demo").exists():
        shutil.copytree(FIXTURES / "demo", target / "demo")
        benchmark = json.loads((FIXTURES / "demo" / "benchmark.json").read_text())
        benchmark["limits"].update(time_limit_ms=10000, wall_limit_ms=20000)  # a busy machine keeps these too
        (target / "demo" / "benchmark.json").write_text(json.dumps(benchmark))
    return target


def inside(script):
    return debs.inside(fresh(), script)


@night
def test_packages_install_as_documented_start_and_judge():
    out = inside(SERVE + r"""
apt-get update -qq
apt-get install -y -qq /debs/assay-server_*.deb /debs/assay-client_*.deb > /tmp/install.log 2>&1 || { cat /tmp/install.log; exit 1; }
id assay
stat -c '%U %a' /var/lib/assay /etc/default/assay
assayd --version
ls /usr/share/man/man5/assayd.conf.5.gz
ls -l /etc/systemd/system/*.wants/ | grep -c assayd
serve
echo "$PASSWORD" > /root/password
assay benchmarks create -f /demo/benchmark.json
assay agents create ada --name Ada
for p in right.c wrong.c crashing.c hungry.c uncompilable.c right.py wrong.py; do judge $p; done
assay leaderboard sum-integers
ps -eo user=,args= | grep -E '^assay .*role=server'
python3 -c 'import urllib.request; print(urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8080/", headers={"Accept": "text/html"})).read()[:300])'
assay submit -b sum-integers -a ada --id-only /demo/programs/sleeping.c > /root/in-flight
finish
""")
    wanted = {"right.c": "OK", "wrong.c": "WA", "crashing.c": "RE", "hungry.c": "ML", "uncompilable.c": "BF", "right.py": "OK", "wrong.py": "WA"}
    for program, verdict in wanted.items():
        assert f"\n{program}: {verdict}\n" in out, out
    assert "Ada" in out and "ended with 0" in out and "<html" in out.lower(), out
    assert "assay 750" in out and "root 600" in out and re.search(r"^assay .*role=server", out, re.M) and re.search(r"^2$", out, re.M), out


@night
def test_drivers_and_further_languages():
    out = inside(SERVE + r"""
PASSWORD=$(cat /root/password)
apt-get install -y -qq --no-install-recommends /debs/assay-d*.deb g++ golang-go default-jdk-headless > /tmp/install.log 2>&1 || { cat /tmp/install.log; exit 1; }
assayd --dump-config | grep -cE '^(store_pg|kafka|amqp|aws|redis|docker)' || true
serve
for p in right.cpp right.go right.java; do judge $p; done
finish
""")
    for program in ("right.cpp", "right.go", "right.java"):
        assert f"{program}: OK\n" in out, out


@night
def test_an_upgrade_keeps_what_was_there():
    out = inside(SERVE + r"""
PASSWORD=$(cat /root/password)
echo '; changed by the operator' >> /etc/assay/assay.ini
echo 'ASSAY_WARM=false' >> /etc/default/assay
apt-get install -y -qq --no-install-recommends /newer/*.deb > /tmp/upgrade.log 2>&1 || { cat /tmp/upgrade.log; exit 1; }
dpkg-query -W -f '${Package} ${Version}\n' 'assay-*'
tail -qn 1 /etc/assay/assay.ini /etc/default/assay
stat -c '%U %a' /var/lib/assay /etc/default/assay
serve
assay leaderboard sum-integers
assay watch $(cat /root/in-flight) > /dev/null || true
echo "in flight: $(assay results --verdict-only $(cat /root/in-flight) || true)"
judge right.c
finish
""")
    assert out.count("+next") == len(NAMES) and "; changed by the operator" in out and "ASSAY_WARM=false" in out, out
    assert "assay 750" in out and "root 600" in out and "Ada" in out and "in flight: TL" in out and "right.c: OK" in out, out


@night
def test_removing_keeps_the_data_and_a_purge_leaves_nothing():
    out = inside(r"""
apt-get remove -y -qq 'assay-*' > /tmp/remove.log 2>&1 || { cat /tmp/remove.log; exit 1; }
test -f /var/lib/assay/assay.db && test -f /etc/assay/assay.ini && echo kept
apt-get purge -y -qq 'assay-*' > /tmp/purge.log 2>&1 || { cat /tmp/purge.log; exit 1; }
dpkg-query -W 'assay-*' 2> /dev/null | grep -v '^$' || echo none
getent passwd assay || getent group assay || echo nobody
find / -xdev \( -path /proc -o -path /sys -o -path /debs -o -path /newer -o -path /demo -o -path /root -o -path /tmp \) -prune -o -iname '*assay*' ! -path '/var/log/*' -print
echo end
""")
    assert out.splitlines() == ["kept", "none", "nobody", "end"], out


if __name__ == "__main__":
    try:
        harness.main(sys.modules[__name__])
    finally:
        debs.close()
