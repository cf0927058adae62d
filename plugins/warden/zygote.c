/*
 * The zygote's inside: a shared object that the dynamic linker puts before a real CPython, so that it
 * starts, and then waits instead of running its program.
 *
 * main() is replaced (__libc_start_main is the only name taken over).  The replacement initialises the interpreter
 * by its public functions (PyConfig, PEP 587) with the argv and environment of the program's own command line, as
 * the interpreter's main() does, and stops where that would run the script.  For each order it makes a
 * child in the order's box, and the child goes on where the zygote had stopped: Py_RunMain() opens and runs the file,
 * prints tracebacks, finalises, and its result is the exit status.  So all that a program can see of the
 * interpreter is the interpreter's own doing.
 *
 *     zygote ──clone(VM, VFORK)──> step ──fork──> program
 *
 * Only a parent inside the box's pid namespace makes the program a child of the box's init when that parent is gone.
 * The step is that parent; it shares the zygote's memory and stack, as vfork's child does, so it costs no copy. It takes pid
 * 300 and leaves 2 to the program, which an executed program has.  The program waits until the step is gone
 * and its parent is init; before it runs a line of anyone's it has left every right, descriptor and namespace of the zygote's.
 *
 * Rights: started as the box's user with the ambient capabilities below.  They are put out of effect first, so that
 * the interpreter starts without, and are taken up by the step.  The bounding set is emptied here, since it could not have been earlier.
 *
 * Linked against nothing: names are bound to whatever library the interpreter brings, of whatever version.
 */
#define _GNU_SOURCE
#include "zygote.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEP_PID 300
#define RSEQ_BYTES 32u
#if defined(__x86_64__)
#define RSEQ_SIGNATURE 0x53053053u
#elif defined(__aarch64__)
#define RSEQ_SIGNATURE 0xd428bc00u
#else
#error "name this machine's rseq signature, and write clone_here for it"
#endif

/* PyStatus, which functions return by value; the same since 3.8. */
struct py_status {
    int type; /* 0: well */
    const char *func, *message;
    int exit_code;
};

static struct {
    void (*preconfig_init)(void *);
    struct py_status (*preinit)(const void *, ptrdiff_t, char **);
    void (*config_init)(void *);
    struct py_status (*config_argv)(void *, ptrdiff_t, char *const *);
    struct py_status (*start)(const void *);
    void (*config_clear)(void *);
    int (*run)(void);
    void (*before_fork)(void), (*after_fork_parent)(void), (*after_fork_child)(void);
} py;

/* Static, not on the stack: the step runs on the zygote's stack, and these are read when it is gone. */
static struct {
    struct zygote_order order;
    struct sock_filter filter[ZYGOTE_FILTER_MAX];
} message;
static int fd[ZYGOTE_FD_COUNT];
static int own_pid_ns = -1;
static struct clone_args step_args;
static pid_t step_pid_ns_tid = STEP_PID;
static int step_status;
static pid_t program_pid; /* set by the step */
static long step;

static _Noreturn void leave(int code)
{
    for (;;)
        (void)syscall(SYS_exit_group, code);
}

static void say(const char *text)
{
    (void)!write(2, text, strlen(text));
}

static void reply(enum zygote_answer answer, const char *stage, int error)
{
    struct zygote_reply r;
    memset(&r, 0, sizeof r);
    r.answer = answer;
    r.error = error;
    r.program = program_pid;
    strncpy(r.stage, stage, sizeof r.stage - 1);
    (void)!write(fd[ZYGOTE_FD_REPLY], &r, sizeof r);
}

/* ---- rights ---- */

static int set_capabilities(int permitted, int effective)
{
    static const uint32_t kept = 1u << CAP_SYS_ADMIN | 1u << CAP_SYS_CHROOT | 1u << CAP_SYS_RESOURCE;
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &head, data) < 0)
        return -1;
    uint32_t mine = data[0].permitted & kept; /* there may be less than that */
    memset(data, 0, sizeof data);
    data[0].permitted = permitted ? mine : 0;
    data[0].effective = effective ? mine : 0;
    return (int)syscall(SYS_capset, &head, data);
}

