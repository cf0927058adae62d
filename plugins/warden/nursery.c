/*
 * Warm interpreters: a program whose interpreter has been started before it is forked instead of executed.
 *
 *   warden ──START──> nursery ──fork, execve──> zygote (zygote.c, loaded into the interpreter)
 *   init ──────────────ORDER──────────────────────^  └──> the program, a child of the box's init
 *
 * nursery   a process of ours, made at the warden's start while there still are rights to hand on: the warden's own children lose them
 *           all at an execve, by design (main.c). It has its own mount namespace whose root is what boxes
 *           see as theirs, with the preload in /dev/shm, and does one thing: it starts zygotes.
 * zygote    one for each warden: a started interpreter of one argv and environment. It has run nobody's code, holds no secret, and is
 *           replaced after ZYGOTE_FORKS programs (all of which share its address layout and what is random in it),
 *           after any failure, and when it has died.
 * init      orders (nursery_order): descriptors of the box's namespaces, stdio and leaf, limits and filter. What the zygote
 *           refuses, and whatever differs from what the zygote was started for, is executed as ever.
 *
 * What a program could reach: nothing of this. It is in its own pid namespace, so zygote and nursery cannot be named;
 * no descriptor, offset or writable mapping is shared; a change of its memory is its own (copy on write).
 *
 * Charges: a forked program is charged neither for the interpreter's start nor for the memory that it shares. The
 * request says how much that is (it was measured in boxes, see services/runner/prefork.c), and it is counted as used from the
 * beginning: in the limits and in what is reported.
 */
#include "warden.h"

#include "sys.h"
#include "zygote.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define ZYGOTE_FORKS 2000
#define START_MS 10000
#define NEW_ROOT ROOT_BOX

/* The preload itself, as the build made it: so it is wherever the warden is. */
__asm__(".section .rodata\n"
        ".balign 16\n"
        "zygote_image:\n"
        ".incbin \"plugins/warden/zygote.so\"\n"
        "zygote_image_end:\n"
        ".byte 0\n"
        ".previous\n");
extern const unsigned char zygote_image[], zygote_image_end[];

/* ---- the nursery's process ---- */

