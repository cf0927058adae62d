#!/usr/bin/env python3
"""Dependency directions: who may include, link and compile what (docs/architecture.md, "Top-level folders").

Reads the #include lines of every C file and the rules of every room.mk of the source tree; then plants
violations in a copy of the tree, one at a time, and expects each to be caught.  TAP on standard output.
Standard library only.
"""

import os
import pathlib
import re
import shutil
import sys
import tempfile

# ---- the rules -------------------------------------------------------------------------------------

LIBC = set("""
    aio.h alloca.h arpa/inet.h assert.h byteswap.h complex.h cpio.h ctype.h dirent.h dlfcn.h elf.h endian.h err.h errno.h
    fcntl.h features.h fenv.h float.h fnmatch.h ftw.h getopt.h glob.h grp.h ifaddrs.h inttypes.h langinfo.h libgen.h
    limits.h link.h locale.h malloc.h math.h mntent.h mqueue.h netdb.h paths.h poll.h pthread.h pty.h pwd.h regex.h
    sched.h search.h semaphore.h setjmp.h shadow.h signal.h spawn.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h
    stdint.h stdio.h stdlib.h stdnoreturn.h string.h strings.h sysexits.h syslog.h termios.h tgmath.h threads.h time.h
    uchar.h ucontext.h ulimit.h unistd.h utime.h wait.h wchar.h wctype.h wordexp.h execinfo.h ucred.h
""".split())
LIBC_FOLDERS = ("sys/", "linux/", "asm/", "net/", "netinet/", "netpacket/", "bits/")

# third-party headers: pattern -> library
LIBRARIES = [
    (r"event2/(bufferevent|buffer|listener)[a-z_]*\.h", "bufferevent"),
    (r"event2/.*|event\.h|evutil\.h", "libevent"),
    (r"llhttp\.[hc]|api\.c|http\.c", "llhttp"),
    (r"jwt\.h", "libjwt"),
    (r"sqlite3(ext)?\.h", "sqlite"),
    (r"jansson\.h", "jansson"),
    (r"sodium\.h|sodium/.*", "sodium"),
    (r"seccomp\.h", "seccomp"),
    (r"curl/.*", "curl"),
    (r"ini\.h", "inih"),
    (r"libpq-fe\.h|libpq/.*|postgres_ext\.h", "libpq"),
    (r"librdkafka/.*", "librdkafka"),
    (r"amqp\.h|amqp_.*\.h|rabbitmq-c/.*", "rabbitmq-c"),
    (r"archive\.h|archive_entry\.h", "libarchive"),
    (r"expat\.h|libxml/.*", "xml"),
    (r"hiredis/.*", "hiredis"),
    (r"yaml\.h", "yaml"),
    (r"zip\.h", "libzip"),
    (r"zlib\.h", "zlib"),
    (r"png\.h|jpeglib\.h|jerror\.h|libexif/.*|pixman\.h", "images"),
    (r"openssl/.*", "openssl"),
    (r"cmocka\.h", "cmocka"),
]

# configure's variables for a library's flags -> library; used in room.mk
FLAG_OF = {
    "LIBEVENT": "libevent", "LIBJWT": "libjwt", "SQLITE": "sqlite", "JANSSON": "jansson", "SODIUM": "sodium",
    "SECCOMP": "seccomp", "CURL": "curl", "INIH": "inih", "CMOCKA": "cmocka", "LIBPQ": "libpq", "PQ": "libpq",
    "RDKAFKA": "librdkafka", "RABBITMQ": "rabbitmq-c", "LIBARCHIVE": "libarchive", "ARCHIVESTATIC": "libarchive", "EXPAT": "xml", "LIBXML": "xml",
    "HIREDIS": "hiredis", "YAML": "yaml", "ZLIB": "zlib", "LIBZIP": "libzip", "IMAGES": "images", "IMAGESTATIC": "images",
    "OPENSSL": "openssl",
}
LINKER_FREE = {"-lpthread", "-pthread", "-lm", "-ldl", "-lrt"}  # parts of the C library

