/*
 * What a warden speaks: the stream on its descriptor 3, the control socket on its descriptor 4, and
 * its command line.  Shared by the warden (which has no other header of ours), the box client of the
 * SDK and the sandbox drivers; so it includes <stdint.h> and nothing else.
 *
 * All numbers are little-endian, structs are laid out without holes, and both ends are on one
 * machine.  Neither end believes the other: a frame that breaks a rule below ends the stream.
 *
 * STREAM (SOCK_STREAM, runner <-> warden).  Frames: struct assay_warden_frame, then `length` bytes.
 * The warden sends HELLO once.  Then, one box at a time: RUN (client), OUTPUT* (warden), DONE
 * (warden).  PRESTART starts an interpreter ahead, to be forked for the RUNs of just this argv and environment that
 * ask for it (ASSAY_BOX_WARM), and is answered PRESTARTED.  CANCEL may come while a box runs; its serial says which one
 * is meant, so that a cancel
 * that crosses a DONE is harmless.  DROP forgets an artefact.  PUT brings an artefact and is answered
 * STORED; GET asks for one and is answered CONTENT* STORED; FIND asks where programs are in the root that
 * boxes see and is answered FOUND; none of these four may come while a box runs.  WORN, once, says that
 * the warden wants to be replaced (it has run as many boxes as it was meant to, or found something odd):
 * what belongs to a job under way still runs, and then the client closes the stream.  End of file ends the
 * warden and with it the box.
 *
 * With ASSAY_BOX_CONVERSE a RUN's program talks with somebody on the client's side: INPUT brings more of its stdin
 * (behind stdin_bytes; without bytes: its end), at most ASSAY_WARDEN_INPUT_WINDOW bytes ahead of what TAKEN says that the program's
 * pipe has taken, or that nobody reads it any more.  ENDED says that the program's stdout is at its end.  HANGUP
 * says that nobody reads that any more, so that the program meets a closed pipe.  INPUT and HANGUP name the run, and
 * are harmless when it has ended meanwhile.
 *
 * CONTROL (SOCK_SEQPACKET, boxkeeper <-> warden; may be absent).  The boxkeeper gives a leaf, the
 * place where a box's program tree is accounted and limited:
 *
 *     LEAF  struct assay_warden_leaf, and in one SCM_RIGHTS the descriptors whose bits are set in
 *           `present`, in ascending order of the bits.
 *     SPENT struct assay_warden_spent, from the warden: leaf `id` will not be used again.
 *
 * A warden that is nobody's child (in a container) makes the control socket itself, by --connect, and begins it:
 *
 *     JOIN   struct assay_warden_join, from the warden: which one it is.
 *     STREAM struct assay_warden_stream and one descriptor, in answer: the stream.  A leaf may follow.
 *     GRIEF  struct assay_warden_grief, from the warden: why it dies; its stderr may have no reader.
 *
 * A version 1 leaf is ASSAY_LEAF_REUSABLE: the warden resets it by writing the files and uses it for
 * every box; it says SPENT (with `dirty`) only when a reset fails.  A version 2 leaf serves one box and is SPENT
 * after it: keep one or two ahead, and remove the directory on SPENT.  Send the first leaf before
 * the warden is started: it looks for one before it says HELLO, whose feature bits tell what it got.
 *
 * Making a version 1 leaf (limits are the warden's to write; let use_hierarchy be 1 in the parent):
 *
 *     mkdir("/sys/fs/cgroup/memory/assay/w3", 0755);   likewise under cpuacct/ and pids/
 *     fds[0] = open("/sys/fs/cgroup/memory/assay/w3/tasks", O_RDWR | O_CLOEXEC);                 MEMORY_PROCS
 *     fds[1] = open(".../memory.limit_in_bytes", O_RDWR | O_CLOEXEC);                            MEMORY_MAX
 *     fds[2] = open(".../memory.memsw.limit_in_bytes", O_RDWR | O_CLOEXEC);  when it is there    MEMORY_SWAP
 *     fds[3] = open(".../memory.max_usage_in_bytes", O_RDWR | O_CLOEXEC);                        MEMORY_PEAK
 *     fds[4] = open(".../memory.usage_in_bytes", O_RDONLY | O_CLOEXEC);                          MEMORY_USAGE
 *     fds[5] = open(".../memory.oom_control", O_RDONLY | O_CLOEXEC);                             MEMORY_EVENTS
 *     fds[6] = open("/sys/fs/cgroup/cpuacct/assay/w3/tasks", O_RDWR | O_CLOEXEC);                CPU_PROCS
 *     fds[7] = open(".../cpuacct.usage", O_RDWR | O_CLOEXEC);                                    CPU_USAGE
 *     fds[8] = open(".../cpuacct.stat", O_RDONLY | O_CLOEXEC);                                   CPU_STAT
 *     fds[9] = open("/sys/fs/cgroup/pids/assay/w3/tasks", O_RDWR | O_CLOEXEC);                   PIDS_PROCS
 *     fds[10] = open(".../pids.max", O_RDWR | O_CLOEXEC);                                        PIDS_MAX
 *     fds[11] = open("/sys/fs/cgroup/memory/assay/w3/memory.stat", O_RDONLY | O_CLOEXEC);        MEMORY_STAT
 *     leaf = (struct assay_warden_leaf){.type = ASSAY_WARDEN_LEAF, .version = 1, .id = 3,
 *                                       .flags = ASSAY_LEAF_REUSABLE, .present = ASSAY_LEAF_ALL_V1};
 *     sendmsg(control, iov = leaf, SCM_RIGHTS = fds);  then close the fds.
 *
 * (The tasks file and not cgroup.procs: a thread that writes "0" there moves itself without the
 * kernel's global lock against forks. A single-threaded child is what joins.)
 *
 * A version 2 leaf: one directory; MEMORY_PROCS is its cgroup.procs (O_RDWR), MEMORY_MAX memory.max,
 * MEMORY_SWAP memory.swap.max, MEMORY_PEAK memory.peak (5.19 and later), MEMORY_USAGE memory.current,
 * MEMORY_EVENTS memory.events, MEMORY_STAT memory.stat, CPU_USAGE cpu.stat (O_RDONLY; user and system are in it), PIDS_MAX
 * pids.max, DIR the directory itself (O_RDONLY | O_DIRECTORY: the program is then born in the leaf,
 * which spares the kernel a lock with a grace period); CPU_PROCS, CPU_STAT and PIDS_PROCS are not sent.  What a machine does not have is left
 * out of `present`, and the warden reports the lost precision.
 *
 * COMMAND LINE.  assay-warden OPTION...
 *
 *     --mode=native         started as root on the host: own mount, net, ipc and uts namespaces
 *     --mode=userns         started as an ordinary user: the same inside a user namespace
 *     --mode=docker         in a container, already cut off from host and net: user namespace in it
 *     --mode=reduced        no namespaces at all: Landlock, a uid of its own as root, seccomp; --mount-at is where
 *                           its directories are made (and what a killed warden left there is removed first, unless
 *                           it is /tmp); --bind names what may be read where it is; no --base, no --link
 *     --name=TEXT           in messages
 *     --uid=N --gid=N       who a box's program is; native: give each warden its own, never 0
 *     --base=DIR            the root whose usr, bin, lib, lib32, lib64, sbin a box sees (default /)
 *     --bind=SRC:DST        more of the host, read-only, file or directory ("SRC" alone: same place);
 *                           SRC is as the host sees it; the warden fails when it is missing
 *     --bind-try=SRC:DST    the same, passed over when SRC does not exist
 *     --hide=PATH           an empty directory (or file) over PATH in the box's root, after the binds
 *     --shared=DIR          a directory of the host with one unpacked artefact in each of its directories that is named
 *                           by an id; mounts find them like those of the store, read-only. They may come
 *                           and go while the warden runs, and are taken to be what their names say: whoever
 *                           writes there has checked them. Passed over when it does not exist
 *     --link=TARGET:PATH    a symbolic link in the box's root
 *     --mount-at=DIR        an existing directory to build the new root on (default /tmp); only this
 *                           process sees the mount
 *     --leaf=none|optional|required   optional (default): boxes run without a leaf when fd 4 is
 *                           absent or gives none; required: they fail
 *     --artefact-bytes=N --artefact-count=N   bounds of the artefact store (256 MiB, 64)
 *     --scratch-bytes=N     most that a box may ask for as scratch (1 GiB)
 *     --request-bytes=N     longest RUN (256 MiB)
 *     --boxes=N             say WORN after so many boxes (0: never)
 *     --connect=PATH --token=TEXT   ask for stream and control at this SOCK_SEQPACKET socket (JOIN)
 *     --one-job             say in the HELLO that this warden is good for one job only
 *     --stdio               the stream is standard input and output, there is no control
 *     --stay-attached       do not ask for SIGKILL at the parent's death (for debuggers)
 *     --version             prints the version and ends
 *
 * A host's /usr/local (base /, not in a container) is hidden unless --bind=/usr/local is given; /proc, /dev, /tmp, /box and an /etc with
 * passwd, group, hosts, nsswitch.conf and ld.so.cache are made by the warden itself.
 * Exit status: 0 the stream ended; 1 it could not start (a line on stderr says why); 2 bad usage.
 */
