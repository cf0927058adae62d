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
 */
#include "local.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

static const char *const allowed[] = {
    /* memory; shared anonymous memory is charged to the box like any other */
    "brk", "mmap", "mmap2", "munmap", "mremap", "mprotect", "madvise", "msync", "mincore", "mlock", "mlock2", "munlock",
    "mlockall", "munlockall", "membarrier", "memfd_create", "pkey_alloc", "pkey_free", "pkey_mprotect", "get_mempolicy",
    "set_mempolicy", "mbind",
    /* files: what there is to open is decided by the box's mounts */
    "open", "openat", "creat", "close", "close_range", "read", "readv", "pread64", "preadv", "preadv2", "write", "writev",
    "pwrite64", "pwritev", "pwritev2", "lseek", "_llseek", "sendfile", "sendfile64", "splice", "tee", "copy_file_range",
    "readahead", "fadvise64", "truncate", "ftruncate", "truncate64", "ftruncate64", "fallocate", "fsync", "fdatasync",
    "sync_file_range", "syncfs", "flock", "dup", "dup2", "dup3", "fcntl", "fcntl64", "pipe", "pipe2",
    "stat", "fstat", "lstat", "stat64", "fstat64", "lstat64", "newfstatat", "fstatat64", "statx", "statfs", "fstatfs",
    "statfs64", "fstatfs64", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents", "getdents64",
    "getcwd", "chdir", "fchdir", "mkdir", "mkdirat", "rmdir", "rename", "renameat", "renameat2", "link", "linkat", "symlink",
    "symlinkat", "unlink", "unlinkat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "umask",
    "utime", "utimes", "utimensat", "futimesat", "getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr",
    "flistxattr",
    /* waiting for files and one another; the box has no network, but a socket pair is a pipe to many runtimes */
    "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
    "epoll_pwait2", "eventfd", "eventfd2", "timerfd_create", "timerfd_settime", "timerfd_gettime", "signalfd", "signalfd4",
    "inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "socketpair", "shutdown", "sendmsg", "recvmsg",
    "sendto", "recvfrom", "sendmmsg", "recvmmsg", "getsockopt", "setsockopt", "getsockname", "getpeername", "bind", "connect",
    "listen", "accept", "accept4",
    /* processes and threads; how many is the box's limit. clone, socket, prctl: see below */
    "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "waitpid", "set_tid_address",
    "set_robust_list", "get_robust_list", "futex", "futex_waitv", "rseq", "arch_prctl", "set_thread_area", "get_thread_area",
    "gettid", "getpid", "getppid", "getpgid", "getpgrp", "setpgid", "getsid", "setsid", "kill", "tkill", "tgkill",
    "pidfd_open", "pidfd_send_signal", "sched_yield", "sched_getaffinity", "sched_getparam",
    "sched_getscheduler", "sched_setscheduler", "sched_setparam", "sched_get_priority_max", "sched_get_priority_min",
    "sched_rr_get_interval", "getpriority", "setpriority", "ioprio_get", "getcpu", "getrlimit",
    "ugetrlimit", "getrusage", "times", "sysinfo", "uname", "restart_syscall", "capget",
    /* who it is: asking, and changing to what it is already (no_new_privs and one mapped uid leave nothing else) */
    "getuid", "geteuid", "getgid", "getegid", "getgroups", "getresuid", "getresgid", "setuid", "setgid", "setreuid",
    "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid",
    /* signals */
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend", "rt_sigpending", "rt_sigtimedwait",
    "rt_sigqueueinfo", "rt_tgsigqueueinfo", "sigaltstack", "sigreturn", "sigaction", "sigprocmask", "sigsuspend", "pause",
    "alarm",
    /* time: reading clocks, sleeping, timers; setting a clock is not here */
    "clock_gettime", "clock_getres", "clock_nanosleep", "clock_gettime64", "clock_getres_time64", "clock_nanosleep_time64",
    "nanosleep", "gettimeofday", "time", "getitimer", "setitimer", "timer_create", "timer_settime", "timer_gettime",
    "timer_getoverrun", "timer_delete", "futex_time64", "ppoll_time64", "pselect6_time64", "getrandom",
    /* System V and POSIX ipc live in the box's own namespace and die with it */
    "shmget", "shmat", "shmdt", "shmctl", "semget", "semop", "semctl", "semtimedop", "msgget", "msgsnd", "msgrcv", "msgctl",
};

/* What a runtime may ask for and has to do without: a box stays on the processors it was given, or its time would be
 * measured beside a neighbour's. Runtimes count them with sched_getaffinity, which is allowed. */
static const char *const refused[] = {"sched_setaffinity"};

/* No honest program tries these: end it, so that the verdict says so. */
static const char *const deadly[] = {"reboot", "kexec_load", "kexec_file_load", "init_module", "finit_module",
                                     "delete_module", "swapon", "swapoff", "iopl", "ioperm"};