static int settle_rights(void)
{
    for (int cap = 0; cap <= 63; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
            return -1;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || set_capabilities(1, 0) < 0)
        return -1;
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* ---- the program, from its birth to Py_RunMain ---- */

static _Noreturn void program_fail(const char *stage)
{
    reply(ZYGOTE_FAILED, stage, errno);
    leave(127);
}

/* The kernel forgot the registration when the step, which shares memory with the zygote, was made. */
static void renew_rseq(void)
{
    const unsigned *size = dlsym(RTLD_DEFAULT, "__rseq_size");
    const ptrdiff_t *offset = dlsym(RTLD_DEFAULT, "__rseq_offset");
    if (size && offset && *size > 0)
        (void)syscall(SYS_rseq, (char *)__builtin_thread_pointer() + *offset, RSEQ_BYTES, 0, RSEQ_SIGNATURE);
}

/* Returns when the step is gone and init is the parent. SIGCHLD is blocked here. */
static void await_adoption(void)
{
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    if (prctl(PR_SET_PDEATHSIG, SIGCHLD, 0, 0, 0) < 0)
        program_fail("prctl");
    while (getppid() != 1)
        (void)sigwaitinfo(&chld, NULL);
    (void)prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
}

static void program_limits(void)
{
    for (uint32_t i = 0; i < message.order.n_limits; i++) {
        const struct zygote_limit *l = &message.order.limit[i];
        struct rlimit r = {(rlim_t)l->soft, (rlim_t)l->hard}, now;
        if (setrlimit((__rlimit_resource_t)l->what, &r) == 0)
            continue;
        /* as in init.c: without privilege the stricter holds */
        if (errno != EPERM || getrlimit((__rlimit_resource_t)l->what, &now) < 0)
            program_fail("rlimit");
        r.rlim_max = now.rlim_max;
        r.rlim_cur = r.rlim_cur < r.rlim_max ? r.rlim_cur : r.rlim_max;
        if (setrlimit((__rlimit_resource_t)l->what, &r) < 0)
            program_fail("rlimit");
    }
}

static void program_settle(void)
{
    struct sock_fprog filter = {.len = (unsigned short)message.order.n_filter, .filter = message.filter};
    for (int i = ZYGOTE_FD_JOIN; i < ZYGOTE_FD_COUNT; i++)
        if (fd[i] >= 0 && write(fd[i], "0", 1) != 1)
            program_fail("joining the leaf");
    if (setsid() < 0)
        program_fail("session");
    program_limits();
    /* a processor that is not ours is passed over, as in init.c */
    if (message.order.pin && syscall(SYS_sched_setaffinity, 0, sizeof message.order.cpus, message.order.cpus) == 0)
        reply(ZYGOTE_PINNED, "", 0);
    if (set_capabilities(0, 0) < 0)
        program_fail("capabilities");
    /* all that came are above 2, and the reply's is moved to the lowest above */
    if (dup2(fd[ZYGOTE_FD_IN], 0) < 0 || dup2(fd[ZYGOTE_FD_OUT], 1) < 0 || dup2(fd[ZYGOTE_FD_ERR], 2) < 0)
        program_fail("descriptors");
    if (fd[ZYGOTE_FD_REPLY] != 3 && dup3(fd[ZYGOTE_FD_REPLY], 3, O_CLOEXEC) < 0)
        program_fail("descriptors");
    fd[ZYGOTE_FD_REPLY] = 3;
    if (syscall(SYS_close_range, 4, ~0u, 0) < 0)
        program_fail("descriptors");
    (void)umask(022);
    renew_rseq();
    await_adoption();
    /* as after an execve: its own files in proc are its own */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        program_fail("prctl");
    sigset_t none;
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        program_fail("signals");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)
        program_fail("seccomp");
    (void)close(3);
}

/* ---- the step ---- */

