/*
 * What a program in a box may ask of the kernel: an allow-list, compiled to BPF once at start.
 *
 * Default is ENOSYS: a libc that finds a call missing falls back to an older one (clone3 to clone,
 * openat2 to openat), so new kernels and new libcs neither break programs nor widen the list.  Calls
 * that a program could only make to attack are answered the same way; a few that no honest program
 * tries end it, which gives a clear RE instead of a quiet refusal.  Namespaces, mounts, keys, tracing,
 * modules, BPF, perf, io_uring, userfaultfd and raw clocks are not on the list: the box's root and its
 * user are the first wall, this is the second.
 *
 * CPython, gcc and its children, the JVM, Go, Node, Perl and Bash run under it.
 *
 * The program.  libseccomp knows the numbers of this machine's calls and makes a tree with a leaf for every one of them:
 * 389 instructions, and the kernel's work for a filter (it is compiled, and tried once for each number, whenever
 * it is installed: once a box) grows with them.  Allowed numbers come in runs, so here the tree is over the runs' ends:
 *
 *     the architecture, or the process dies (numbers of another mean other things); x32 likewise
 *     a binary search among the runs, ending at one of
 *     four answers, or the conditions of one call: loads and compares of its arguments
 *
 * 174 instructions.  Installing it took 58 us of CPU time where libseccomp's own of the same list took 102 (means of 400,
 * five times in turn, Linux 6.18).  Jumps reach 255 instructions: seccomp_compile refuses a list that outgrows that.
 */
#include "local.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <termios.h>

#define NUMBERS 1024u /* more than any table has; what lies above is answered as the last of them */
#define PROGRAM_MAX 512u
#define X32_BIT 0x40000000u

static const char *const allowed[] = {
    /* memory; shared anonymous memory is charged to the box like any other; V8 has use for protection keys */
    "brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "msync", "mincore", "mlock", "mlock2", "munlock", "membarrier",
    "memfd_create", "pkey_alloc", "pkey_free", "pkey_mprotect", "get_mempolicy",
    /* files: what there is to open is decided by the box's mounts. Not here: syncfs and readahead, which make the disk
     * work for a file that is only read; inotify, since what is watched may be shared with other boxes; mknod */
    "open", "openat", "creat", "close", "close_range", "read", "readv", "pread64", "preadv", "preadv2", "write", "writev",
    "pwrite64", "pwritev", "pwritev2", "lseek", "sendfile", "splice", "copy_file_range", "fadvise64", "truncate", "ftruncate",
    "fallocate", "fsync", "fdatasync", "flock", "dup", "dup2", "dup3", "fcntl", "pipe", "pipe2", "stat", "fstat", "lstat",
    "newfstatat", "statx", "statfs", "fstatfs", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents",
    "getdents64", "getcwd", "chdir", "fchdir", "mkdir", "mkdirat", "rmdir", "rename", "renameat", "renameat2", "link", "linkat",
    "symlink", "symlinkat", "unlink", "unlinkat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "umask",
    "utime", "utimes", "utimensat", "futimesat", "getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr",
    /* waiting for files and one another; the box has no network, but local sockets are pipes to many runtimes */
    "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
    "epoll_pwait2", "eventfd", "eventfd2", "timerfd_create", "timerfd_settime", "timerfd_gettime", "signalfd", "signalfd4",
    "socketpair", "shutdown", "sendmsg", "recvmsg", "sendto", "recvfrom", "sendmmsg", "recvmmsg", "getsockopt", "setsockopt",
    "getsockname", "getpeername", "bind", "connect", "listen", "accept", "accept4",
    /* processes and threads; how many is the box's limit. clone, socket, prctl: see conditional */
    "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "set_tid_address", "set_robust_list",
    "get_robust_list", "futex", "futex_waitv", "rseq", "arch_prctl", "gettid", "getpid", "getppid", "getpgid", "getpgrp",
    "setpgid", "getsid", "setsid", "kill", "tkill", "tgkill", "pidfd_open", "pidfd_send_signal", "sched_yield",
    "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_setscheduler", "sched_setparam",
    "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval", "getpriority", "setpriority", "ioprio_get",
    "getcpu", "getrlimit", "getrusage", "times", "sysinfo", "uname", "restart_syscall", "capget",
    /* who it is: asking, and changing to what it is already (no_new_privs and one mapped uid leave nothing else) */
    "getuid", "geteuid", "getgid", "getegid", "getgroups", "getresuid", "getresgid", "setuid", "setgid", "setreuid",
    "setregid", "setresuid", "setresgid",
    /* signals */
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend", "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo",
    "rt_tgsigqueueinfo", "sigaltstack", "pause", "alarm",
    /* time: reading clocks, sleeping, timers; setting a clock is not here */
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getitimer", "setitimer",
    "timer_create", "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete", "getrandom",
    /* System V ipc lives in the box's own namespace and dies with it */
    "shmget", "shmat", "shmdt", "shmctl", "semget", "semop", "semctl", "semtimedop", "msgget", "msgsnd", "msgrcv", "msgctl",
};

