"""Libraries to preload into a server or a test program: shims/*.c, compiled when they are wanted."""

import atexit
import mmap
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
from harness import PREFIX  # noqa: E402

_made = None


def library(name):
    """The path of shims/NAME.c as a library."""
    global _made
    if _made is None:
        _made = pathlib.Path(tempfile.mkdtemp(prefix="assay-shims-", dir="/var/tmp"))
        _made.chmod(0o755)  # a server that has given up root loads it too
        atexit.register(shutil.rmtree, _made, ignore_errors=True)
    so = _made / f"{name}.so"
    if not so.exists():
        # -fno-builtin: the compiler must not take a malloc of ours for the one it knows; no fortify: its inlines have our names
        subprocess.run(["cc", "-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-nonnull-compare", "-fno-builtin", "-U_FORTIFY_SOURCE", "-shared", "-fPIC",
                        "-pthread", str(HERE / "shims" / f"{name}.c"), "-o", str(so)], check=True)
    return so


def driver():
    """The path of shims/driver.c as a program, built with the installed headers as a stranger would."""
    library("clock")  # makes the folder
    exe = _made / "driver"
    if not exe.exists():
        env = dict(os.environ, PKG_CONFIG_PATH=str(PREFIX / "lib" / "pkgconfig"))
        flags = [subprocess.run(["pkg-config", f, "assay-plugin"], env=env, check=True, capture_output=True, text=True).stdout.split()
                 for f in ("--cflags", "--libs")]
        subprocess.run(["cc", "-std=gnu17", "-O1", "-g", "-Wall", "-Werror", *flags[0], "-I", str(HERE.parent / "unit"),
                        str(HERE / "shims" / "driver.c"), "-o", str(exe), *flags[1], "-pthread", "-ldl"], check=True)
    return exe


def plugin(name):
    return PREFIX / "lib" / "assay" / "plugins" / f"assay_{name}.so"


class Page:
    """Memory shared with every process that has the library."""

    def __init__(self, name, variable):
        fd, self.path = tempfile.mkstemp(prefix=f"assay-{name}-", dir="/var/tmp")
        os.fchmod(fd, 0o666)
        os.ftruncate(fd, 4096)
        self.map = mmap.mmap(fd, 4096)
        os.close(fd)
        self.env = {"LD_PRELOAD": str(library(name)), variable: self.path}

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.map.close()
        os.unlink(self.path)


class Clock(Page):
    def __init__(self):
        super().__init__("clock", "CLOCK_PAGE")

    def set(self, seconds):
        """The wall clock goes that much ahead of the true one."""
        struct.pack_into("=q", self.map, 0, int(seconds * 1e9))


class Fault(Page):
    ALLOC, OPEN, READ, WRITE, SYNC, NAME, MAP, MAKE, PEER = (1 << i for i in range(9))
    # the page: struct page of fault.c

    def __init__(self, role="role=server"):
        super().__init__("fault", "FAULT_PAGE")
        if role:
            self.env["FAULT_ROLE"] = role

    def arm(self, kinds, nth, err=0, persistent=False, part=False, trace=False):
        struct.pack_into("=I", self.map, 4, 0)
        struct.pack_into("=qiii", self.map, 8, nth, persistent, err, part)
        struct.pack_into("=q", self.map, 32, 0)
        struct.pack_into("=qi", self.map, 48, 0, trace)
        struct.pack_into("=I", self.map, 4, kinds)

    def disarm(self):
        """Nothing fails any more; gives how many calls did."""
        struct.pack_into("=I", self.map, 4, 0)
        return struct.unpack_from("=q", self.map, 32)[0]

    @property
    def live(self):
        return struct.unpack_from("=q", self.map, 40)[0]

    @property
    def calls(self):
        return struct.unpack_from("=q", self.map, 48)[0]
