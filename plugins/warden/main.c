/*
 * assay-warden: makes boxes, watches them, and tells what came of it.
 *
 * Theory of operation.  A sandbox driver starts one warden per parallel slot, somewhere (on the host
 * as root, as an ordinary user, as the init of a container), with the runner's stream on descriptor
 * 3 and the boxkeeper's control socket on 4 (assay/warden_wire.h), or where to ask for them (join.c).  The warden builds the root that
 * boxes see and locks itself into it (root.c), gives up what privilege it does not need (below), and
 * serves one box at a time (watch.c) until the stream ends:
 *
 *     RUN ──> wire.c checks it ──> the init made ahead (box.c, init.c) fills the scratch (files.c),
 *     joins the leaf (leaf.c), executes the program; watch.c moves the bytes and holds the limits;
 *     init empties the box and collects; DONE.
 *
 * Who trusts whom.  The runner's frames are checked as if hostile, and refused as a whole: a frame
 * that breaks the protocol ends the warden.  What a program says or leaves behind is never parsed,
 * only counted, capped, copied.  The warden knows no expected output and no secret, so that a program that broke
 * out into it would learn nothing but its own input.
 *
 * What holds a box in: pid, mount and ipc namespaces of its own, the warden's empty net and uts
 * namespaces, a read-only root entered by chroot, its own user id, no capability and none to gain
 * (bounding set, no_new_privs), seccomp, rlimits, the leaf, and a death that the kernel carries out:
 * SIGKILL to pid 1 of a pid namespace ends all of it.
 *
 * The warden's own memory is fixed from the start (directory walks apart), all waits are in one poll,
 * and no more than one box's output is buffered, up to a fixed bound.
 */
#include "warden.h"

#include "sys.h"

#include <errno.h>
#include <getopt.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

static _Noreturn void usage(const char *what, const char *value)
{
    (void)fprintf(stderr, "assay-warden: %s: %s\n", what, value);
    exit(2);
}

static uint64_t option_number(const char *name, const char *value, uint64_t low, uint64_t high)
{
    uint64_t v;
    if (!parse_u64(value, high, &v) || v < low)
        usage(name, value);
    return v;
}

static struct pair option_pair(const char *name, char *value, bool alone)
{
    char *colon = strchr(value, ':');
    if (!colon && !alone)
        usage(name, value);
    if (colon)
        *colon = 0;
    struct pair p = {.src = value, .dst = colon ? colon + 1 : value};
    if (p.dst[0] != '/' || !p.src[0])
        usage(name, value);
    return p;
}

enum {
    O_MODE = 1, O_NAME, O_UID, O_GID, O_BASE, O_BIND, O_BIND_TRY, O_HIDE, O_LINK, O_MOUNT_AT, O_SHARED, O_LEAF, O_ARTEFACT_BYTES,
    O_ARTEFACT_COUNT, O_SCRATCH_BYTES, O_REQUEST_BYTES, O_BOXES, O_CONNECT, O_TOKEN, O_STDIO, O_ONE_JOB, O_STAY, O_VERSION
};

static void room_for(const char *name, size_t n)
{
    if (n >= OPTION_LIST_MAX)
        usage("too many", name);
}

