"""The installed packages under a real systemd: a Debian in QEMU (no KVM needed) in which inside.sh does what an administrator does.

At night.  Needs qemu-system-x86_64, mkfs.ext4, mmdebstrap, and a kernel that has NVMe and ext4 built in: ASSAY_VM_KERNEL, or Debian's cloud
kernel, which is then downloaded.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import debs
import harness
from debs import inside, place, root, run
from harness import FIXTURES, Skip, night

HERE = pathlib.Path(__file__).resolve().parent
# an emulated processor is some twenty times slower than the real one
LIMITS = {"time_limit_ms": 20000, "wall_limit_ms": 60000, "memory_limit_bytes": 64 << 20, "output_limit_bytes": 65536, "process_limit": 16}
UNIT = """[Unit]
After=assayd.socket
[Service]
ExecStart=/bin/bash /t/inside.sh
[Install]
WantedBy=multi-user.target
"""
# terminals and timers only take time
MASKED = "getty.target serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer " \
         "systemd-tmpfiles-clean.timer motd-news.timer"
INSTALL = r"""
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
apt-get update -qq
apt-get install -y -qq --no-install-recommends /debs/assay-server_*.deb /debs/assay-client_*.deb gcc libc6-dev python3-minimal libpython3-stdlib > /tmp/install.log 2>&1 || { cat /tmp/install.log; exit 1; }
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /usr/sbin/policy-rc.d /tmp/install.log
echo ASSAY_WARM=false >> /etc/default/assay
systemctl enable -q administrator.service
systemctl mask -q MASKED
"""
SLOW = "import time\nn = sum(map(int, input().split()))\ntime.sleep(2)\nprint(n)\n"


def kernel():
    given = os.environ.get("ASSAY_VM_KERNEL")
    if given:
        return given
    name = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", "linux-image-cloud-amd64").stdout)
    if not name or run("apt-get", "download", name.group(1), cwd=place()).returncode != 0:
        raise Skip("no kernel: name one in ASSAY_VM_KERNEL")
    deb = next(place().glob("linux-image-*.deb"))
    files = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", place(), "./boot"], stdin=files.stdout, check=True)
    files.wait()
    return next((place() / "boot").glob("vmlinuz*"))


def disk():
    target = root("machine")
    t = target / "t"
    t.mkdir()
    for f in ("inside.sh", "calls.py"):
        shutil.copy(HERE / f, t)
    for f in ("right.c", "wrong.c", "right.py", "hungry.py"):
        shutil.copy(FIXTURES / "demo/programs" / f, t)
    (t / "slow.py").write_text(SLOW)
    (t / "benchmark.json").write_text(json.dumps({"id": "sum", "name": "Sum", "feedback": "full", "compare": "tokens", "limits": LIMITS,
                                                  "tests": [{"input": "10 -5 7\n", "expected_output": "12\n"},
                                                            {"input": "2147483647 2147483647 2\n", "expected_output": "4294967296\n"}]}))
    (target / "etc/systemd/system/administrator.service").write_text(UNIT)
    (target / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")  # no first boot, which enables all units by itself
    (target / "etc/fstab").write_text("")
    inside(target, INSTALL.replace("MASKED", MASKED))
    image = place() / "disk"
    with image.open("wb") as f:
        f.truncate(3 << 30)
    a = run("mkfs.ext4", "-q", "-O", "^has_journal", "-d", target, image, timeout=600)
    assert a.returncode == 0, a.stderr
    shutil.rmtree(target)
    return image


@night
def test_the_units_under_systemd():
    for tool in ("qemu-system-x86_64", "mkfs.ext4"):
        if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
            raise Skip(f"{tool} is not installed (packaging/install-deps night)")
    vmlinuz, image = kernel(), disk()
    console, tap = place() / "console", place() / "tap"
    with console.open("wb") as out:
        try:
            subprocess.run(["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1500", "-smp", "2", "-display", "none", "-no-reboot", "-nic", "none",
                            "-drive", f"file={image},if=none,id=d,format=raw,cache=unsafe", "-device", "nvme,serial=1,drive=d", "-kernel", vmlinuz, "-serial", "stdio",
                            "-serial", f"file:{tap}", "-append", "root=/dev/nvme0n1 rw console=ttyS0 quiet panic=-1 systemd.show_status=no"],
                           stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=int(os.environ.get("ASSAY_VM_MAX", 2400)), check=False)
        except subprocess.TimeoutExpired:
            pass
    said = tap.read_text(errors="replace").replace("\r", "") if tap.exists() else ""
    for line in said.splitlines():
        print("#", line)
    plan = re.search(r"^1\.\.(\d+)$", said, re.M)
    assert plan, console.read_text(errors="replace")[-3000:]
    passed, bad = re.findall(r"^ok ", said, re.M), re.findall(r"^not ok .*", said, re.M)
    assert not bad and len(passed) == int(plan.group(1)), bad or f"{len(passed)} of {plan.group(1)}\n" + console.read_text(errors="replace")[-3000:]


if __name__ == "__main__":
    try:
        harness.main(sys.modules[__name__])
    finally:
        debs.close()