DRIVER_LIBRARY = {  # plugins/<kind>_<impl>: the one library it wraps
    "store_sqlite": {"sqlite"}, "store_postgres": {"libpq"}, "broker_kafka": {"librdkafka"}, "broker_amqp": {"rabbitmq-c"}, "broker_http": {"curl"},
    "broker_sqs": set(), "blob_s3": {"xml"}, "blob_fs": set(), "sandbox_native": set(), "sandbox_docker": {"curl"},
    "session_redis": {"hiredis"}, "mail_smtp": {"curl"},
}

# Rooms that several drivers are built on -> the library each wraps; and the drivers that may include from which.
SHARED_LIBRARY = {"aws": {"curl"}}
DRIVER_SHARES = {"broker_sqs": {"plugins/aws"}, "blob_s3": {"plugins/aws"}}

# Within the gateway, which files may include which library.
GATEWAY_LIBRARY = {
    "bufferevent": r"http[a-z_]*\.[ch]", "libevent": r"http[a-z_]*\.[ch]", "llhttp": r"(http[a-z_]*|llhttp_[a-z]+)\.[ch]",
    "libjwt": r"gate\.c", "inih": r"config\.c", "curl": r"otlp\.c", "zlib": r"otlp\.c", "openssl": r"(http_)?tls\.c",
    "sodium": r"(gate|keys|limits|server|setup|http[a-z_]*|router)\.c",
}

# A service sees the SDK and nothing else. The runner compiles the boxes' system call filter and reads test reports, benchmarks
# read problem packages, in one file each.
SERVICE_LIBRARY = {"webhooks": {"curl": r"send\.c"},
                   "runner": {"seccomp": r"seccomp\.c", "xml": r"junit\.c"},
                   "benchmarks": {"libzip": r"package_zip\.c", "yaml": r"package_yaml\.c"}}

# The client speaks the HTTP API and sees nothing of ours, but for the file that loads the brokers' drivers.
CLI_SDK = ("cli/simulate/broker.c",)


class Room:
    def __init__(self, name, rooms=(), libraries=(), top_include=False, assay_headers=None):
        self.name = name
        self.rooms = set(rooms)          # rooms of ours it may include from, besides itself
        self.libraries = set(libraries)  # third-party
        self.top_include = top_include   # may have -I$(top_srcdir)
        self.assay_headers = assay_headers  # None: all of <assay/...>; else the only ones


def room_of(path):
    """The Room of a path relative to the root, or None for what is no room of C code."""
    parts = path.parts
    top = parts[0]
    if top == "gateway":
        return Room("gateway", {"queue", "sdk"}, GATEWAY_LIBRARY, top_include=True)
    if top == "queue":
        return Room("queue", {"sdk"})
    if top == "services" and len(parts) > 2:
        return Room(f"services/{parts[1]}", {"sdk"}, SERVICE_LIBRARY.get(parts[1], {}))
    if top == "boxkeeper":
        return Room("boxkeeper", {"sdk"})
    if top == "cli":  # speaks the HTTP API, with a JSON reader of its own
        return Room("cli", {"sdk"}, {"curl", "jansson", "libarchive", "zlib"}, top_include=True)
    if top == "plugins" and len(parts) > 2:
        if parts[1] == "sdk":
            return Room("sdk", (), {"jansson", "sodium", "seccomp"})
        if parts[1] == "warden":
            return Room("warden", {"sdk"}, assay_headers={"assay/warden_wire.h"})
        if parts[1] == "unpack":  # a program for boxes
            return Room("plugins/unpack", {"sdk"}, {"libarchive", "sodium"})
        if parts[1] == "imgfilter":  # another
            return Room("plugins/imgfilter", (), {"images"})
        if parts[1] in SHARED_LIBRARY:
            return Room(f"plugins/{parts[1]}", {"sdk"}, SHARED_LIBRARY[parts[1]])
        if parts[1] in DRIVER_LIBRARY:
            shares = DRIVER_SHARES.get(parts[1], set())
            return Room(f"plugins/{parts[1]}", {"sdk"} | shares, DRIVER_LIBRARY[parts[1]], top_include=bool(shares))
        return Room(f"plugins/{parts[1]}", {"sdk"})
    if top in ("tests", "bench"):
        return Room(top)
    return None