#ifndef ASSAY_WARDEN_WIRE_H
#define ASSAY_WARDEN_WIRE_H

#include <stdint.h>

#define ASSAY_WARDEN_STREAM_FD 3
#define ASSAY_WARDEN_CONTROL_FD 4
#define ASSAY_WARDEN_PROTOCOL 1u

/* ---- stream ---- */

enum assay_warden_frame_type {
    ASSAY_WARDEN_HELLO = 1,   /* warden: struct assay_warden_hello */
    ASSAY_WARDEN_OUTPUT = 2,  /* warden: u32 stream (1 or 2), then 1 to ASSAY_WARDEN_OUTPUT_MAX bytes */
    ASSAY_WARDEN_DONE = 3,    /* warden: struct assay_warden_done */
    ASSAY_WARDEN_CONTENT = 4, /* warden: 1 to ASSAY_WARDEN_OUTPUT_MAX bytes of an artefact's encoding */
    ASSAY_WARDEN_STORED = 5,  /* warden: struct assay_warden_stored */
    ASSAY_WARDEN_WORN = 7,    /* warden: nothing */
    ASSAY_WARDEN_PRESTARTED = 8,  /* warden: struct assay_warden_prestarted */
    ASSAY_WARDEN_FOUND = 6,   /* warden: u32 count, then so many times { u32 found; string text } */
    ASSAY_WARDEN_TAKEN = 9,   /* warden: struct assay_warden_taken */
    ASSAY_WARDEN_ENDED = 10,  /* warden: u64 serial */
    ASSAY_WARDEN_INPUT = 23,  /* client: u64 serial, then 0 to ASSAY_WARDEN_INPUT_MAX bytes */
    ASSAY_WARDEN_HANGUP = 24, /* client: u64 serial */
    ASSAY_WARDEN_RUN = 16,    /* client: struct assay_warden_run and what follows it */
    ASSAY_WARDEN_CANCEL = 17, /* client: u64 serial */
    ASSAY_WARDEN_DROP = 18,   /* client: 64 hex digits */
    ASSAY_WARDEN_PUT = 19,    /* client: an artefact's encoding */
    ASSAY_WARDEN_GET = 20,    /* client: 64 hex digits */
    ASSAY_WARDEN_PRESTART = 22,   /* client: struct assay_warden_prestart, then n_argv and n_env strings as in a RUN */
    ASSAY_WARDEN_FIND = 21,   /* client: u32 count, then so many strings; see below */
};