/* Returns in the program only. */
static __attribute__((noinline)) void take_step(void)
{
    const char *stage = "capabilities";
    if (set_capabilities(1, 1) < 0)
        goto refused;
    stage = "the box's namespaces";
    if (syscall(SYS_setns, fd[ZYGOTE_FD_MOUNT_NS], CLONE_NEWNS) < 0 ||
        (fd[ZYGOTE_FD_IPC_NS] >= 0 && syscall(SYS_setns, fd[ZYGOTE_FD_IPC_NS], CLONE_NEWIPC) < 0))
        goto refused;
    stage = "chroot";
    if (chroot("/root") < 0 || chdir("/box") < 0)
        goto refused;
    stage = "fork";
    pid_t pid = fork(); /* the library's: thread id, locks and robust list are then as they should be */
    if (pid == 0)
        return;
    program_pid = pid;
    if (pid > 0)
        leave(0);
refused:
    reply(ZYGOTE_REFUSED, stage, errno);
    leave(1);
}

/* The child goes on from here on the same stack and in the same memory; the caller waits until it has gone. */
static inline __attribute__((always_inline)) long clone_here(struct clone_args *args)
{
#if defined(__x86_64__)
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "0"((long)SYS_clone3), "D"(args), "S"(sizeof *args) : "rcx", "r11", "memory");
    return r;
#else
    register long nr __asm__("x8") = SYS_clone3;
    register long r __asm__("x0") = (long)args;
    register long n __asm__("x1") = sizeof *args;
    __asm__ volatile("svc 0" : "+r"(r) : "r"(nr), "r"(n) : "memory");
    return r;
#endif
}

/* 1 in the program, 0 in the zygote. No local lives across the clone: the child would write over it. */
static __attribute__((noinline)) int make_program(void)
{
    memset(&step_args, 0, sizeof step_args);
    step_args.flags = CLONE_VM | CLONE_VFORK;
    step_args.exit_signal = SIGCHLD;
    step_args.set_tid = (uint64_t)(uintptr_t)&step_pid_ns_tid;
    step_args.set_tid_size = 1;
    if (fd[ZYGOTE_FD_LEAF_DIR] >= 0) {
        step_args.flags |= CLONE_INTO_CGROUP;
        step_args.cgroup = (unsigned)fd[ZYGOTE_FD_LEAF_DIR];
    }
    if (set_capabilities(1, 1) < 0 || syscall(SYS_setns, fd[ZYGOTE_FD_PID_NS], CLONE_NEWPID) < 0) {
        reply(ZYGOTE_REFUSED, "the box's pid namespace", errno);
        return 0;
    }
    step = clone_here(&step_args);
    if (step == 0) {
        take_step();
        return 1;
    }
    if (step < 0) {
        reply(ZYGOTE_REFUSED, "clone", (int)-step);
        return 0;
    }
    while (waitpid((pid_t)step, &step_status, __WALL) < 0 && errno == EINTR)
        ;
    if (step_status == 0)
        reply(ZYGOTE_MADE, "", 0);
    return 0;
}

/* ---- orders ---- */