FREE = ("tests", "bench")  # may look into every room: they test it

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:([<"])([^>"\n]+)[>"]|(\S.*))', re.M)
COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*|("(?:\\.|[^"\\\n])*")', re.S)


def includes(text):
    """(kind, name) for each #include outside comments."""
    def keep(m):
        return m.group(1) or re.sub(r"[^\n]", " ", m.group(0))
    for m in INCLUDE.finditer(COMMENT.sub(keep, text)):
        yield (m.group(1) or "?", m.group(2) or m.group(3))


def library_of(header):
    for pattern, library in LIBRARIES:
        if re.fullmatch(pattern, header):
            return library
    return None


def c_files(root):
    for base, dirs, files in os.walk(root):
        here = pathlib.Path(base).relative_to(root)
        dirs[:] = sorted(d for d in dirs if not d.startswith(".") and
                         not (here == pathlib.Path(".") and d in ("build", "build-aux", "m4", "autom4te.cache", "node_modules",
                                                                 "fixtures", "languages", "pits", "docs", "web")))
        if (pathlib.Path(base) / "config.status").exists() and here != pathlib.Path("."):
            dirs[:] = []  # a build tree
            continue
        for f in sorted(files):
            if f.endswith((".c", ".h")):
                yield here / f


def check_includes(root, found, edges):
    for path in c_files(root):
        room = room_of(path)
        if room is None:
            found.append(("rooms", f"{path}: C code outside every room"))
            continue
        if room.name in FREE:
            continue
        text = (root / path).read_text(encoding="utf-8", errors="replace")
        for kind, name in includes(text):
            where = f"{path}: #include {name}"
            if kind == "?":
                found.append((room.name, f"{where}: only literal names, so that they can be checked"))
                continue
            if ".." in name.split("/") or name.startswith("/"):
                found.append((room.name, f"{where}: a path that climbs"))
                continue
            if name.startswith("assay/"):
                if room.name != "sdk":
                    edges.setdefault(room.name, set()).add("sdk")
                if room.name == "cli" and str(path) not in CLI_SDK:
                    found.append((room.name, f"{where}: cli speaks the HTTP API; only {', '.join(CLI_SDK)} may include the SDK"))
                if not (root / "plugins/sdk" / name).exists():
                    found.append((room.name, f"{where}: no such header of the SDK"))
                elif room.assay_headers is not None and name not in room.assay_headers:
                    found.append((room.name, f"{where}: this room may include only {', '.join(sorted(room.assay_headers))}"))
                continue
            if kind == '"' and (root / path.parent / name).exists():
                continue  # beside the file
            if (root / name).exists() and room_of(pathlib.Path(name)) is not None:
                other = room_of(pathlib.Path(name))
                if other.name != room.name:
                    edges.setdefault(room.name, set()).add(other.name)
                    if other.name not in room.rooms:
                        found.append((room.name, f"{where}: {room.name} may not include {other.name}"))
                continue
            if kind == "<" and (name in LIBC or name.startswith(LIBC_FOLDERS)):
                continue
            library = library_of(name)
            if library is None:
                found.append((room.name, f"{where}: neither libc, nor the SDK, nor this room's, nor a known library"))
            elif library not in room.libraries:
                found.append((room.name, f"{where}: {room.name} may not include {library}"))
            elif room.name == "gateway" and not re.fullmatch(GATEWAY_LIBRARY[library], path.name):
                found.append((room.name, f"{where}: within the gateway only {GATEWAY_LIBRARY[library]} may include {library}"))
            elif room.name == "services/runner" and not re.fullmatch(SERVICE_LIBRARY["runner"][library], path.name):
                found.append((room.name, f"{where}: {room.name} may include {library} in {SERVICE_LIBRARY['runner'][library].replace(chr(92), '')} only"))