struct assay_warden_frame {
    uint32_t length; /* of what follows these 8 bytes */
    uint16_t type;
    uint16_t zero;
};

#define ASSAY_WARDEN_OUTPUT_MAX 65536u
#define ASSAY_WARDEN_INPUT_MAX 8192u
#define ASSAY_WARDEN_INPUT_WINDOW 65536u
#define ASSAY_WARDEN_RUN_MAX (256u << 20)
#define ASSAY_WARDEN_ARTEFACT_HEX 64u
#define ASSAY_WARDEN_ARGV_MAX 4096u    /* entries in argv, and in env */
#define ASSAY_WARDEN_STRING_MAX 131071u /* the kernel's own bound of one argument (MAX_ARG_STRLEN) less its NUL */
#define ASSAY_WARDEN_FILES_MAX 4096u
#define ASSAY_WARDEN_MOUNTS_MAX 16u
#define ASSAY_WARDEN_COLLECT_MAX 256u
/* In place of an artefact: the working directory itself, shown at an existing directory (an absolute path) of the
 * box's root as well; the program begins there. One such mount at most, as the last. */
#define ASSAY_WARDEN_SELF "0000000000000000000000000000000000000000000000000000000000000000"
#define ASSAY_WARDEN_WARM "/warm"      /* an empty directory of every box, where no file of a request can be */
#define ASSAY_WARDEN_PATH_MAX 1024u    /* bytes of a path in a box; its parts at most 255 */
#define ASSAY_WARDEN_PRESTART_MAX 16384u   /* bytes of a PRESTART */
#define ASSAY_WARDEN_PRESTART_STRINGS 64u  /* entries in its argv, and in its env */
#define ASSAY_WARDEN_SECCOMP_MAX 4096u /* instructions, BPF_MAXINSNS */
#define ASSAY_WARDEN_CPU_WORDS 16u     /* of 64 processors each */

