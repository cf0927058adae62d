#!/bin/bash
# Runs as a service of the virtual machine of test_units.py, whose system manager is systemd, with the packages installed and enabled:
# what an administrator does with the units. TAP on the second serial port.
exec >/dev/ttyS1 2>&1 </dev/null
export LC_ALL=C.UTF-8 HOME=/root ASSAY_URL=http://127.0.0.1:8080 XDG_CONFIG_HOME=/root/config DEBIAN_FRONTEND=noninteractive
n=0
ok() { # what, command...
  local what=$1 rc
  shift
  n=$((n + 1))
  "$@" >/t/log 2>&1 # not in a subshell: some set variables
  rc=$?
  if [ $rc = 0 ]; then echo "ok $n - $what (at $(cut -d. -f1 /proc/uptime) s)"; else
    echo "not ok $n - $what"
    echo "# status $rc"
    tail -n 12 /t/log | sed 's/^/# /'
    journalctl -u assayd -o cat --no-pager | grep -v '"event":"request"' | grep -v '"level":"info"' >/t/journal
    { head -n 12 /t/journal; echo ...; tail -n 8 /t/journal; } | cut -c1-400 | sed 's/^/# log: /'
  fi
}
within() { # seconds, command...
  local end=$((SECONDS + $1))
  shift
  until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.5; done
}
main_pid() { systemctl show -P MainPID assayd.service; }
account() { ps -o user= -p "$1"; }
children() { ps -o pid= --ppid "$(main_pid)"; }
server() { for p in $(children); do ! grep -q role=server "/proc/$p/cmdline" || echo "$p"; done; }
keeper() { for p in $(children); do ! grep -q boxkeeper "/proc/$p/cmdline" || echo "$p"; done; }