# ---- room.mk ---------------------------------------------------------------------------------------

ASSIGN = re.compile(r"^([A-Za-z0-9_]+)[ \t]*(\+?=)[ \t]*(.*)$")


def variables(text):
    out = {}
    text = re.sub(r"\\\n", " ", text)
    for line in text.splitlines():
        m = ASSIGN.match(line.split("#", 1)[0].rstrip())
        if m:
            old = out.get(m.group(1), "") + " " if m.group(2) == "+=" else ""
            out[m.group(1)] = old + m.group(3)
    return out


def expand(value, known, depth=0):
    """Puts in variables that a room.mk defines; configure's and the top Makefile's stay as $(NAME)."""
    def sub(m):
        return expand(known[m.group(1)], known, depth + 1) if m.group(1) in known and depth < 8 else m.group(0)
    return re.sub(r"\$\(([A-Za-z0-9_]+)\)", sub, value)


def words(value):
    """Words of a flag list; what stands in quotes stays together."""
    return re.findall(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""", value)


def target_room(target, sources, root):
    """By where the target's sources live: a target of tests/ may compile anything."""
    rooms = []
    for s in sources:
        if s.endswith((".c", ".h")) and not s.startswith("$"):
            r = room_of(pathlib.Path(s))
            rooms.append((s, r))
    return rooms


def check_room_mk(root, found):
    # build/ is not even walked: images are made there, with a /proc of their own for a while
    files = sorted(f for d in root.iterdir() if d.is_dir() and d.name not in ("build", ".git") for f in d.glob("**/room.mk"))
    known = {}
    texts = {}
    for f in files:
        texts[f] = variables(f.read_text(encoding="utf-8"))
        known.update(texts[f])
    top = root / "Makefile.am"
    top_vars = variables(top.read_text(encoding="utf-8")) if top.exists() else {}
    if words(top_vars.get("SDK_CPPFLAGS", "")) != ["-I$(top_srcdir)/plugins/sdk", "-include", "assay/poison.h"]:
        found.append(("room.mk", "Makefile.am: SDK_CPPFLAGS must give the SDK's include path and nothing else"))
    if top_vars.get("AM_CPPFLAGS", "").strip():
        found.append(("room.mk", "Makefile.am: AM_CPPFLAGS must be empty: a room sees only its own rules' include path"))
    for f in files:
        where = f.relative_to(root)
        for var, value in texts[f].items():
            m = re.fullmatch(r"(.+)_SOURCES", var)
            if not m:
                continue
            target = m.group(1)
            sources = words(expand(value, known))
            rooms = target_room(target, sources, root)
            names = sorted({r.name for s, r in rooms if r is not None})
            if not names or any(n in FREE for n in names):
                continue  # empty lists take their code from a library that is checked; tests are free
            room = next(r for s, r in rooms if r is not None)
            for s, r in rooms:
                if r is None or r.name != room.name:
                    found.append((room.name, f"{where}: {target} of {room.name} compiles {s}"))
            here = (where, target, room)
            for kind in ("CPPFLAGS", "CFLAGS"):
                check_compile(here, kind, words(expand(texts[f].get(f"{target}_{kind}", ""), known)), found)
            for kind in ("LIBADD", "LDADD", "LDFLAGS"):
                check_link(here, kind, words(expand(texts[f].get(f"{target}_{kind}", ""), known)), found)


def library_flag(word):
    m = re.fullmatch(r"\$\(([A-Z0-9]+)_(CFLAGS|LIBS)\)", word)
    return FLAG_OF.get(m.group(1)) if m else None


def check_compile(here, kind, flags, found):
    where, target, room = here
    skip = False
    for w in flags:
        say = f"{where}: {target}_{kind} has {w}"
        if skip:
            skip = False
            if w == "$(top_srcdir)/plugins/sdk/assay/poison.h":
                continue
            if "LLHTTP" not in w or "llhttp" not in room.libraries:
                found.append((room.name, say))
        elif w in ("$(SDK_CPPFLAGS)", "$(AM_CFLAGS)", "$(AM_CPPFLAGS)") or w.startswith("-D"):
            pass
        elif w == "-I$(top_srcdir)":
            if not room.top_include:
                found.append((room.name, f"{say}: this room sees the SDK's include path and nothing else"))
        elif w == "-include":  # the list of poisoned functions, which a room outside the SDK names by its path
            skip = True
        elif w == "-isystem":
            skip = True
        elif w.startswith("-I$(LLHTTP_"):
            if "llhttp" not in room.libraries:
                found.append((room.name, say))
        elif w.startswith(("-I", "-include", "-iquote", "-idirafter")):
            if w.rstrip("/") != f"-I$(top_srcdir)/{where.parent}":
                found.append((room.name, f"{say}: an include path of no rule's"))
        elif library_flag(w):
            if library_flag(w) not in room.libraries:
                found.append((room.name, f"{say}: {room.name} may not use {library_flag(w)}"))
        elif w.startswith("$(") and w.endswith(("_CFLAGS)", "_CPPFLAGS)")) and w not in (
                "$(HARDEN_CFLAGS)", "$(SAN_CFLAGS)", "$(WARN_CFLAGS)"):
            found.append((room.name, f"{say}: flags of an unknown library"))


def check_link(here, kind, flags, found):
    where, target, room = here
    for w in flags:
        say = f"{where}: {target}_{kind} has {w}"
        if w == "$(SDK_LIBS)":
            if "sdk" not in room.rooms:
                found.append((room.name, say))
            elif room.assay_headers is not None:
                found.append((room.name, f"{say}: this room links nothing of ours"))
        elif library_flag(w):
            if library_flag(w) not in room.libraries:
                found.append((room.name, f"{say}: {room.name} may not use {library_flag(w)}"))
        elif w.startswith("-l"):
            if w not in LINKER_FREE:
                found.append((room.name, f"{say}: libraries come by configure's variables"))
        elif w.endswith(".la"):
            other = room_of(pathlib.Path(w))
            if other is None or (other.name != room.name and other.name not in room.rooms):
                found.append((room.name, f"{say}: {room.name} may not link {other.name if other else 'that'}"))


# ---- cycles ----------------------------------------------------------------------------------------

def check_cycles(edges, found):
    state = {}

    def visit(node, trail):
        state[node] = "open"
        for n in sorted(edges.get(node, ())):
            if state.get(n) == "open":
                found.append(("cycles", "a cycle: " + " -> ".join(trail[trail.index(n):] + [n]
                                                                  if n in trail else trail + [n])))
            elif n not in state:
                visit(n, trail + [n])
        state[node] = "done"

    for node in sorted(edges):
        if node not in state:
            visit(node, [node])


def check(root):
    found, edges = [], {}
    check_includes(root, found, edges)
    check_room_mk(root, found)
    check_cycles(edges, found)
    return found


# ---- self-tests: each plant must be caught -----------------------------------------------------------

PLANTS = [
    # file, lines put in front (a new file is made where there was none), part of the complaint
    ("services/auth/planted.c", '#include <event2/event.h>\n', "services/auth may not include libevent"),
    ("services/auth/planted.c", '#include <sqlite3.h>\n', "services/auth may not include sqlite"),
    ("services/auth/planted.c", '#  include   <curl/curl.h>\n', "services/auth may not include curl"),
    ("services/auth/planted.c", '#include "gateway/log.h"\n', "services/auth may not include gateway"),
    ("services/auth/planted.c", '#include "queue/ring.h"\n', "services/auth may not include queue"),
    ("services/auth/planted.c", '#include "../agents/local.h"\n', "a path that climbs"),
    ("services/auth/planted.c", '#include "services/agents/local.h"\n', "services/auth may not include services/agents"),
    ("services/auth/planted.c", '#include <jansson.h>\n', "services/auth may not include jansson"),
    ("services/auth/planted.c", '#include <surprise.h>\n', "neither libc"),
    ("services/auth/planted.c", '#define H <jwt.h>\n#include H\n', "only literal names"),
    ("services/auth/planted.c", '#include <assay/nowhere.h>\n', "no such header of the SDK"),
    ("queue/planted.c", '#include "gateway/log.h"\n', "queue may not include gateway"),
    ("queue/ring.h", '#include "gateway/pool.h"\n', "a cycle: gateway -> queue -> gateway"),
    ("plugins/sdk/planted.c", '#include "queue/ring.h"\n', "sdk may not include queue"),
    ("services/runner/planted.c", '#include <seccomp.h>\n', "services/runner may include seccomp in seccomp.c only"),
    ("services/auth/planted.c", '#include <seccomp.h>\n', "services/auth may not include seccomp"),
    ("plugins/blob_fs/planted.c", '#include <sqlite3.h>\n', "plugins/blob_fs may not include sqlite"),
    ("plugins/blob_s3/planted.c", '#include <curl/curl.h>\n', "plugins/blob_s3 may not include curl"),
    ("plugins/blob_fs/planted.c", '#include "plugins/aws/aws.h"\n', "plugins/blob_fs may not include plugins/aws"),
    ("plugins/aws/planted.c", '#include <expat.h>\n', "plugins/aws may not include xml"),
    ("plugins/store_sqlite/planted.c", '#include <jwt.h>\n', "plugins/store_sqlite may not include libjwt"),
    ("plugins/warden/planted.c", '#include <assay/str.h>\n', "may include only assay/warden_wire.h"),
    ("boxkeeper/planted.c", '#include <llhttp.h>\n', "boxkeeper may not include llhttp"),
    ("gateway/planted.c", '#include <jwt.h>\n', "may include libjwt"),
    ("gateway/planted.c", '#include <event2/bufferevent.h>\n', "may include bufferevent"),
    ("gateway/planted.c", '#include <llhttp.h>\n', "may include llhttp"),
    ("gateway/planted.c", '#include <sqlite3.h>\n', "gateway may not include sqlite"),
    ("cli/planted.c", '#include <assay/broker.h>\n', "only cli/simulate/broker.c may include the SDK"),
    ("cli/simulate/planted.c", '#include <assay/str.h>\n', "only cli/simulate/broker.c may include the SDK"),
    ("cli/simulate/broker.c", '#include "gateway/log.h"\n', "cli may not include gateway"),
    ("elsewhere/planted.c", '#include <stdio.h>\n', "outside every room"),
    ("services/auth/room.mk", 'plugins_LTLIBRARIES += services/auth/p.la\nservices_auth_p_la_SOURCES = services/auth/http.c\n'
     'services_auth_p_la_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir)\n', "sees the SDK's include path and nothing else"),
    ("services/auth/room.mk", 'services_auth_p_la_SOURCES = services/auth/http.c\n'
     'services_auth_p_la_CPPFLAGS = $(SDK_CPPFLAGS) \\\n\t$(SQLITE_CFLAGS)\n', "services/auth may not use sqlite"),
    ("services/auth/room.mk", 'services_auth_p_la_SOURCES = services/auth/http.c services/agents/http.c\n',
     "compiles services/agents/http.c"),
    ("services/auth/room.mk", 'services_auth_p_la_SOURCES = services/auth/http.c\n'
     'services_auth_p_la_LIBADD = queue/libassay_queue.la\n', "services/auth may not link queue"),
    ("services/auth/room.mk", 'EXTRA = $(CURL_LIBS)\nservices_auth_p_la_SOURCES = services/auth/http.c\n'
     'services_auth_p_la_LIBADD = $(SDK_LIBS) $(EXTRA)\n', "services/auth may not use curl"),
    ("services/auth/room.mk", 'services_auth_p_la_SOURCES = services/auth/http.c\n'
     'services_auth_p_la_LIBADD = -levent\n', "libraries come by configure's variables"),
    ("plugins/warden/room.mk", 'w_SOURCES = plugins/warden/main.c\nw_LDADD = $(SDK_LIBS)\n', "links nothing of ours"),
    ("Makefile.am", 'AM_CPPFLAGS = -I/usr/include/event2\n', "AM_CPPFLAGS must be empty"),
]

HARMLESS = [
    ("services/auth/planted.c", '/* #include <sqlite3.h> */\n// #include <jwt.h>\nconst char *s = "\\n#include <curl/curl.h>";\n'
     '#include <stdint.h>\n#include <assay/err.h>\n#include "local.h"\n#include <sys/stat.h>\n'),
    ("gateway/planted.c", '#include "queue/ring.h"\n#include "gateway/log.h"\n#include "log.h"\n#include <assay/err.h>\n'),
]


def copy_tree(root, to):
    for path in list(c_files(root)) + [p.relative_to(root) for p in root.glob("**/room.mk")] + [pathlib.Path("Makefile.am")]:
        if (root / path).is_file():
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / path, to / path)