struct assay_warden_hello {
    uint32_t protocol;
    uint32_t features; /* as struct assay_box_hello */
    char version[32];  /* NUL-terminated, like every char array here */
    char mode[32];
};

/*
 * Followed by, in this order and without padding:
 *   n_argv strings, n_env strings,
 *   n_files times  { string path; u32 mode; u64 size; bytes },
 *   n_mounts times { string artefact (64 hex digits); string path },
 *   n_collect strings,
 *   seccomp_bytes bytes (struct sock_filter each 8), stdin_bytes bytes.
 * A string is u32 length, that many bytes without NUL, and one NUL.
 * Paths are relative, without empty, "." or ".." parts; a mount may also be at ASSAY_WARDEN_WARM.  A collected
 * path may name a directory: then the regular files below it are kept.
 */
struct assay_warden_run {
    uint64_t serial; /* rises with each run of a stream */
    int64_t cpu_ms, wall_ms, memory_bytes, stdout_bytes, stderr_bytes, processes, open_files, file_bytes, stack_bytes,
        scratch_bytes, scratch_files; /* as struct assay_box_limits */
    int64_t cpu_hard_ms;
    int64_t collect_bytes;
    int64_t warm_cpu_us, warm_memory_bytes; /* counted as used when the program is forked from a warm interpreter */
    uint64_t stdin_bytes;
    uint32_t seccomp_bytes;
    uint32_t flags; /* enum assay_box_flag */
    uint32_t n_argv, n_env, n_files, n_mounts, n_collect;
    uint32_t zero;
    uint64_t cpus[ASSAY_WARDEN_CPU_WORDS]; /* processor n is bit n % 64 of word n / 64; all zero: wherever it likes */
};

struct assay_warden_done {
    uint64_t serial;
    uint32_t end; /* enum assay_box_end */
    int32_t exit_code, signal;
    uint32_t precision;
    int64_t cpu_us, cpu_user_us, cpu_system_us, wall_us, memory_peak_bytes, max_rss_bytes, oom_kills, stdout_bytes,
        stderr_bytes, voluntary_switches, forced_switches, memory_own_bytes;
    uint32_t finished; /* 1: the program ended by itself, even if over a limit */
    uint32_t warm; /* 1: forked, and what the RUN said is in cpu_us, cpu_user_us and the two of memory */
    char artefact[72]; /* 64 hex digits, or "" */
    char message[256];
};

struct assay_warden_taken {
    uint64_t serial;
    uint32_t bytes;  /* since the last one */
    uint32_t closed; /* 1: nobody reads the program's stdin any more */
};

struct assay_warden_prestart {
    uint32_t n_argv, n_env;
};

struct assay_warden_prestarted {
    char message[256]; /* why not; "" when the interpreter waits */
};

struct assay_warden_stored {
    char artefact[72]; /* 64 hex digits; "" when it was refused, or is not there */
    char message[256]; /* why */
};

/*
 * FIND.  Each string names one tool by candidates between single spaces, best first: a name without '/' is
 * looked for in ASSAY_WARDEN_PLACES, an absolute path is pinned to itself.  Found is the first candidate
 * that is, with all links followed inside the box's root, a regular ELF file that somebody may execute.  Scripts
 * are refused: a version manager's shim is one, and would start a shell for each run.  In FOUND `found` is 1
 * and `text` the file's own path, or 0 and why none was taken; as many answers as questions, in their order.
 */
#define ASSAY_WARDEN_FIND_MAX 32u          /* tools in one FIND */
#define ASSAY_WARDEN_FIND_BYTES 65536u     /* longest FIND */
#define ASSAY_WARDEN_PLACES {"/usr/bin", "/bin", "/usr/lib/go/bin", "/usr/local/bin"}

