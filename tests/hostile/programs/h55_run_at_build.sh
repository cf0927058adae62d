# A build that runs code of the submission's: no network, no secrets, no judge within reach, and its program is judged like any other.
report=""
got() { report="$report GOT $1"; }
[ -e "@CANARY@" ] && got canary
[ -e "@DATA@" ] && got data
[ -e /etc/shadow ] && got shadow
(exec 3<>/dev/tcp/127.0.0.1/@PORT@) 2>/dev/null && got network
env | grep -qiE 'secret|token|password|assay' && got environment
tr '\0' '\n' < /proc/1/environ 2>/dev/null | grep -q . && got environ-of-1
[ "$(ls /proc | grep -c '^[0-9]')" -le 6 ] || got processes
[ "$(id -u)" != 0 ] || got root
mount -t tmpfs none /tmp 2>/dev/null && got mount
printf '#!/bin/sh\necho "held%s"\n' "$report" > main
chmod +x main
(setsid sleep 1000 > /dev/null 2>&1 &)
exit 0