static void nursery_fail(const char *what)
{
    (void)fprintf(stderr, "assay-warden: no warm interpreters: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static void make_own_root(void)
{
    if (syscall(SYS_unshare, CLONE_NEWNS) < 0)
        nursery_fail("mount namespace");
    CLEANUP_FD int tree = sys_open_tree(AT_FDCWD, NEW_ROOT, OPEN_TREE_CLONE | AT_RECURSIVE);
    if (tree < 0 || sys_move_mount(tree, NEW_ROOT) < 0 || chdir(NEW_ROOT) < 0)
        nursery_fail("root");
    CLEANUP_FD int fs = sys_fsopen("tmpfs");
    if (fs < 0 || sys_fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755") < 0 ||
        sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        nursery_fail("tmpfs");
    CLEANUP_FD int mount = sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    CLEANUP_FD int file = mount < 0 ? -1 : openat(mount, strrchr(ZYGOTE_PRELOAD, '/') + 1, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0755);
    size_t n = (size_t)(zygote_image_end - zygote_image);
    if (file < 0 || write(file, zygote_image, n) != (ssize_t)n)
        nursery_fail("preload");
    close_fd(&file);
    struct mount_attr frozen = {.attr_set = MOUNT_ATTR_RDONLY};
    if (sys_mount_setattr(mount, "", AT_EMPTY_PATH, &frozen) < 0 || sys_move_mount(mount, NEW_ROOT "/dev/shm") < 0)
        nursery_fail("preload");
    if (sys_pivot_root(".", ".") < 0 || sys_umount2(".", MNT_DETACH) < 0 || chdir("/box") < 0)
        nursery_fail("root");
}

/* Programs are the first to go when memory runs short, and they inherit this. In a user namespace the warden did it (root.c). */
static void raise_oom_score(void)
{
    CLEANUP_FD int fs = sys_fsopen("proc");
    CLEANUP_FD int mount = fs < 0 || sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0 ? -1 : sys_fsmount(fs, MOUNT_ATTR_NOSUID);
    CLEANUP_FD int adj = mount < 0 ? -1 : openat(mount, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (adj < 0 || write(adj, "1000", 4) != 4)
        nursery_fail("oom_score_adj");
}

/* What zygotes get, and the bounding set with it: nothing more can be gained by any of their children. */
static const unsigned handed_on[] = {CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_SYS_RESOURCE, CAP_SETPCAP};

static bool is_handed_on(unsigned cap)
{
    for (size_t i = 0; i < sizeof handed_on / sizeof *handed_on; i++)
        if (handed_on[i] == cap)
            return true;
    return false;
}

/* In a zygote's process, before the interpreter is executed: the box's user, with the rights above. */
static void become_zygote(const struct options *o)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}}, had[2];
    for (unsigned cap = 0; cap <= 63; cap++)
        if (!is_handed_on(cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
            nursery_fail("bounding set");
    if (o->mode == MODE_NATIVE) {
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || syscall(SYS_setgroups, 0, NULL) < 0 ||
            syscall(SYS_setresgid, o->gid, o->gid, o->gid) < 0 || syscall(SYS_setresuid, o->uid, o->uid, o->uid) < 0)
            nursery_fail("user and group");
    }
    /* root itself may have been started with less, as in main.c */
    if (syscall(SYS_capget, &head, had) < 0)
        nursery_fail("capabilities");
    for (size_t i = 0; i < sizeof handed_on / sizeof *handed_on; i++)
        data[handed_on[i] / 32].permitted |= had[handed_on[i] / 32].permitted & 1u << handed_on[i] % 32;
    for (size_t i = 0; i < 2; i++)
        data[i].effective = data[i].inheritable = data[i].permitted;
    if (syscall(SYS_capset, &head, data) < 0)
        nursery_fail("capabilities");
    for (size_t i = 0; i < sizeof handed_on / sizeof *handed_on; i++)
        if ((data[handed_on[i] / 32].permitted & 1u << handed_on[i] % 32) &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, handed_on[i], 0, 0) < 0)
            nursery_fail("ambient capabilities");
}

/* The payload of a PRESTART, checked by the warden; env has room for one more. */
static _Noreturn void execute_zygote(const struct options *o, int order, int errors, char **argv, char **env)
{
    static char preload[] = "LD_PRELOAD=" ZYGOTE_PRELOAD;
    struct rlimit stack = {ZYGOTE_STACK_BYTES, ZYGOTE_STACK_BYTES};
    int in[2];
    size_t n = 0;
    while (env[n])
        n++;
    env[n] = preload; /* the last: zygote.c takes it out again */
    env[n + 1] = NULL;
    become_zygote(o);
    /* What its stdio objects are made over must be what they will be: pipes. This one is at its end. */
    if (setrlimit(RLIMIT_STACK, &stack) < 0 || pipe(in) < 0 || dup2(in[0], 0) < 0 || dup2(errors, 1) < 0 || dup2(errors, 2) < 0 ||
        dup2(order, ZYGOTE_ORDER_FD) < 0 || fcntl(ZYGOTE_ORDER_FD, F_SETFD, 0) < 0 || /* it may be that one already */
        sys_close_range(ZYGOTE_ORDER_FD + 1, ~0u) < 0)
        nursery_fail("descriptors");
    (void)syscall(SYS_execve, argv[0], argv, env);
    nursery_fail("exec");
    _exit(1);
}

struct start_message {
    uint32_t n_argv, n_env;
    char strings[ASSAY_WARDEN_PRESTART_MAX];
};

static bool split(char *text, size_t n, uint32_t count, char **to, char **end)
{
    char *p = text;
    for (uint32_t i = 0; i < count; i++) {
        char *zero = memchr(p, 0, n - (size_t)(p - text));
        if (!zero)
            return false;
        to[i] = p;
        p = zero + 1;
    }
    to[count] = NULL;
    *end = p;
    return true;
}

static _Noreturn void nursery_main(const struct options *o, int socket)
{
    static struct start_message m;
    static char *argv[ASSAY_WARDEN_PRESTART_STRINGS + 1], *env[ASSAY_WARDEN_PRESTART_STRINGS + 2];
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        nursery_fail("prctl");
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS && errno != EPERM)
        nursery_fail("session keyring");
    if (o->mode == MODE_NATIVE)
        raise_oom_score();
    make_own_root();
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        nursery_fail("prctl");
    pid_t zygote = 0;
    for (;;) {
        int fd[2] = {-1, -1};
        ssize_t n = fds_receive(socket, &m, sizeof m, fd, 2);
        /* the one before has served its time, and may hang in its start */
        if (zygote > 0 && kill(zygote, SIGKILL) == 0)
            while (waitpid(zygote, NULL, 0) < 0 && errno == EINTR)
                ;
        zygote = 0;
        if (n == 0 || (n < 0 && errno != EINTR))
            _exit(0); /* the warden has gone, or wants us to */
        char *end = m.strings;
        if (n >= (ssize_t)offsetof(struct start_message, strings) && fd[1] >= 0 && m.n_argv <= ASSAY_WARDEN_PRESTART_STRINGS &&
            m.n_env <= ASSAY_WARDEN_PRESTART_STRINGS) {
            size_t have = (size_t)n - offsetof(struct start_message, strings);
            if (split(m.strings, have, m.n_argv, argv, &end) &&
                split(end, have - (size_t)(end - m.strings), m.n_env, env, &end)) {
                zygote = fork();
                if (zygote == 0)
                    execute_zygote(o, fd[0], fd[1], argv, env);
            }
        }
        close_fd(&fd[0]);
        close_fd(&fd[1]);
    }
}