/* What a runtime may ask for and has to do without: a box stays on the processors it was given, or its time would be
 * measured beside a neighbour's. Runtimes count them with sched_getaffinity, which is allowed. */
static const char *const refused[] = {"sched_setaffinity"};

/* Memory that belongs to no process: without a leaf nobody could count it. */
static const char *const uncounted[] = {"memfd_create", "shmget"};

/* No honest program tries these: end it, so that the verdict says so. */
static const char *const deadly[] = {"reboot", "kexec_load", "kexec_file_load", "init_module", "finit_module",
                                     "delete_module", "swapon", "swapoff", "iopl", "ioperm"};

/* Allowed when one of its arguments, under the mask, is one of the values. The kernel reads 32 bits of an int, so no
 * more are compared; `pointer` compares all 64 bits with 0 instead. */
struct condition {
    const char *name;
    unsigned arg;
    uint32_t mask;
    bool pointer;
    bool demand; /* the other way round: missing unless it is the one value; the next condition goes on */
    const uint32_t *value;
    size_t n;
};
#define ALL UINT32_C(0xffffffff)
#define NEW_NAMESPACES                                                                                                 \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)
#define VALUES(...) .value = (const uint32_t[]){__VA_ARGS__}, .n = sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)

/* Those of one call stand together. */
static const struct condition conditional[] = {
    /* threads and children, but no namespaces */
    {.name = "clone", .arg = 0, .mask = NEW_NAMESPACES, VALUES(0)},
    /* local sockets only: no internet, no netlink, no packets, no vsock */
    {.name = "socket", .arg = 0, .mask = ALL, VALUES(AF_UNIX)},
    /* terminals: asked after by every libc; and closing on exec, non-blocking, bytes waiting. TIOCSTI is not here */
    {.name = "ioctl", .arg = 1, .mask = ALL,
     VALUES(TCGETS, TIOCGWINSZ, TIOCGPGRP, FIONREAD, FIONBIO, FIOCLEX, FIONCLEX, FIOASYNC)},
    /* names of threads, death signals, dumpability, who gets a dead one's children (assay-project does); PR_SET_MM, PR_SET_SECCOMP and the like are not here */
    {.name = "prctl", .arg = 0, .mask = ALL,
     VALUES(PR_SET_NAME, PR_GET_NAME, PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE,
            PR_GET_NO_NEW_PRIVS, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_READ, PR_SET_VMA, PR_GET_TIMERSLACK, PR_SET_TIMERSLACK,
            PR_SET_THP_DISABLE, PR_GET_SECCOMP, PR_SET_CHILD_SUBREAPER)},
    /* asking which personality it has, and gcc's and the JVM's wish for a fixed layout */
    {.name = "personality", .arg = 0, .mask = ALL, VALUES(0, ADDR_NO_RANDOMIZE, 0xffffffffU)},
    /* limits: all may be read, and all but that of cores set: at 0 a crash may start the host's program for cores (core(5)) */
    {.name = "prlimit64", .arg = 2, .pointer = true},
    {.name = "prlimit64", .arg = 0, .mask = ALL, .demand = true, VALUES(0)}, /* its own only: without root others have the same user */
    {.name = "prlimit64", .arg = 1, .mask = ALL,
     VALUES(RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_RSS, RLIMIT_NPROC, RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_AS,
            RLIMIT_SIGPENDING, RLIMIT_NICE)},
    {.name = "setrlimit", .arg = 0, .mask = ALL,
     VALUES(RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_RSS, RLIMIT_NPROC, RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_AS,
            RLIMIT_SIGPENDING, RLIMIT_NICE)},
};
#define N_CONDITIONAL (sizeof conditional / sizeof conditional[0])

/* ---- the answers, and where in the program they are ---- */

enum fate { MISSING, ALLOWED, REFUSED, DEADLY, CONDITIONAL /* and more: its index in the table */ };
#define FATES (CONDITIONAL + N_CONDITIONAL)

struct assembler {
    struct sock_filter op[PROGRAM_MAX];
    /* The jumps of an instruction, as fates until all is placed; -1: what they are is final. */
    int true_fate[PROGRAM_MAX], false_fate[PROGRAM_MAX];
    size_t n, place[FATES];
    uint8_t fate[NUMBERS];
    uint32_t start[NUMBERS]; /* where the runs of one fate begin */
    size_t runs;
    bool overflow;
};

static size_t emit(struct assembler *a, struct sock_filter op, int true_fate, int false_fate)
{
    if (a->n == PROGRAM_MAX) {
        a->overflow = true;
        return 0;
    }
    a->op[a->n] = op;
    a->true_fate[a->n] = true_fate;
    a->false_fate[a->n] = false_fate;
    return a->n++;
}

static void load(struct assembler *a, size_t offset)
{
    (void)emit(a, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset), -1, -1);
}

static void answer(struct assembler *a, enum fate fate, uint32_t action)
{
    a->place[fate] = emit(a, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action), -1, -1);
}