#define NEW_NAMESPACES                                                                                                 \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

static int rule(scmp_filter_ctx ctx, uint32_t action, const char *name)
{
    int nr = seccomp_syscall_resolve_name(name);
    /* a call that this machine's table does not have needs no rule */
    return nr == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(ctx, action, nr, 0);
}

/* Allows a call when one of its arguments, under the mask, is the value. */
static int allow_when(scmp_filter_ctx ctx, int nr, unsigned arg, uint64_t mask, uint64_t value)
{
    struct scmp_arg_cmp cmp = {.arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
    return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, nr, 1, &cmp);
}
#define INT_MASK UINT64_C(0xffffffff) /* the kernel looks at no more of an int */

static int conditional(scmp_filter_ctx ctx)
{
    int rc = 0;
    /* threads and children, but no namespaces */
    rc |= allow_when(ctx, SCMP_SYS(clone), 0, NEW_NAMESPACES, 0);
    /* local sockets only: no internet, no netlink, no packets, no vsock */
    rc |= allow_when(ctx, SCMP_SYS(socket), 0, INT_MASK, AF_UNIX);
    /* terminals: asked after by every libc; and closing on exec, non-blocking, bytes waiting. TIOCSTI is not here */
    static const unsigned long requests[] = {TCGETS, TIOCGWINSZ, TIOCGPGRP, FIONREAD, FIONBIO, FIOCLEX, FIONCLEX, FIOASYNC};
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
        rc |= allow_when(ctx, SCMP_SYS(ioctl), 1, INT_MASK, requests[i]);
    /* names of threads, death signals, dumpability; PR_SET_MM, PR_SET_SECCOMP and the like are not here */
    static const int options[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_GET_DUMPABLE,
                                  PR_SET_DUMPABLE, PR_GET_NO_NEW_PRIVS, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_READ,
                                  PR_SET_VMA, PR_GET_TIMERSLACK, PR_SET_TIMERSLACK, PR_SET_THP_DISABLE, PR_GET_SECCOMP};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        rc |= allow_when(ctx, SCMP_SYS(prctl), 0, INT_MASK, (uint64_t)options[i]);
    /* asking which personality it has, and gcc's and the JVM's wish for a fixed layout */
    static const unsigned long personalities[] = {0, ADDR_NO_RANDOMIZE, 0xffffffffUL};
    for (size_t i = 0; i < sizeof personalities / sizeof personalities[0]; i++)
        rc |= allow_when(ctx, SCMP_SYS(personality), 0, INT_MASK, personalities[i]);
    /* limits: all may be read; all but that of cores (4) set, since at 0 a crash may start the host's program for cores
     * (core(5)). Together the masks match 0 to 15 without 4. */
    static const struct {
        uint64_t mask, value;
    } resources[] = {{0xfffffff4, 0}, {0xfffffff5, 5}, {0xfffffff7, 6}, {0xffffffff, 12}};
    rc |= allow_when(ctx, SCMP_SYS(prlimit64), 2, UINT64_MAX, 0);
    for (size_t i = 0; i < sizeof resources / sizeof resources[0]; i++) {
        rc |= allow_when(ctx, SCMP_SYS(setrlimit), 0, resources[i].mask, resources[i].value);
        rc |= allow_when(ctx, SCMP_SYS(prlimit64), 1, resources[i].mask, resources[i].value);
    }
    return rc;
}

int seccomp_compile(struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (ctx == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the seccomp filter");
    int fd = -1, rc = ASSAY_OK;
    int bad = 0;
    /* calls of another architecture (32-bit, x32) would slip past numbers of this one */
    bad |= seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    bad |= seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree: the list is long */
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        bad |= rule(ctx, SCMP_ACT_ALLOW, allowed[i]);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        bad |= rule(ctx, SCMP_ACT_ERRNO(EPERM), refused[i]);
    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
        bad |= rule(ctx, SCMP_ACT_KILL_PROCESS, deadly[i]);
    bad |= conditional(ctx);
    if (bad != 0) {
        rc = assay_err_set(err, ASSAY_E_INTERNAL, "libseccomp refuses a rule");
        goto out;
    }
    fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0) {
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "no memory file for the seccomp filter");
        goto out;
    }
    if (seccomp_export_bpf(ctx, fd) < 0) {
        rc = assay_err_set(err, ASSAY_E_INTERNAL, "libseccomp cannot compile the filter");
        goto out;
    }
    off_t n = lseek(fd, 0, SEEK_END);
    char *p = n > 0 ? assay_arena_alloc(arena, (size_t)n) : NULL;
    if (p == NULL || pread(fd, p, (size_t)n, 0) != (ssize_t)n)
        rc = assay_err_set(err, ASSAY_E_IO, "the compiled seccomp filter cannot be read back");
    else
        *out = (struct assay_str){p, (size_t)n};
out:
    if (fd >= 0)
        close(fd);
    seccomp_release(ctx);
    return rc;
}
