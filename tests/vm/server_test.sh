#!/bin/bash
# The whole server on a machine with cgroup version 2, whatever this machine has: the staged install and
# Python in a small virtual machine (QEMU without KVM), as root, as an ordinary user with a delegated cgroup, and
# through a Docker engine (where this machine has one); tests/vm/judge.py runs inside and judges the demo's Python
# programs.  A test of the night: ASSAY_NIGHT=1.  Needs qemu-system-x86_64, cpio, a static busybox, and a kernel:
# ASSAY_VM_KERNEL, or Debian's cloud kernel, which is then downloaded.
set -euo pipefail

skip() { echo "1..1"; echo "ok 1 - a server on cgroup version 2 # SKIP $*"; exit 0; }

top=$(cd "$(dirname "$0")/../.." && pwd)
stage=${ASSAY_PREFIX:-$top/build/stage}
[ "${ASSAY_NIGHT:-0}" = 1 ] || skip "a test of the night (ASSAY_NIGHT=1)"
for tool in qemu-system-x86_64 busybox cpio ldd setpriv; do
  command -v "$tool" >/dev/null || skip "$tool is not installed (apt-get install qemu-system-x86 busybox-static cpio util-linux)"
done
busybox=$(command -v busybox)
if ldd "$busybox" >/dev/null 2>&1; then skip "busybox is not static (apt-get install busybox-static)"; fi
[ -x "$stage/bin/assayd" ] || skip "there is no staged install in $stage"
python=$(realpath /usr/bin/python3)
pylib=/usr/lib/$(basename "$python")
[ -d "$pylib" ] || skip "Python is not the distribution's"

work=$(mktemp -d /var/tmp/assay-vm-XXXXXX)
trap 'rm -rf "$work"' EXIT
kernel=${ASSAY_VM_KERNEL:-}
if [ -z "$kernel" ]; then
  package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
  [ -n "$package" ] || skip "no kernel: name one in ASSAY_VM_KERNEL"
  (cd "$work" && apt-get download "$package" >/dev/null 2>&1) || skip "$package cannot be downloaded; name a kernel in ASSAY_VM_KERNEL"
  dpkg-deb --fsys-tarfile "$work"/linux-image*.deb | tar -x -C "$work" ./boot
  kernel=$(echo "$work"/boot/vmlinuz*)
fi

root=$work/root
mkdir -p "$root"/{etc,usr/bin,usr/lib,usr/lib64,usr/sbin,var/tmp,"$stage",t/tests}
for link in bin lib lib64 sbin; do ln -s "usr/$link" "$root/$link"; done
cp "$busybox" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp -a "$stage"/. "$root$stage/"
cp -a "$top/tests/e2e" "$top/tests/vm" "$root/t/tests/"
cp -a "$top/fixtures" "$root/t/"
cp "$python" "$root$python"
ln -s "$(basename "$python")" "$root/usr/bin/python3"
cp "$(command -v setpriv)" "$root/usr/bin/setpriv"
cp /bin/true "$root/usr/bin/true" # what the runner calibrates itself with
tar -C / -c --exclude=test --exclude=idlelib --exclude=tkinter --exclude=lib2to3 --exclude=dist-packages --exclude='config-*' "${pylib#/}" | tar -C "$root" -x
parts=(root delegated)
engine=(dockerd containerd containerd-shim-runc-v2 runc)
if PATH=$PATH:/usr/sbin:/sbin command -v "${engine[@]}" >/dev/null; then
  parts+=(docker)
  for tool in "${engine[@]}"; do cp "$(PATH=$PATH:/usr/sbin:/sbin command -v "$tool")" "$root/usr/bin/$tool"; done
  (cd "$top/tests/e2e" && python3 -B -c 'import sys, engine; engine.make_image(sys.argv[1])' "$root/t/image.tar")
else
  echo "# no dockerd, containerd and runc here: the engine on cgroup version 2 is not tried (apt-get install docker.io)"
fi
find "$stage/bin" "$stage/lib/assay" "$stage/libexec" "$root/usr/bin" "$root$pylib" -type f \( -perm -100 -o -name '*.so' \) | while read -r program; do
  { ldd "$program" 2>/dev/null || true; } | awk '/=> \//{print $3} /^\t\//{print $1}'
done | sort -u | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  [ -e "$root$library" ] || cp -L "$library" "$root$library"
done
printf 'root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/tmp:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nada:x:1000:\n' >"$root/etc/group"

# pivot_root refuses a root that is the initramfs itself
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
B=/bin/busybox
$B mkdir /new
$B mount -t tmpfs -o mode=755,size=80% new /new
for part in *; do case $part in new | init | proc | sys | dev) ;; *) $B cp -a "/$part" /new/ ;; esac; done
$B mkdir -p /new/proc /new/sys /new/dev /new/tmp /new/root
exec $B switch_root /new /second
INIT
cat >"$root/second" <<INIT
#!/bin/busybox sh
B=/bin/busybox
export PATH=/usr/bin:/bin ASSAY_PREFIX=$stage HOME=/root
\$B mount -t proc proc /proc
\$B mount -t sysfs sys /sys
\$B mount -t devtmpfs dev /dev
\$B chmod 1777 /tmp /var/tmp
\$B ip link set lo up
\$B mount -t cgroup2 cgroup /sys/fs/cgroup
echo # the firmware leaves the cursor behind escape sequences
echo "=== root"
/usr/bin/python3 -B /t/tests/vm/judge.py
echo "=== delegated"
unit=/sys/fs/cgroup/unit
echo "+memory +pids +cpu" >/sys/fs/cgroup/cgroup.subtree_control
\$B mkdir \$unit
\$B chown 1000:1000 \$unit \$unit/cgroup.procs \$unit/cgroup.subtree_control \$unit/cgroup.threads
\$B sh -c "echo 0 >\$unit/cgroup.procs; exec /usr/bin/setpriv --reuid=1000 --regid=1000 --clear-groups /usr/bin/python3 -B /t/tests/vm/judge.py"
if [ -f /t/image.tar ]; then
  echo "=== docker"
  ASSAY_VM_DOCKER=/t/image.tar /usr/bin/python3 -B /t/tests/vm/judge.py
fi
echo "=== end"
\$B poweroff -f
INIT
chmod +x "$root/init" "$root/second"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd.gz"

timeout 1200 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 3000 -smp 2 -nographic -no-reboot -nic none \
  -kernel "$kernel" -initrd "$work/initrd.gz" -append 'console=ttyS0 quiet panic=-1' 2>&1 | tr -d '\r' >"$work/out" || true

n=0 bad=0
for part in "${parts[@]}"; do
  sed -n "/^=== $part\$/,/^=== /p" "$work/out" >"$work/part"
  plan=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' "$work/part")
  while read -r line; do
    n=$((n + 1))
    case $line in
      "ok "*) echo "ok $n - $part: ${line#ok * - }" ;;
      *) echo "not ok $n - $part: ${line#not ok * - }"; bad=1 ;;
    esac
  done < <(grep -E '^(not )?ok ' "$work/part")
  n=$((n + 1))
  if [ -n "$plan" ] && [ "$(grep -cE '^(not )?ok ' "$work/part")" = "$plan" ]; then
    echo "ok $n - $part: every test was run"
  else
    echo "not ok $n - $part: every test was run"
    bad=1
  fi
done
echo "1..$n"
[ $bad = 0 ] || sed 's/^/# /' "$work/out"
exit $bad
