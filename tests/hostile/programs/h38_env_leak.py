import os

for name, value in sorted(os.environ.items()):
    print(f"environ {name}={value}")
for pid in filter(str.isdigit, os.listdir("/proc")):
    for what in ("environ", "cmdline", "auxv", "maps", "mountinfo", "cgroup", "stack", "status"):
        try:
            with open(f"/proc/{pid}/{what}", "rb") as f:
                text = f.read()
        except OSError:
            continue
        if int(pid) != os.getpid():
            print(f"other {pid} {what} {text[:200]!r}")
        elif what in ("environ", "cmdline", "mountinfo", "cgroup"):
            print(f"own {what} {text!r}")