static void parse_options(int argc, char **argv, struct options *o)
{
    static const struct option known[] = {
        {"mode", required_argument, NULL, O_MODE},
        {"name", required_argument, NULL, O_NAME},
        {"uid", required_argument, NULL, O_UID},
        {"gid", required_argument, NULL, O_GID},
        {"base", required_argument, NULL, O_BASE},
        {"bind", required_argument, NULL, O_BIND},
        {"bind-try", required_argument, NULL, O_BIND_TRY},
        {"hide", required_argument, NULL, O_HIDE},
        {"link", required_argument, NULL, O_LINK},
        {"mount-at", required_argument, NULL, O_MOUNT_AT},
        {"shared", required_argument, NULL, O_SHARED},
        {"leaf", required_argument, NULL, O_LEAF},
        {"artefact-bytes", required_argument, NULL, O_ARTEFACT_BYTES},
        {"artefact-count", required_argument, NULL, O_ARTEFACT_COUNT},
        {"scratch-bytes", required_argument, NULL, O_SCRATCH_BYTES},
        {"request-bytes", required_argument, NULL, O_REQUEST_BYTES},
        {"boxes", required_argument, NULL, O_BOXES},
        {"connect", required_argument, NULL, O_CONNECT},
        {"token", required_argument, NULL, O_TOKEN},
        {"stdio", no_argument, NULL, O_STDIO},
        {"one-job", no_argument, NULL, O_ONE_JOB},
        {"stay-attached", no_argument, NULL, O_STAY},
        {"version", no_argument, NULL, O_VERSION},
        {NULL, 0, NULL, 0},
    };
    static const char *const modes[] = {[MODE_NATIVE] = "native", [MODE_USERNS] = "userns", [MODE_DOCKER] = "docker",
                                        [MODE_REDUCED] = "reduced"};
    static const char *const leaves[] = {[LEAF_NONE] = "none", [LEAF_OPTIONAL] = "optional", [LEAF_REQUIRED] = "required"};
    *o = (struct options){
        .name = "warden", .base = "/", .mount_at = "/tmp", .uid = 64000, .gid = 64000, .leaf = LEAF_OPTIONAL,
        .artefact_bytes = UINT64_C(256) << 20, .artefact_count = 64, .scratch_bytes = UINT64_C(1) << 30,
        .request_bytes = ASSAY_WARDEN_RUN_MAX,
    };
    int c;
    size_t i;
    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (c) {
        case O_MODE:
            for (i = 0; i < sizeof modes / sizeof *modes && strcmp(optarg, modes[i]) != 0; i++)
                ;
            if (i == sizeof modes / sizeof *modes)
                usage("mode", optarg);
            o->mode = (enum mode)i;
            break;
        case O_LEAF:
            for (i = 0; i < 3 && strcmp(optarg, leaves[i]) != 0; i++)
                ;
            if (i == 3)
                usage("leaf", optarg);
            o->leaf = (enum leaf_policy)i;
            break;
        case O_NAME:
            o->name = optarg;
            break;
        case O_UID:
            o->uid = (uid_t)option_number("uid", optarg, 1, UINT32_MAX - 1);
            break;
        case O_GID:
            o->gid = (gid_t)option_number("gid", optarg, 1, UINT32_MAX - 1);
            break;
        case O_BASE:
            o->base = optarg;
            break;
        case O_BIND:
        case O_BIND_TRY:
            room_for("binds", o->n_binds);
            o->binds[o->n_binds] = option_pair("bind", optarg, true);
            o->binds[o->n_binds++].optional = c == O_BIND_TRY;
            break;
        case O_HIDE:
            room_for("hides", o->n_hides);
            o->hides[o->n_hides++] = optarg;
            break;
        case O_LINK:
            room_for("links", o->n_links);
            o->links[o->n_links++] = option_pair("link", optarg, false);
            break;
        case O_MOUNT_AT:
            o->mount_at = optarg;
            break;
        case O_SHARED:
            o->shared = optarg;
            break;
        case O_ARTEFACT_BYTES:
            o->artefact_bytes = option_number("artefact-bytes", optarg, 1u << 20, UINT64_C(1) << 40);
            break;
        case O_ARTEFACT_COUNT:
            o->artefact_count = option_number("artefact-count", optarg, 1, ARTEFACT_SLOTS - 1);
            break;
        case O_SCRATCH_BYTES:
            o->scratch_bytes = option_number("scratch-bytes", optarg, 1u << 20, UINT64_C(1) << 46);
            break;
        case O_REQUEST_BYTES:
            o->request_bytes = option_number("request-bytes", optarg, 1u << 16, ASSAY_WARDEN_RUN_MAX);
            break;
        case O_BOXES:
            o->boxes = option_number("boxes", optarg, 0, UINT32_MAX);
            break;
        case O_CONNECT:
            o->connect = optarg;
            break;
        case O_TOKEN:
            if (strlen(optarg) != ASSAY_WARDEN_TOKEN)
                usage("token", "of another length");
            o->token = optarg;
            break;
        case O_ONE_JOB:
            o->one_job = true;
            break;
        case O_STDIO:
            o->stdio = true;
            break;
        case O_STAY:
            o->stay_attached = true;
            break;
        case O_VERSION:
            (void)puts("assay-warden " WARDEN_VERSION);
            exit(0);
        default:
            exit(2);
        }
    }
    if (optind < argc)
        usage("unexpected argument", argv[optind]);
    if ((o->connect != NULL) != (o->token != NULL) || (o->connect && o->stdio))
        usage("connect", "goes with token, and not with stdio");
}

/* A known state, whatever we were started from: boxes inherit much of it. */
static void settle(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            die("/dev/null");
    (void)sys_close_range(ASSAY_WARDEN_CONTROL_FD + 1, ~0u);
    /* By number: the library keeps two signals to itself, and they may have come to us ignored all the same. The
     * kernel's structure begins with the handler; the rest is zero for these two handlers. */
    for (int s = 1; s <= 64; s++) {
        const uintptr_t action[4] = {(uintptr_t)(s == SIGPIPE ? SIG_IGN : SIG_DFL), 0, 0, 0};
        (void)syscall(SYS_rt_sigaction, s, action, NULL, 8);
    }
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)umask(0);
    (void)clearenv();
    static const struct {
        __rlimit_resource_t what;
        rlim_t value;
    } fixed[] = {{RLIMIT_CORE, 1}, /* no core, and 1 rather than 0 keeps the host's core_pattern from starting a program (core(5)) */
                 {RLIMIT_MEMLOCK, 65536}, {RLIMIT_MSGQUEUE, 0}, {RLIMIT_RTPRIO, 0}, {RLIMIT_NICE, 0}};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        struct rlimit r = {fixed[i].value, fixed[i].value}, now;
        /* what we were started with may be stricter, and only a privileged process gets out of that */
        if (getrlimit(fixed[i].what, &now) == 0 && now.rlim_max < fixed[i].value)
            r.rlim_cur = r.rlim_max = now.rlim_max;
        if (setrlimit(fixed[i].what, &r) < 0)
            die("setrlimit");
    }
}