class Planted:
    """One file of the copy with something put in, restored at the end."""

    def __init__(self, tree, path, text):
        self.file, self.text = tree / path, text

    def __enter__(self):
        self.old = self.file.read_text(encoding="utf-8") if self.file.exists() else None
        self.made = [d for d in self.file.parents if not d.exists()]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        old = self.old or ""
        if self.file.name == "Makefile.am":
            self.file.write_text(old + "\n" + self.text, encoding="utf-8")
        else:
            self.file.write_text(self.text + "\n" + old, encoding="utf-8")

    def __exit__(self, *_):
        if self.old is None:
            self.file.unlink()
        else:
            self.file.write_text(self.old, encoding="utf-8")
        for d in self.made:
            d.rmdir()


def main():
    root = pathlib.Path(os.environ.get("top_srcdir") or pathlib.Path(__file__).resolve().parents[2]).resolve()
    results = []  # (ok, name, notes)
    found = check(root)
    rooms = sorted({r.name for r in map(room_of, c_files(root)) if r is not None and r.name not in FREE})
    for name in rooms:
        notes = [m for who, m in found if who == name]
        results.append((not notes, f"{name} includes, compiles and links only what it may", notes))
    notes = [m for who, m in found if who not in rooms]
    results.append((not notes, "all C code is in a room, no room.mk widens the include path, no cycles", notes))

    with tempfile.TemporaryDirectory(prefix="assay-deps-") as tmp:
        tree = pathlib.Path(tmp)
        copy_tree(root, tree)
        before = {m for _, m in check(tree)}
        for path, text, want in PLANTS:
            with Planted(tree, path, text):
                new = [m for _, m in check(tree) if m not in before]
            ok = any(want in m for m in new)
            what = " ".join(text.split())
            results.append((ok, f"a plant is caught: {path}: {what[:70]}".replace("#", "\\#"), [] if ok else [f"wanted \"{want}\", got: {new}"]))
        for path, text in HARMLESS:
            with Planted(tree, path, text):
                new = [m for _, m in check(tree) if m not in before]
            results.append((not new, f"what is allowed is not caught in {path}", new))

    print(f"1..{len(results)}")
    for i, (ok, name, notes) in enumerate(results, 1):
        print(f"{'ok' if ok else 'not ok'} {i} - {name}")
        for n in notes:
            print(f"# {n}")
    return 0 if all(ok for ok, _, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