/* false: nobody is left to give one. */
static int receive_order(void)
{
    static union {
        char bytes[CMSG_SPACE(sizeof fd)];
        struct cmsghdr align;
    } ancillary;
    struct iovec iov = {&message, sizeof message};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
    ssize_t n = recvmsg(ZYGOTE_ORDER_FD, &h, MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EINTR ? 1 : 0;
    if ((size_t)n < sizeof message.order || (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        return 0;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    size_t have = c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
    const struct zygote_order *o = &message.order;
    if (o->n_limits > ZYGOTE_LIMITS_MAX || o->n_filter > ZYGOTE_FILTER_MAX || o->present >> ZYGOTE_FD_COUNT ||
        (size_t)n != sizeof *o + o->n_filter * sizeof(struct sock_filter) || (size_t)__builtin_popcount(o->present) != have)
        return 0;
    size_t used = 0;
    for (int i = 0; i < ZYGOTE_FD_COUNT; i++) {
        fd[i] = -1;
        if (o->present & 1u << i)
            memcpy(&fd[i], CMSG_DATA(c) + used++ * sizeof(int), sizeof(int));
    }
    return 1;
}

static void end_order(void)
{
    for (int i = 0; i < ZYGOTE_FD_COUNT; i++) {
        if (fd[i] >= 0)
            (void)close(fd[i]);
        fd[i] = -1;
    }
}

/* Returns in a program, once for each. */
static void serve(void)
{
    const uint32_t ready = ZYGOTE_READY;
    if (send(ZYGOTE_ORDER_FD, &ready, sizeof ready, MSG_NOSIGNAL) != (ssize_t)sizeof ready)
        leave(1);
    for (;;) {
        if (!receive_order())
            leave(0);
        if (fd[ZYGOTE_FD_REPLY] < 0)
            continue;
        py.before_fork();
        if (make_program()) {
            program_settle();
            py.after_fork_child();
            return;
        }
        py.after_fork_parent();
        /* so that a box's namespace goes when the box does */
        (void)syscall(SYS_setns, own_pid_ns, CLONE_NEWPID);
        (void)set_capabilities(1, 0);
        end_order();
    }
}

/* ---- the start ---- */

static int find(void *to, const char *name)
{
    void *p = dlsym(RTLD_DEFAULT, name);
    if (p) {
        memcpy(to, &p, sizeof p);
        return 0;
    }
    say("the interpreter does not export ");
    say(name);
    return -1;
}

static int find_all(void)
{
    return find(&py.preconfig_init, "PyPreConfig_InitPythonConfig") | find(&py.preinit, "Py_PreInitializeFromBytesArgs") |
           find(&py.config_init, "PyConfig_InitPythonConfig") | find(&py.config_argv, "PyConfig_SetBytesArgv") |
           find(&py.start, "Py_InitializeFromConfig") | find(&py.config_clear, "PyConfig_Clear") | find(&py.run, "Py_RunMain") |
           find(&py.before_fork, "PyOS_BeforeFork") | find(&py.after_fork_parent, "PyOS_AfterFork_Parent") |
           find(&py.after_fork_child, "PyOS_AfterFork_Child");
}

/* The last variable is ours (nursery.c): neither os.environ nor /proc/self/environ shows it. */
static void forget_preload(char **envp)
{
    size_t n = 0;
    while (envp[n])
        n++;
    if (n == 0 || strncmp(envp[n - 1], "LD_PRELOAD=", 11) != 0)
        return;
    memset(envp[n - 1], 0, strlen(envp[n - 1]));
    envp[n - 1] = NULL;
}

static int zygote_main(int argc, char **argv, char **envp)
{
    /* larger than any of their versions (PyConfig has 400 to 500 bytes) and aligned for all */
    static _Alignas(16) char preconfig[4096], config[65536];
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    forget_preload(envp);
    own_pid_ns = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (find_all() != 0 || own_pid_ns < 0 || fcntl(own_pid_ns, F_SETFD, FD_CLOEXEC) < 0 || settle_rights() < 0) {
        say("the zygote cannot settle");
        leave(1);
    }
    (void)sigprocmask(SIG_BLOCK, &chld, NULL);
    (void)fcntl(ZYGOTE_ORDER_FD, F_SETFD, FD_CLOEXEC);
    py.preconfig_init(preconfig);
    struct py_status s = py.preinit(preconfig, argc, argv);
    if (s.type == 0) {
        py.config_init(config);
        s = py.config_argv(config, argc, argv);
        if (s.type == 0)
            s = py.start(config);
        py.config_clear(config);
    }
    if (s.type != 0) {
        say(s.message ? s.message : "the interpreter does not start");
        leave(1);
    }
    serve();
    return py.run();
}

typedef int start_main(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void), void *);
__attribute__((visibility("default"))) start_main __libc_start_main;

int __libc_start_main(int (*main_function)(int, char **, char **), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*rtld_fini)(void), void *stack_end)
{
    start_main *real;
    void *p = dlsym(RTLD_NEXT, "__libc_start_main");
    (void)main_function;
    if (!p)
        leave(1);
    memcpy(&real, &p, sizeof real);
    return real(zygote_main, argc, argv, init, fini, rtld_fini, stack_end);
}