static bool is_socket(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* Keeps what making boxes needs; boxes themselves end up with nothing. */
static void drop_privilege(const struct options *o)
{
    static const unsigned kept[] = {
        CAP_SYS_ADMIN,    /* namespaces and mounts */
        CAP_SYS_CHROOT,   /* the box's root */
        CAP_SETUID, CAP_SETGID, /* the box's user */
        CAP_KILL,         /* init's kill of what is left */
        CAP_DAC_OVERRIDE, /* collecting files of the box's user */
        CAP_SYS_RESOURCE, /* rlimits above our own */
        CAP_SYS_PTRACE,   /* seeing the box's processes in a proc that hides them (watching without a leaf) */
    };
    for (int cap = 0; cap <= 63; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL &&
            !(o->mode == MODE_REDUCED && errno == EPERM)) /* an ordinary user's, who has no_new_privs below */
            die("cannot empty the bounding set");
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}}, had[2];
    /* root itself may have been started with less: what is missing shows when it is needed */
    if (syscall(SYS_capget, &head, had) < 0)
        die("capget");
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        data[kept[i] / 32].permitted |= had[kept[i] / 32].permitted & 1u << kept[i] % 32;
        data[kept[i] / 32].effective = data[kept[i] / 32].permitted;
    }
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &head, data) < 0)
        die("cannot drop capabilities");
    /* A session keyring of our own, or boxes could name the one we were started in. Kernels without keys say ENOSYS. */
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS && errno != EPERM)
        die("session keyring");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        die("prctl");
    /* late: a change of credentials clears it */
    if (!o->stay_attached && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        die("prctl");
}

static void *shared(size_t bytes)
{
    /* Shared so that an init forked earlier sees what is written later; and because a fork does not copy the page
     * table of such memory, a large request neither slows it down nor counts as the program's memory. */
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        die("no memory");
    return p;
}

#ifdef __SANITIZE_ADDRESS__
/* The leak check at exit wants a /proc, and the warden's root has none. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

int main(int argc, char **argv)
{
    static struct warden w;
    struct note why = {""};
    pid_t parent = getppid();
    errno = 0;
    parse_options(argc, argv, &w.options);
    if (w.options.connect)
        join_keeper(&w.options);
    else if (w.options.stdio)
        join_stdio();
    w.stream = ASSAY_WARDEN_STREAM_FD;
    w.control = is_socket(ASSAY_WARDEN_CONTROL_FD) ? ASSAY_WARDEN_CONTROL_FD : -1;
    die_tells(w.control);
    errno = 0;
    if (!is_socket(w.stream))
        die("descriptor %d is not the stream's socket", w.stream);
    settle();
    for (int fd = 3; fd < 5; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    errno = 0;
    if (w.options.mode == MODE_NATIVE && geteuid() != 0)
        die("mode native needs root");
    w.cpus = sysconf(_SC_NPROCESSORS_ONLN); /* the library reads it from files that are gone after the next line */
    w.cpus = w.cpus < 1 ? 1 : w.cpus;
    pid_t nursery = 0;
    int to_nursery = -1;
    if (w.options.mode == MODE_REDUCED) {
        reduced_make(&w.options, &w.facts);
    } else {
        root_make(&w.options, &w.facts);
        to_nursery = nursery_make(&w.options, w.stream, w.control, &nursery);
    }
    zygote_init(&w.zygote, to_nursery, nursery);
    drop_privilege(&w.options);
    /* The parent may have died before we asked to die with it. In a new pid namespace it shows as 0 at all times. */
    if (!w.options.stay_attached && getppid() != parent)
        return 1;

    leaf_init(&w.leaf);
    store_init(&w.store, &w.options);
    w.reader.big_cap = (size_t)w.options.request_bytes;
    w.reader.big = shared(w.reader.big_cap);
    w.request = shared(sizeof *w.request);
    w.pointers = shared(2 * (ASSAY_WARDEN_ARGV_MAX + 1) * sizeof *w.pointers);
    w.slots = shared(2 * sizeof *w.slots);
    w.warm = shared(sizeof *w.warm);
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0)
        die("eventfd");
    w.world = (struct box_world){.options = &w.options,
                                 .request = w.request,
                                 .leaf = &w.leaf,
                                 .own_ipc = !w.facts.ipc_closed,
                                 .slots = w.slots,
                                 .zygote = &w.zygote,
                                 .warm = w.warm,
                                 .event = event,
                                 .stream = w.stream,
                                 .control = w.control};
    if (warden_serve(&w, &why) < 0) {
        errno = 0;
        die("%s: %s", w.options.name, why.text);
    }
    return 0;
}
