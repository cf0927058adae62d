"""What programs that were judged may leave on the machine: nothing.  A list of what there is, to compare.

    before = Residue(server, driver)         # after the server's start, nothing running
    ...
    left = before.left()                     # [] or sentences that say what is there and should not be

Looked at: processes (by descent and pid namespace), users (the range of uids that boxes get), cgroup leaves (their
tasks, their memory, their number), mounts (of the host and of each warden), System V and POSIX ipc objects (of the
host and of each warden), keys, files (temporary folders, the data directory's run folder, anything that a box's user
owns), containers (Docker), and descriptors of the server and of the boxkeeper.  Nothing here trusts a name that a
program may choose: a program of a box is told from a warden or an init by its place in the tree of namespaces.
"""

import ctypes
import hashlib
import os
import pathlib
import time

CLONE_NEWIPC = 0x08000000
KEYS = pathlib.Path("/proc/key-users")


def status(pid):
    """Fields of /proc/PID/status; {} when it has gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return {}
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def descendants(*roots):
    """Every process below the given ones, without them. Reads each parent's list, not the whole of /proc."""
    found, todo = [], list(roots)
    while todo:
        pid = todo.pop()
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                kids = [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
                found += kids
                todo += kids
        except OSError:
            continue
    return found


def inner_pids(pid):
    return [int(n) for n in status(pid).get("NSpid", "").split()]


def read(path):
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except OSError:
        return ""


def ipc_objects(pid):
    """The System V objects in the ipc namespace of a process, read by a child that joins it."""
    r, w = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            fd = os.open(f"/proc/{pid}/ns/ipc", os.O_RDONLY)
            if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWIPC) == 0:
                lines = []
                for kind in ("shm", "msg", "sem"):
                    lines += [f"{kind} {line}" for line in read(f"/proc/sysvipc/{kind}").splitlines()[1:]]
                os.write(w, "\n".join(lines).encode()[:4000])
        finally:
            os._exit(0)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        text = f.read().decode()
    os.waitpid(child, 0)
    return text.splitlines()


