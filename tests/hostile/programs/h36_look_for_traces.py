"""The thief: looks for another run's files, sockets, processes and descriptors, for as long as that one lives."""

import os
import socket
import time

found = set()
end = time.monotonic() + 0.6
looks = 0
while time.monotonic() < end:
    looks += 1
    for folder in ("/tmp", "/dev/shm", "/box", "/var/tmp", "/run", "/", "/proc/1/root/tmp", "/proc/1/cwd"):
        if os.path.exists(f"{folder}/mark-of-the-other"):
            found.add(folder)
    try:
        socket.socket(socket.AF_UNIX).connect("\0mark-of-the-other")
        found.add("abstract socket")
    except OSError:
        pass
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) not in (os.getpid(), 1):
            found.add(f"process {pid}")
        try:
            if int(pid) != os.getpid():
                found.update(f"{pid} {os.readlink(f'/proc/{pid}/fd/{fd}')}" for fd in os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            pass
    time.sleep(0.01)
print("held" if not found and looks > 5 else f"found {sorted(found)} in {looks} looks")