int nursery_make(const struct options *o, int stream, int control, pid_t *ret)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(pair[0]);
        (void)close(stream);
        if (control >= 0)
            (void)close(control);
        nursery_main(o, pair[1]);
    }
    (void)close(pair[1]);
    if (pid < 0)
        close_fd(&pair[0]);
    *ret = pid;
    return pair[0];
}

/* ---- the warden's side ---- */

void zygote_init(struct zygote *z, int nursery, pid_t pid)
{
    *z = (struct zygote){.nursery = nursery, .nursery_pid = pid, .order = -1};
}

static void zygote_end(struct zygote *z)
{
    z->generation += z->order >= 0;
    close_fd(&z->order); /* it ends when no init holds the other descriptors of this socket either */
}

void zygote_stop(struct zygote *z)
{
    zygote_end(z);
    if (z->nursery < 0)
        return;
    close_fd(&z->nursery);
    while (waitpid(z->nursery_pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* What the interpreter said before it died, cut to a line. */
static int died(int errors, struct note *why)
{
    char text[200];
    ssize_t n = read(errors, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    for (char *p = text; *p; p++)
        if (*p < ' ' || *p > '~')
            *p = ' ';
    return note_set(why, "the warm interpreter did not start: %s", text[0] ? text : "it said nothing");
}

static int zygote_make(struct zygote *z, struct note *why)
{
    int pair[2] = {-1, -1}, errors[2] = {-1, -1};
    if (z->nursery < 0)
        return note_set(why, "this warden has no nursery");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 || pipe2(errors, O_CLOEXEC) < 0) {
        (void)note_errno(why, "the warm interpreter's descriptors");
        close_fd(&pair[0]);
        close_fd(&pair[1]);
        return -1;
    }
    const int give[2] = {pair[1], errors[1]};
    struct start_message m = {.n_argv = z->n_argv, .n_env = z->n_env};
    memcpy(m.strings, z->strings, z->n_strings);
    int rc = fds_send(z->nursery, &m, offsetof(struct start_message, strings) + z->n_strings, give, 2);
    if (rc < 0)
        (void)note_errno(why, "the nursery");
    close_fd(&pair[1]);
    close_fd(&errors[1]);
    struct pollfd p = {.fd = pair[0], .events = POLLIN};
    uint32_t word = 0;
    int64_t until = now_ns() + START_MS * INT64_C(1000000);
    while (rc == 0 && word == 0) {
        int left = (int)((until - now_ns()) / 1000000);
        if (left <= 0 || poll(&p, 1, left) == 0) {
            rc = note_set(why, "the warm interpreter was not ready within %d s", START_MS / 1000);
            continue;
        }
        ssize_t n = recv(pair[0], &word, sizeof word, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            rc = died(errors[0], why);
        else if (n > 0 && word != ZYGOTE_READY)
            rc = note_set(why, "the warm interpreter speaks another language");
    }
    close_fd(&errors[0]);
    if (rc < 0) {
        close_fd(&pair[0]);
        return -1;
    }
    z->order = pair[0];
    z->generation++;
    z->forks = 0;
    return 0;
}

int zygote_start(struct zygote *z, const uint8_t *payload, size_t n, struct note *why)
{
    struct assay_warden_prestart h;
    zygote_end(z);
    z->wanted = false;
    memcpy(&h, payload, sizeof h);
    size_t used = 0;
    const uint8_t *p = payload + sizeof h;
    const uint8_t *end = payload + n;
    for (uint32_t i = 0; i < h.n_argv + h.n_env; i++) {
        const char *text;
        p = request_string_next(p, &text);
        size_t k = strlen(text) + 1;
        memcpy(z->strings + used, text, k); /* wire.c: it fits */
        used += k;
    }
    if (p != end)
        return note_set(why, "a malformed PRESTART");
    z->n_strings = used;
    z->n_argv = h.n_argv;
    z->n_env = h.n_env;
    int rc = zygote_make(z, why);
    z->wanted = rc == 0;
    return rc;
}

void zygote_look_after(struct zygote *z)
{
    struct note ignored;
    struct pollfd p = {.fd = z->order, .events = 0};
    if (!z->wanted)
        return;
    bool dead = z->order < 0 || (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)));
    if (!dead && !z->suspect && z->forks < ZYGOTE_FORKS)
        return;
    zygote_end(z);
    z->suspect = false;
    if (zygote_make(z, &ignored) < 0)
        z->wanted = false; /* programs are executed from now on, and their outcomes say so */
}

bool zygote_fits(const struct zygote *z, const struct request *q)
{
    const struct assay_warden_run *h = &q->head;
    const char *p = z->strings;
    /* less than that, and it could not even copy the pages that it writes to */
    const int64_t least = INT64_C(4) << 20;
    if (h->memory_bytes > 0 && h->memory_bytes - h->warm_memory_bytes < least)
        return false;
    if (z->order < 0 || !(h->flags & FLAG_WARM) || h->n_argv != z->n_argv || h->n_env != z->n_env || request_stack(h) != ZYGOTE_STACK_BYTES)
        return false;
    for (uint32_t i = 0; i < h->n_argv + h->n_env; i++) {
        const char *text = i < h->n_argv ? q->argv[i] : q->env[i - h->n_argv];
        if (strcmp(p, text) != 0)
            return false;
        p += strlen(p) + 1;
    }
    return true;
}

/* ---- an init's side ---- */

enum ordered zygote_give_order(int socket, struct zygote_order *o, int *fd, const void *filter, struct made *ret, struct note *why)
{
    struct {
        struct zygote_order order;
        uint8_t filter[ZYGOTE_FILTER_MAX * 8];
    } message;
    int answer[2], list[ZYGOTE_FD_COUNT];
    size_t n = 0;
    if (pipe2(answer, O_CLOEXEC) < 0)
        return ORDER_REFUSED;
    fd[ZYGOTE_FD_REPLY] = answer[1];
    for (int i = 0; i < ZYGOTE_FD_COUNT; i++) {
        if (fd[i] < 0)
            continue;
        o->present |= 1u << i;
        list[n++] = fd[i];
    }
    message.order = *o;
    memcpy(message.filter, filter, (size_t)o->n_filter * 8);
    int rc = fds_send(socket, &message, sizeof message.order + (size_t)o->n_filter * 8, list, n);
    (void)close(answer[1]);
    enum ordered what = ORDER_REFUSED;
    struct zygote_reply r;
    /* until its end: then the program runs, or there is none */
    while (rc == 0) {
        ssize_t k = read(answer[0], &r, sizeof r);
        if (k < 0 && errno == EINTR)
            continue;
        if (k != (ssize_t)sizeof r)
            break;
        if (r.answer == ZYGOTE_MADE && what == ORDER_REFUSED) {
            what = ORDER_MADE;
            ret->program = r.program;
        } else if (r.answer == ZYGOTE_PINNED) {
            ret->pinned = true;
        } else if (r.answer == ZYGOTE_FAILED) {
            errno = r.error;
            (void)note_errno(why, "%.39s", r.stage);
            what = ORDER_FAILED;
        }
    }
    (void)close(answer[0]);
    return what;
}
