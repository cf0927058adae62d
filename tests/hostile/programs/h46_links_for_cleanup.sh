# Leaves a tree that a careless chown -R, rm -rf or copy would follow out of the box.
mkdir -p deep && cd deep || exit 1
for i in 1 2 3 4 5 6 7 8; do
  ln -s / "root$i"; ln -s @CANARIES@ "canaries$i"; ln -s .. "up$i"; ln -s /proc/1/cwd "cwd$i"; mkdir "d$i"; cd "d$i" || exit 1
done
cd /box && ln -s @CANARIES@ canaries
ln main.sh hardlink
ln @CANARY@ stolen 2>/dev/null && echo "hardlinked the host"
chmod 0 deep
ln -s deep main
exit 0