/*
 * An artefact's encoding: ASSAY_ARTEFACT_MAGIC and then, for each file in the order of its path's
 * bytes: path, NUL, "755" or "644", NUL, size in decimal, NUL, the bytes.  Its SHA-256 is the artefact's id.
 */
#define ASSAY_ARTEFACT_MAGIC "assay-artefact-1\n"

/* ---- control ---- */

enum assay_warden_control_type {
    ASSAY_WARDEN_LEAF = 1,
    ASSAY_WARDEN_SPENT = 2,
    ASSAY_WARDEN_JOIN = 3,
    ASSAY_WARDEN_STREAM = 4,
    ASSAY_WARDEN_GRIEF = 5,
};

/* One descriptor each; the value is its bit in `present`. */
enum assay_leaf_fd {
    ASSAY_LEAF_MEMORY_PROCS = 0,  /* v2: the cgroup.procs */
    ASSAY_LEAF_MEMORY_MAX = 1,
    ASSAY_LEAF_MEMORY_SWAP = 2,
    ASSAY_LEAF_MEMORY_PEAK = 3,
    ASSAY_LEAF_MEMORY_USAGE = 4,
    ASSAY_LEAF_MEMORY_EVENTS = 5,
    ASSAY_LEAF_CPU_PROCS = 6,
    ASSAY_LEAF_CPU_USAGE = 7,     /* v1: cpuacct.usage; v2: cpu.stat */
    ASSAY_LEAF_CPU_STAT = 8,
    ASSAY_LEAF_PIDS_PROCS = 9,
    ASSAY_LEAF_PIDS_MAX = 10,
    ASSAY_LEAF_DIR = 11,          /* v2 only: the directory */
    ASSAY_LEAF_MEMORY_STAT = 12,
    ASSAY_LEAF_FD_COUNT = 13,
};
#define ASSAY_LEAF_BIT(x) (1u << (x))
#define ASSAY_LEAF_ALL_V1 (((1u << ASSAY_LEAF_DIR) - 1u) | ASSAY_LEAF_BIT(ASSAY_LEAF_MEMORY_STAT))

#define ASSAY_LEAF_REUSABLE 1u

struct assay_warden_leaf {
    uint32_t type; /* ASSAY_WARDEN_LEAF */
    uint32_t version; /* 1 or 2 */
    uint64_t id;
    uint32_t flags;
    uint32_t present;
};

struct assay_warden_spent {
    uint32_t type; /* ASSAY_WARDEN_SPENT */
    uint32_t dirty; /* 1: it could not be reset, or something was left in it */
    uint64_t id;
};

#define ASSAY_WARDEN_TOKEN 32u /* hex digits */
struct assay_warden_join {
    uint32_t type; /* ASSAY_WARDEN_JOIN */
    uint32_t zero;
    char token[40]; /* NUL-terminated */
};

struct assay_warden_stream {
    uint32_t type;   /* ASSAY_WARDEN_STREAM */
    uint32_t leaves; /* so many LEAF follow at once: wait for the first before the HELLO */
};

struct assay_warden_grief {
    uint32_t type; /* ASSAY_WARDEN_GRIEF */
    uint32_t zero;
    char text[496]; /* NUL-terminated */
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the stream is little-endian");
_Static_assert(sizeof(struct assay_warden_frame) == 8, "no holes");
_Static_assert(sizeof(struct assay_warden_hello) == 72, "no holes");
_Static_assert(sizeof(struct assay_warden_run) == 17 * 8 + 8 * 4 + 8 * ASSAY_WARDEN_CPU_WORDS, "no holes");
_Static_assert(sizeof(struct assay_warden_done) == 8 + 16 + 96 + 8 + 72 + 256, "no holes");
_Static_assert(sizeof(struct assay_warden_taken) == 16, "no holes");
_Static_assert(sizeof(struct assay_warden_stored) == 72 + 256, "no holes");
_Static_assert(sizeof(struct assay_warden_leaf) == 24, "no holes");
_Static_assert(sizeof(struct assay_warden_spent) == 16, "no holes");
_Static_assert(sizeof(struct assay_warden_join) == 48, "no holes");
_Static_assert(sizeof(struct assay_warden_stream) == 8, "no holes");
_Static_assert(sizeof(struct assay_warden_grief) == 504, "no holes");

#endif
