#!/bin/sh
# Runs when the packages of an image are in place; $1 is the root of the image. While it runs, dev, proc and sys
# may be the machine's own: nothing there may be touched. A change here changes every layer: re-lock all images.
set -eu
root=$1
# the JVM's copy of the certificates has the time of its making in it, and boxes have no network
rm -rf "$root"/etc/ssl/certs/java
# a box sees /usr of its image and little of /etc: what leads from the one into the other is put in its place
if [ -x "$root/bin/sh" ]; then
  chroot "$root" /bin/sh -ec '
    find /usr -xdev -type l -lname "/etc/*" | while IFS= read -r link; do
      target=$(readlink -e "$link") || continue
      [ -f "$target" ] || continue
      rm "$link"
      case $target in
        /usr/*) ln -s "$target" "$link" ;;
        *) cp -p "$target" "$link" ;;
      esac
    done'
fi
python=$(cd "$root/usr/bin" && ls -d python3.?? python3.? 2>/dev/null | head -n 1) || true
if [ -n "$python" ]; then
  find "$root/usr/lib" "$root/usr/share" -name __pycache__ -type d -prune -exec rm -rf {} +
  PYTHONHASHSEED=0 chroot "$root" "/usr/bin/$python" -I -m compileall -q -j 1 --invalidation-mode unchecked-hash \
    "/usr/lib/$python" /usr/lib/python3
fi
# written anew by each build, with the day or the machine in it, or of no use in a box
rm -rf "$root"/etc/apt "$root"/etc/hostname "$root"/etc/resolv.conf "$root"/etc/*- "$root"/etc/.pwd.lock \
  "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap \
  "$root"/var/lib/apt "$root"/var/lib/dpkg/*-old "$root"/var/lib/dpkg/lock* "$root"/var/lib/dpkg/triggers/Lock \
  "$root"/var/lib/systemd "$root"/usr/share/man "$root"/usr/share/info "$root"/usr/share/lintian "$root"/usr/share/bug \
  "$root"/usr/share/gdb "$root"/usr/share/gcc/python
for dir in "$root/var/log" "$root/var/cache"; do
  [ ! -d "$dir" ] || find "$dir" -xdev -mindepth 1 -delete
done
find "$root/usr" -xdev -type f -perm /6000 -exec chmod ug-s {} +
for dir in dev proc sys tmp run root var/tmp; do mkdir -p "$root/$dir"; done
chmod 1777 "$root/tmp" "$root/var/tmp"
if [ ! -e "$root/etc/passwd" ]; then
  mkdir -p "$root/etc"
  echo 'root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin' >"$root/etc/passwd"
  echo 'root:x:0:
nogroup:x:65534:' >"$root/etc/group"
  echo 'passwd: files
group: files
hosts: files' >"$root/etc/nsswitch.conf"
fi