/* Distances over which a conditional jump goes are a byte. */
static void jump_offset(struct assembler *a, uint8_t *out, size_t from, size_t to)
{
    if (to <= from || to - from - 1 > UINT8_MAX)
        a->overflow = true;
    else
        *out = (uint8_t)(to - from - 1);
}

/* The search among runs first to last, which are two at least. */
static void search(struct assembler *a, size_t first, size_t last)
{
    size_t middle = first + (last - first + 1) / 2;
    bool left_ends = middle - first == 1, right_ends = middle == last;
    size_t at = emit(a, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, a->start[middle], 0, 0),
                     right_ends ? a->fate[a->start[middle]] : -1, left_ends ? a->fate[a->start[first]] : -1);
    if (!left_ends) { /* falls through to it: its jump is 0 */
        search(a, first, middle - 1);
        if (a->overflow)
            return;
    }
    if (!right_ends) {
        jump_offset(a, &a->op[at].jt, at, a->n);
        search(a, middle, last);
    }
}

static void condition(struct assembler *a, const struct condition *c)
{
    size_t low = offsetof(struct seccomp_data, args) + c->arg * sizeof(uint64_t); /* little-endian: assay/warden_wire.h */
    load(a, low);
    if (c->pointer) {
        (void)emit(a, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2), -1, -1);
        load(a, low + sizeof(uint32_t));
        (void)emit(a, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 0), ALLOWED, -1);
    }
    if (!c->pointer && c->mask != ALL)
        (void)emit(a, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, c->mask), -1, -1);
    for (size_t i = 0; i < c->n; i++)
        (void)emit(a, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, c->value[i], 0, 0), c->demand ? -1 : ALLOWED,
                   c->demand ? MISSING : -1);
}

static bool same_call(size_t i, size_t j)
{
    return j < N_CONDITIONAL && strcmp(conditional[i].name, conditional[j].name) == 0;
}

/* A name that this machine's table does not have needs no rule. */
static void call_set(struct assembler *a, const char *name, size_t fate)
{
    int nr = seccomp_syscall_resolve_name(name);
    if (nr >= 0 && (unsigned)nr < NUMBERS)
        a->fate[nr] = (uint8_t)fate;
}

static void assemble(struct assembler *a, bool counted)
{
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        call_set(a, allowed[i], ALLOWED);
    for (size_t i = 0; i < sizeof uncounted / sizeof uncounted[0] && !counted; i++)
        call_set(a, uncounted[i], MISSING);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        call_set(a, refused[i], REFUSED);
    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
        call_set(a, deadly[i], DEADLY);
    for (size_t i = N_CONDITIONAL; i-- > 0;) /* the first of a call is what the search leads to */
        call_set(a, conditional[i].name, CONDITIONAL + i);
    for (uint32_t nr = 0; nr < NUMBERS; nr++)
        if (nr == 0 || a->fate[nr] != a->fate[nr - 1])
            a->start[a->runs++] = nr;

    uint32_t arch = seccomp_arch_native();
    load(a, offsetof(struct seccomp_data, arch));
    (void)emit(a, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch, 0, 0), -1, DEADLY);
    load(a, offsetof(struct seccomp_data, nr));
    if (arch == SCMP_ARCH_X86_64)
        (void)emit(a, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 0), DEADLY, -1);
    search(a, 0, a->runs - 1);
    answer(a, DEADLY, SECCOMP_RET_KILL_PROCESS);
    answer(a, REFUSED, SECCOMP_RET_ERRNO | EPERM);
    for (size_t i = 0; i < N_CONDITIONAL; i++) {
        a->place[CONDITIONAL + i] = a->n;
        condition(a, &conditional[i]);
        if (!same_call(i, i + 1)) /* none of its conditions holds */
            (void)emit(a, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS), -1, -1);
    }
    /* last, since jumps lead forward only */
    answer(a, MISSING, SECCOMP_RET_ERRNO | ENOSYS);
    answer(a, ALLOWED, SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < a->n; i++) {
        if (a->true_fate[i] >= 0)
            jump_offset(a, &a->op[i].jt, i, a->place[a->true_fate[i]]);
        if (a->false_fate[i] >= 0)
            jump_offset(a, &a->op[i].jf, i, a->place[a->false_fate[i]]);
    }
}

int seccomp_compile(struct assay_arena *arena, bool counted, struct assay_str *out, struct assay_err *err)
{
    struct assembler *a = calloc(1, sizeof *a);
    if (a == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the seccomp filter");
    assemble(a, counted);
    int rc = ASSAY_OK;
    struct assay_str bytes = {(const char *)a->op, a->n * sizeof a->op[0]};
    if (a->overflow) {
        rc = assay_err_set(err, ASSAY_E_INTERNAL, "the seccomp filter is longer than its jumps");
    } else {
        *out = assay_arena_str(arena, bytes);
        if (out->p == NULL)
            rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for the seccomp filter");
    }
    free(a);
    return rc;
}