started_by_its_socket() {
  [ "$(systemctl is-active assayd.service)" = inactive ] && [ "$(systemctl is-active assayd.socket)" = active ] &&
    within 240 assay status >/dev/null 2>&1 && [ "$(systemctl is-active assayd.service)" = active ]
}
three_processes() {
  [ "$(account "$(main_pid)")" = root ] && [ "$(account "$(keeper)")" = root ] && [ "$(account "$(server)")" = assay ] &&
    grep -q '^CapEff:.0*$' "/proc/$(server)/status" && grep -q '^NoNewPrivs:.1$' "/proc/$(server)/status"
}
first_steps() {
  # said once, at the first start, where only administrators read it
  ASSAY_PASSWORD=$(journalctl -u assayd -o cat --no-pager | sed -n 's/.*with the password \([^ ]*\) .*/\1/p') assay login admin &&
    assay benchmarks create -f /t/benchmark.json && assay agents create ada --name Ada
}
offered() {
  python3 -c 'import json, sys, urllib.request
items = json.load(urllib.request.urlopen("http://127.0.0.1:8080/languages"))["items"]
print([(i["name"], i["offered"]) for i in items])
sys.exit(not [i for i in items if i["name"] == sys.argv[1] and i["offered"]])' "$1"
}
judged() { # program, verdict
  local id
  id=$(assay submit -b sum -a ada --id-only "$1") && assay watch "$id" >/dev/null
  assay results "$id"
  [ "$(assay results --verdict-only "$id")" = "$2" ]
}
exact() { # each result of this server has accounts of its own leaf
  local id
  id=$(assay submit -b sum -a ada --id-only /t/right.py) && assay watch "$id" >/dev/null
  assay results --json "$id" | grep -q '"cpu_exact": *true'
}
work() { # four programs that wait a while each
  ids=()
  within 300 offered python || return 1 # a language is tried at each start, which takes its time here
  for _ in 1 2 3 4; do ids+=("$(assay submit -b sum -a ada --id-only /t/slow.py)") || return 1; done
}
all_right() {
  local id
  [ ${#ids[@]} = 4 ] || return 1
  assay watch "${ids[@]}" >/dev/null
  for id in "${ids[@]}"; do [ "$(assay results --verdict-only "$id")" = OK ] || { assay results "$id"; return 1; }; done
}
# calls one after the other, each on a connection of its own, until they are told to stop
calls() { rm -f /t/stop /t/calls; python3 /t/calls.py /t/stop >/t/calls & calling=$!; }
no_call_failed() {
  touch /t/stop
  wait "$calling"
  cat /t/calls
  grep -q '^answered [1-9][0-9]* failed 0$' /t/calls
}
restarted() { local before; before=$(main_pid); systemctl restart assayd.service && [ "$(main_pid)" != "$before" ] && within 300 assay status >/dev/null 2>&1; }
stopped_cleanly() {
  systemctl stop assayd.socket assayd.service
  systemctl show -P Result -P ExecMainStatus assayd.service | tr '\n' ' '
  [ "$(systemctl show -P Result assayd.service) $(systemctl show -P ExecMainStatus assayd.service)" = "success 0" ] &&
    [ -z "$(cat /sys/fs/cgroup/system.slice/assayd.service/cgroup.procs 2>/dev/null)" ] && ! pgrep -x assayd && ! pgrep -u assay
}
connects() { python3 -c 'import socket; socket.create_connection(("127.0.0.1", 8080), 5)' 2>/dev/null; }
started_again() { systemctl start assayd.socket assayd.service && within 300 assay status >/dev/null 2>&1; }
comes_back() { local before; before=$(main_pid); kill -9 "$before"; within 300 eval '[ "$(main_pid)" != 0 ] && [ "$(main_pid)" != '"$before"' ] && assay status >/dev/null 2>&1'; }
not_tried_again() {
  local rc
  cp /etc/assay/assay.ini /t/assay.ini
  echo 'http_loops = many' >>/etc/assay/assay.ini
  ! systemctl restart assayd.service
  rc=$(systemctl show -P ExecMainStatus assayd.service)
  sleep 3
  cp /t/assay.ini /etc/assay/assay.ini
  echo "status $rc, $(systemctl is-active assayd.service), $(systemctl show -P NRestarts assayd.service) restarts"
  [ "$rc" = 78 ] && [ "$(systemctl is-active assayd.service)" != active ] && [ "$(systemctl show -P NRestarts assayd.service)" = 0 ]
}
mended() { systemctl reset-failed assayd.service assayd.socket; started_again; }
reloaded() { local before; before=$(server); systemctl reload assayd.service && sleep 2 && [ "$(server)" = "$before" ] && assay status; }
upgraded() {
  dpkg -i /newer/assay-server.deb /newer/assay-client.deb && [ "$(dpkg-query -W assay-server | grep -c +next)" = 1 ] &&
    within 300 assay status >/dev/null 2>&1 && [ "$(systemctl is-active assayd.service)" = active ]
}
purged() {
  dpkg -P assay-server assay-client &&
    ! systemctl cat assayd.service >/dev/null 2>&1 && ! systemctl cat assayd.socket >/dev/null 2>&1 && ! pgrep -x assayd && ! pgrep -x assay-boxkeeper &&
    ! getent passwd assay && ! getent group assay && ! connects || return 1
  left=$(find / -xdev \( -path /newer -o -path /debs -o -path /t -o -path /proc -o -path /sys -o -path /root -o -path /var/log -o -path /var/lib/systemd \) -prune -o -iname '*assay*' -print)
  [ -z "$left" ] || { echo "left: $left"; return 1; }
}

echo "1..25"
systemctl stop assayd.service >/dev/null 2>&1
ok "the packages have enabled both units" systemctl is-enabled assayd.service assayd.socket
ok "a first request starts the service by its socket" started_by_its_socket
ok "supervisor and boxkeeper are root's, the server is assay's and has no capability" three_processes
ok "the admin's password is in the journal; the first benchmark is published" first_steps
ok "C is offered" within 300 offered c
ok "Python is offered" within 300 offered python
ok "a right program in C is OK" judged /t/right.c OK
ok "a wrong one is WA" judged /t/wrong.c WA
ok "a right program in Python is OK" judged /t/right.py OK
ok "one that wants more memory than it may is ML" judged /t/hungry.py ML
ok "each box has a leaf of the delegated cgroup: CPU time is exact" exact
ok "reload keeps the server that runs" reloaded
calls
ok "programs are in work" work
ok "the unit is restarted meanwhile" restarted
ok "each of them gets its verdict all the same" all_right
ok "no call failed over the restart" no_call_failed
work
ok "stop ends all processes cleanly, with work in flight" stopped_cleanly
ok "started again" started_again
ok "what was in flight gets its verdict then" all_right
ok "a supervisor that is killed comes back" comes_back
ok "a faulty configuration ends with 78 and is not tried again" not_tried_again
ok "mended, it starts" mended
calls
work
ok "an upgrade under load restarts the service" upgraded
verdicts() { all_right && no_call_failed; }
ok "each program gets its verdict, and no call failed over the upgrade" verdicts
ok "a purge ends it and leaves nothing" purged
sync
systemctl poweroff --force --force
