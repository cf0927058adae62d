#!/bin/sh
# Runs before the packages of an image are unpacked; $1 is its root, still empty: the merged /usr, and the folder
# for manual pages, into which the JDK's scripts make links even where manual pages are not unpacked.
set -eu
root=$1
for dir in bin sbin lib lib64; do
  mkdir -p "$root/usr/$dir"
  [ -e "$root/$dir" ] || ln -s "usr/$dir" "$root/$dir"
done
mkdir -p "$root/usr/share/man/man1"
