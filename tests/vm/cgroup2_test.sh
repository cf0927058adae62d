#!/bin/bash
# The boxkeeper and a real warden on a machine with cgroup version 2, whatever this machine has: the
# keeper's tests inside a small virtual machine (QEMU without KVM), first as root at the real root, then
# as an ordinary user with a delegated cgroup.  Runs at night: ASSAY_NIGHT=1.  Needs qemu-system-x86_64, cpio,
# a static busybox, and a kernel: ASSAY_VM_KERNEL, or Debian's cloud kernel, which is then downloaded.
set -euo pipefail

skip() { echo "1..0 # SKIP $*"; exit 0; }

[ "${ASSAY_NIGHT:-0}" = 1 ] || skip "a test of the night (ASSAY_NIGHT=1)"
for tool in qemu-system-x86_64 busybox cpio ldd; do
  command -v "$tool" >/dev/null || skip "$tool is not installed (apt-get install qemu-system-x86 busybox-static cpio)"
done
busybox=$(command -v busybox)
if ldd "$busybox" >/dev/null 2>&1; then skip "busybox is not static (apt-get install busybox-static)"; fi
plugin=plugins/sandbox_native/.libs/assay_sandbox_native.so
for part in assay-boxkeeper assay-warden $plugin tests/unit/keeper_test tests/unit/keeper_warden_fake; do
  [ -e "$part" ] || skip "$part is not built"
done

work=$(mktemp -d)
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
mkdir -p "$root"/{bin,etc,usr/bin,t/plugins/sandbox_native/.libs,t/tests/unit}
cp "$busybox" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp /bin/sleep /bin/echo "$root/bin/"
cp assay-boxkeeper assay-warden "$root/t/"
cp $plugin "$root/t/plugins/sandbox_native/.libs/"
cp tests/unit/keeper_test tests/unit/keeper_warden_fake "$root/t/tests/unit/"
for program in assay-boxkeeper $plugin tests/unit/keeper_test tests/unit/keeper_warden_fake "$root/bin/echo"; do
  { ldd "$program" || true; } | awk '/=> \//{print $3} /^\t\//{print $1}' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    [ -e "$root$library" ] || cp -L "$library" "$root$library"
  done
done
printf 'root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/tmp:/bin/sh\n' >"$root/etc/passwd"

# pivot_root refuses a root that is the initramfs itself
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
B=/bin/busybox
$B mkdir /new
$B mount -t tmpfs -o mode=755 new /new
for part in bin etc lib lib64 t usr second; do [ -e /$part ] && $B cp -a /$part /new/; done
$B mkdir -p /new/proc /new/sys /new/dev /new/tmp /new/root
exec $B switch_root /new /second
INIT
cat >"$root/second" <<'INIT'
#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
$B mount -t tmpfs tmp /tmp
$B chmod 1777 /tmp
$B mount -t cgroup2 cgroup /sys/fs/cgroup
cd /t
export CMOCKA_MESSAGE_OUTPUT=TAP
echo # the firmware leaves the cursor behind escape sequences
echo "=== root"
./tests/unit/keeper_test
echo "=== delegated"
echo "+memory +pids +cpu" >/sys/fs/cgroup/cgroup.subtree_control
unit=/sys/fs/cgroup/unit
$B mkdir $unit
$B chown 1000:1000 $unit $unit/cgroup.procs $unit/cgroup.subtree_control $unit/cgroup.threads
$B sh -c "echo 0 >$unit/cgroup.procs; exec $B su -s /bin/sh ada -c 'cd /t; KEEPER_DELEGATED=1 ./tests/unit/keeper_test'"
echo "left: $($B find $unit -mindepth 1 -type d | $B tr '\n' ' ')"
echo "=== end"
$B poweroff -f
INIT
chmod +x "$root/init" "$root/second"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd.gz"

timeout 300 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 768 -smp 2 -nographic -no-reboot -nic none \
  -kernel "$kernel" -initrd "$work/initrd.gz" -append 'console=ttyS0 quiet panic=-1' 2>&1 | tr -d '\r' >"$work/out" || true

part() { sed -n "/^=== $1\$/,/^=== $2\$/p" "$work/out"; }
n=0
check() { # check DESCRIPTION COMMAND...: one line of TAP
  local what=$1
  shift
  n=$((n + 1))
  if "$@"; then echo "ok $n - $what"; else echo "not ok $n - $what"; bad=1; fi
}
no_failure() { # the plan was carried out, and what is not ok was skipped
  part "$1" "$2" | awk '/^1\.\.[0-9]/ { split($0, p, "[.][.]"); want = p[2] } /^(not )?ok / { n++ }
    /^not ok/ && !/# SKIP/ { bad = 1 } END { exit bad || !want || n != want }'
}
passed() { part "$1" "$2" | grep "^ok [0-9]* - $3\$" >/dev/null; } # not -q: under pipefail the early end would count
only_keeper_left() { grep -q '^left: /sys/fs/cgroup/unit/keeper $' "$work/out"; }
bad=0
echo 1..7
check "as root every test passes" no_failure root delegated
check "as root leaves are given, replaced and removed" passed root delegated leaves_are_given_replaced_and_removed
check "as root a killed boxkeeper leaves nothing" passed root delegated a_killed_boxkeeper_leaves_nothing_after_the_next_start
check "as root a program runs with all its accounts" passed root delegated the_real_warden_runs_a_program
check "with a delegated cgroup every test passes" no_failure delegated end
check "with a delegated cgroup a program of an ordinary user has all its accounts" passed delegated end the_real_warden_serves_an_ordinary_user
check "nothing is left in the delegated cgroup but the processes' own" only_keeper_left
[ $bad = 0 ] || sed 's/^/# /' "$work/out"
exit $bad