class Residue:
    def __init__(self, server, uids, engine=None, containers=None, fds_slack=12):
        """uids: range of box users; engine: gives the pids of a container engine of ours; containers: lists those that should
        not be there."""
        self.server, self.uids, self.containers = server, uids, containers or (lambda: [])
        self.engine = engine or (lambda: [])
        self.depth = 2 if engine else 1  # of pid namespaces that a warden is in
        self.fds_slack = fds_slack
        kids = server.children()
        self.boxkeeper, self.judge = kids["boxkeeper"], kids["server"]
        real = os.path.realpath(server.data)
        self.group = f"assay-{hashlib.sha256(real.encode()).hexdigest()[:16]}"
        self.fds = {pid: self.count_fds(pid) for pid in (self.boxkeeper, self.judge)}
        self.ipc = self.host_ipc()
        self.mounts = None
        self.mounted = self.host_mounts()
        self.files = self.stray_files()

    # ---- processes ------------------------------------------------------------------------------------------

    def programs(self):
        """Processes of boxes: those that are no pid 1 in the innermost of several pid namespaces."""
        found = []
        for pid in set(descendants(self.boxkeeper, *self.engine())):
            inner = inner_pids(pid)
            if len(inner) > self.depth and inner[-1] != 1:
                found.append(pid)
        return found

    def helpers(self):
        """Wardens, and what wardens keep beside them: outside of any box's pid namespace, where no program can get."""
        return [pid for pid in set(descendants(self.boxkeeper, *self.engine())) if len(inner_pids(pid)) == self.depth
                and b"assay-warden" in read(f"/proc/{pid}/cmdline").encode().split(b"\0")[0]]

    def wardens(self):
        helpers = self.helpers()
        return [pid for pid in helpers if int(status(pid).get("PPid", 0)) not in helpers]

    def by_user(self):
        """Processes anywhere on the machine that run as a user of a box, but for a warden's own. Slow: reads all of /proc."""
        found, own = [], set()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.stat(f"/proc/{pid}").st_uid in self.uids:
                    own = own or set(p for p in descendants(*self.wardens()) if len(inner_pids(p)) == self.depth)
                    found += [int(pid)] if int(pid) not in own else []
            except OSError:
                pass
        return found

    # ---- cgroups --------------------------------------------------------------------------------------------

    def leaves(self):
        """{path: tasks} of every leaf of this server, whatever the version and wherever the hierarchies are mounted."""
        found = {}
        for line in read("/proc/self/mountinfo").splitlines():
            place, kind = line.split()[4], line.split(" - ")[1].split()[0]
            if kind not in ("cgroup", "cgroup2"):
                continue
            for folder, dirs, _ in os.walk(place):
                if os.path.basename(folder) == self.group:
                    for leaf in dirs:
                        path = os.path.join(folder, leaf)
                        found[path] = len(read(f"{path}/cgroup.procs").split())
                    dirs.clear()
                elif folder.count("/") - place.count("/") > 3:
                    dirs.clear()
        return found

    @staticmethod
    def memory_held(leaf):
        """Bytes that somebody must have left: anonymous and shared memory. Clean pages of the system's own files stay
        charged to the leaf that first read them until the kernel wants them back, and are nobody's."""
        fields = dict(line.split() for line in read(f"{leaf}/memory.stat").splitlines() if len(line.split()) == 2)
        return sum(int(fields.get(name, 0)) for name in (("rss", "shmem") if "rss" in fields else ("anon", "shmem")))

    # ---- the rest -------------------------------------------------------------------------------------------

    @staticmethod
    def count_fds(pid):
        try:
            return len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            return 0

    def host_ipc(self):
        """Objects of box users in the host's namespace: lines of /proc/sysvipc whose owner or creator is one."""
        found = []
        for kind, columns in (("shm", (7, 9)), ("msg", (7, 9)), ("sem", (4, 6))):
            for line in read(f"/proc/sysvipc/{kind}").splitlines()[1:]:
                words = line.split()
                if any(int(words[c]) in self.uids for c in columns if c < len(words)):
                    found.append(f"{kind} {line}")
        return found

    def keys(self):
        """Key rings of box users: /proc/key-users says "uid: usage nkeys/... qnkeys/..."."""
        return [line.strip() for line in read(KEYS).splitlines() if int(line.split(":")[0]) in self.uids and
                line.split()[2].split("/")[0] != "0"]

    def host_mounts(self):
        """Mounts of the host that are this server's doing: below its folder, or where a warden begins its root when it forgets
        to be in a namespace of its own. Other mounts come and go on any machine."""
        mine = str(self.server.data.parent)
        return sorted(line for line in read(f"/proc/{self.boxkeeper}/mountinfo").splitlines()
                      if mine in line or line.split()[4] in ("/", "/tmp", "/usr", "/proc", "/dev", "/dev/shm"))

    def stray_files(self):
        """Temporary files and sockets that a box may have made on the host."""
        found = set()
        for top in ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run", "/var/crash", "/var/lib/systemd/coredump", str(self.server.data)):
            for folder, dirs, names in os.walk(top):
                if folder.count("/") > top.count("/") + 2:
                    dirs.clear()
                for name in dirs + names:
                    path = os.path.join(folder, name)
                    try:
                        if os.lstat(path).st_uid in self.uids or (name.startswith("core") and folder.startswith(str(self.server.data))):
                            found.add(path)
                    except OSError:
                        pass
        for name in os.listdir(self.server.data):
            if name.startswith("core"):
                found.add(name)
        spool = self.server.data / "run" / "spool"
        found.update(str(p) for p in (spool.iterdir() if spool.exists() else ()))
        return found

    # ---- all of it ------------------------------------------------------------------------------------------

    def look(self):
        left = []
        for pid in self.programs():
            left.append(f"process {pid} lives: {read(f'/proc/{pid}/cmdline')[:100]!r}, state {status(pid).get('State', '?').strip()}")
        left += [f"process {pid} runs as a box's user: {read(f'/proc/{pid}/cmdline')[:100]!r}" for pid in self.by_user()]
        wardens = self.wardens()
        # a warden collects the init of its last box when the next one runs: what is dead already holds nothing
        inits = [p for p in descendants(*wardens) if (inner_pids(p) or [0])[-1] == 1 and "Z" not in status(p).get("State", "Z")]
        if len(inits) > len(wardens):
            left.append(f"{len(inits)} inits of boxes for {len(wardens)} wardens")
        leaves = self.leaves()
        left += [f"{n} tasks in the leaf {path}" for path, n in leaves.items() if n]
        for path in leaves:
            held = self.memory_held(path)
            if held > 1 << 20:
                left.append(f"{held} bytes of memory are still charged to the leaf {path}")
        kinds = {os.path.dirname(p) for p in leaves}
        if wardens and len(leaves) > len(kinds) * (len(wardens) * 3 + 2):
            left.append(f"{len(leaves)} leaves for {len(wardens)} wardens")
        for pid in wardens:
            mounts = sorted(line.split()[4] for line in read(f"/proc/{pid}/mountinfo").splitlines())
            if "/store" not in mounts:
                continue  # it has only begun
            if self.mounts is None:
                self.mounts = mounts
            if mounts != self.mounts:
                left.append(f"mounts of a warden: {sorted(set(mounts) ^ set(self.mounts)) or mounts}")
            left += [f"ipc of a warden: {o}" for o in ipc_objects(pid)] if os.geteuid() == 0 else []
        left += [f"mount on the host: {m}" for m in self.host_mounts() if m not in self.mounted]
        left += [f"ipc on the host: {o}" for o in self.host_ipc() if o not in self.ipc]
        left += [f"keys: {k}" for k in self.keys()]
        left += [f"file: {f}" for f in sorted(self.stray_files() - self.files)]
        left += [f"container: {c}" for c in self.containers()]
        for pid, name in ((self.boxkeeper, "boxkeeper"), (self.judge, "server")):
            n = self.count_fds(pid)
            if n > self.fds[pid] + self.fds_slack:
                left.append(f"the {name} has {n} descriptors, and had {self.fds[pid]}")
        return left

    def left(self, patience=8.0):
        """What is there and should not be, once what is ending has had its moment."""
        end = time.monotonic() + patience
        while True:
            left = self.look()
            if not left or time.monotonic() > end:
                return left
            time.sleep(0.05)
