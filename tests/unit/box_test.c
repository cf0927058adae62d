/*
 * The real warden, as root, against programs that misbehave.  One warden serves all the tests of a
 * group, as in production: a test that leaves something behind makes the next one fail.
 *
 * Needs root; the tests of time and memory limits need cgroup v1 hierarchies that we may make leaves
 * in. What cannot be had is skipped by name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <assay/warden_wire.h>

#include "box_artefacts.h"
#include "box_rig.h"
#include "ordinary.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* One source, three programs (plugins/warden/room.mk): TAP knows one plan per program. */
#ifndef BOX_MODE
#define BOX_MODE "native"
#define BOX_LEAF 1
#define BOX_ORDINARY false
#endif
#ifndef BOX_REDUCED
#define BOX_REDUCED 0
#endif
#define WALL_TEST static __attribute__((unused))

/* ---- ends ---- */

static void exit_codes(void **state)
{
    (void)state;
    static const int code[] = {0, 1, 42, 139, 255};
    for (size_t i = 0; i < sizeof code / sizeof *code; i++) {
        char words[32];
        (void)snprintf(words, sizeof words, "exit %d", code[i]);
        run_words(words);
        assert_end(ASSAY_BOX_EXITED);
        assert_int_equal(oc.exit_code, code[i]);
    }
}

static void signals(void **state)
{
    (void)state;
    static const int sig[] = {SIGSEGV, SIGABRT, SIGKILL, SIGTERM, SIGFPE, SIGPIPE};
    for (size_t i = 0; i < sizeof sig / sizeof *sig; i++) {
        char words[32];
        (void)snprintf(words, sizeof words, "signal %d", sig[i]);
        run_words(words);
        assert_end(ASSAY_BOX_SIGNALLED);
        assert_int_equal(oc.signal, sig[i]);
    }
}

static void no_such_program(void **state)
{
    (void)state;
    struct ask a;
    ask_words(&a, "");
    a.argv[0] = ASSAY_STR("/usr/bin/no-such-program");
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_int_equal(oc.exit_code, 127);
    assert_non_null(strstr(oc.message, "no-such-program"));
    a.argv[0] = ASSAY_STR("/etc/passwd");
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_int_equal(oc.exit_code, 126);
}

static void streams_apart_and_together(void **state)
{
    (void)state;
    struct ask a;
    ask_words(&a, "stderr oops");
    run(&a);
    assert_int_equal(out.n, 0);
    assert_string_equal(errout.p, "oops");
    a.spec.flags = ASSAY_BOX_STDERR_TO_STDOUT;
    run(&a);
    assert_string_equal(out.p, "oops");
    assert_int_equal(errout.n, 0);
}

static void binary_output_unchanged(void **state)
{
    (void)state;
    static const char bytes[] = "\0\xff\xfe\x1b[31m\r\n\0tail";
    struct ask a;
    ask_words(&a, "cat");
    a.spec.stdin_bytes = (struct assay_str){bytes, sizeof bytes};
    run(&a);
    assert_int_equal(out.n, sizeof bytes);
    assert_memory_equal(out.p, bytes, sizeof bytes);
}

/* ---- limits ---- */

static void spin_ends_by_cpu(void **state)
{
    (void)state;
    struct ask a;
    ask_words(&a, "spin");
    a.spec.limits.cpu_ms = 300;
    a.spec.limits.wall_ms = 60000;
    run(&a);
    assert_end(ASSAY_BOX_CPU);
    assert_in_range(oc.cpu_us, 300000, 600000);
    ask_words(&a, "stubborn");
    a.spec.limits.cpu_ms = 300;
    a.spec.limits.wall_ms = 60000;
    run(&a);
    assert_end(ASSAY_BOX_CPU);
    assert_honest_next();
}

static void waits_end_by_wall(void **state)
{
    (void)state;
    static const char *const words[] = {"sleep", "childsleeps", "stopparent", "selfstop"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct ask a;
        ask_words(&a, words[i]);
        a.spec.limits.wall_ms = 300;
        run(&a);
        assert_end(ASSAY_BOX_WALL);
        assert_in_range(oc.wall_us, 300000, 1300000);
        assert_honest_next();
    }
}

static void cpu_of_the_whole_tree(void **state)
{
    (void)state;
    struct ask a;
    ask_words(&a, "grandchildren");
    a.spec.limits.cpu_ms = 300;
    a.spec.limits.wall_ms = 60000;
    run(&a);
    assert_end(ASSAY_BOX_CPU);
    assert_honest_next();
}

static void memory_hog(void **state)
{
    (void)state;
    struct ask a;
    ask_words(&a, "hog");
    run(&a);
    assert_end(ASSAY_BOX_MEMORY);
    if (fx.leaf) {
        assert_true(oc.oom_kills > 0);
        assert_in_range(oc.memory_peak_bytes, 48 * MIB, 66 * MIB);
    }
    assert_honest_next();
}

#if BOX_LEAF
static void cpu_hidden_from_wait4(void **state)
{
    (void)state;
    struct ask a;
    ask_words(&a, "hidden-cpu 200");
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_true(oc.precision & 1);
    assert_true(oc.cpu_us >= 200000);
}

static void memory_in_children(void **state)
{
    (void)state;
    run_words("hogs 8 20000000");
    assert_end(ASSAY_BOX_MEMORY);
    assert_honest_next();
}

/* Too little to be executed at all: still the program's limit, and no fault of ours. */
static void memory_too_small_to_start(void **state)
{
    (void)state;
    static const int64_t bytes[] = {4096, 65536, 262144};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        struct ask a;
        ask_words(&a, "hog 10000000");
        a.spec.limits.memory_bytes = bytes[i];
        a.spec.limits.cpu_ms = 20000; /* the kernel may look for memory to take back for long */
        a.spec.limits.wall_ms = 60000;
        run(&a);
        /* an execve past its point of no return can only end by a signal; one that cannot even copy its
         * arguments into memory says E2BIG, and is a program that did not start */
#ifdef __SANITIZE_ADDRESS__
        if (oc.end == ASSAY_BOX_EXITED && oc.exit_code == 1)
            continue; /* the program's own sanitizer found no room for itself */
#endif
        if (oc.end != ASSAY_BOX_SIGNALLED && !(oc.end == ASSAY_BOX_EXITED && oc.exit_code == 126))
            assert_end(ASSAY_BOX_MEMORY);
    }
    assert_honest_next();
}

static void memory_peak_is_this_box_own(void **state)
{
    (void)state;
    run_words("hog 30000000");
    assert_end(ASSAY_BOX_EXITED);
    assert_in_range(oc.memory_peak_bytes, 28 * MIB, 36 * MIB);
    run_words("exit 0");
    assert_true(oc.memory_peak_bytes < 6 * MIB);
    assert_int_equal(oc.precision, 7);
}

#endif

static void fork_bombs(void **state)
{
    (void)state;
    static const char *const words[] = {"forkbomb", "setsidbomb"};
    for (size_t i = 0; i < 2; i++) {
        struct ask a;
        ask_words(&a, words[i]);
        a.spec.limits.cpu_ms = 500;
        a.spec.limits.wall_ms = 1000;
        a.spec.limits.processes = 32;
        /* a fork that fails at the limit is charged for its kernel stack until the next RCU grace period */
        a.spec.limits.memory_bytes = 256 * MIB;
        run(&a);
        if (oc.end != ASSAY_BOX_WALL)
            assert_end(ASSAY_BOX_CPU);
        assert_true(oc.wall_us < 2000000);
        assert_honest_next();
    }
}

static void threads_count_as_processes(void **state)
{
    (void)state;
    struct ask a;
    ask_words(&a, "threads");
    a.spec.limits.processes = 20;
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_said("19 threads");
}

static void stack_overflow(void **state)
{
    (void)state;
    struct ask a;
    ask_words(&a, "stack");
    a.spec.limits.stack_bytes = 8 * MIB;
    run(&a);
    assert_end(ASSAY_BOX_SIGNALLED);
    assert_int_equal(oc.signal, SIGSEGV);
}

static void orphans_die_with_the_program(void **state)
{
    (void)state;
    run_words("orphans 10");
    assert_end(ASSAY_BOX_EXITED);
    assert_int_equal(oc.exit_code, 0);
    assert_string_equal(out.p, "42\n");
    assert_true(oc.wall_us < 1000000);
    assert_honest_next();
}

static void closed_output_is_not_the_end(void **state)
{
    (void)state;
    run_words("close");
    assert_end(ASSAY_BOX_EXITED);
    assert_int_equal(oc.exit_code, 7);
}

/* ---- output and input ---- */

static void stdout_flood(void **state)
{
    (void)state;
    struct ask a;
    ask_words(&a, "flood 1");
    a.spec.flags = ASSAY_BOX_STRICT_OUTPUT;
    run(&a);
    assert_end(ASSAY_BOX_OUTPUT);
    assert_int_equal(out.n, MIB);
    assert_true(oc.wall_us < 1000000);
    a.spec.flags = 0;
    a.spec.limits.cpu_ms = 200;
    run(&a);
    assert_end(ASSAY_BOX_OUTPUT);
    assert_int_equal(out.n, MIB);
    assert_true(oc.stdout_bytes > MIB);
    assert_honest_next();
}

static void stderr_flood(void **state)
{
    (void)state;
    struct ask a;
    ask_words(&a, "flood 2 10000000");
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_int_equal(errout.n, 65536);
    assert_int_equal(oc.stderr_bytes, 10000000);
}

static void output_cap_is_exact(void **state)
{
    (void)state;
    struct ask a;
    ask_words(&a, "flood 1 100000");
    a.spec.limits.stdout_bytes = 100000;
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_int_equal(out.n, 100000);
    a.spec.limits.stdout_bytes = 99999;
    run(&a);
    assert_end(ASSAY_BOX_OUTPUT);
    assert_int_equal(out.n, 99999);
}

static void large_input(void **state)
{
    (void)state;
    size_t n = (size_t)(8 * MIB) + 12345;
    char *big = malloc(n);
    assert_non_null(big);
    for (size_t i = 0; i < n; i++)
        big[i] = (char)(i * 31 >> 3);
    struct ask a;
    ask_words(&a, "cat");
    a.spec.stdin_bytes = (struct assay_str){big, n};
    a.spec.limits.stdout_bytes = 16 * MIB;
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_int_equal(out.n, n);
    assert_memory_equal(out.p, big, n);
#ifndef __SANITIZE_ADDRESS__ /* a sanitized init is large, and its peak is inherited through execve */
    assert_true(oc.max_rss_bytes < 4 * MIB); /* the request is not charged to the program */
#endif
    ask_words(&a, "exit 3"); /* does not read it */
    a.spec.stdin_bytes = (struct assay_str){big, n};
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_int_equal(oc.exit_code, 3);
    free(big);
    assert_honest_next();
}

static void cancel_ends_it(void **state)
{
    (void)state;
    struct ask a;
    struct assay_err err;
    ask_words(&a, "sleep");
    a.spec.limits.wall_ms = 60000;
    assert_int_equal(assay_box_client_run(fx.client, &a.spec, &err), 0);
    assert_int_equal(assay_box_client_run(fx.client, &a.spec, &err), ASSAY_E_BUSY);
    while (assay_box_client_wants_write(fx.client)) {
        struct pollfd p = {.fd = assay_box_client_fd(fx.client), .events = POLLOUT};
        assert_int_equal(poll(&p, 1, 2000), 1);
        assert_int_equal(assay_box_client_on_ready(fx.client, &err), 0);
    }
    (void)usleep(50000);
    assert_true(assay_box_client_busy(fx.client));
    assert_int_equal(assay_box_client_cancel(fx.client, &err), 0);
    while (assay_box_client_busy(fx.client)) {
        struct pollfd p = {.fd = assay_box_client_fd(fx.client), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 2000), 1);
        assert_int_equal(assay_box_client_on_ready(fx.client, &err), 0);
    }
    assert_false(assay_box_client_busy(fx.client));
    assert_honest_next();
}

/* ---- programs that converse ---- */

static struct {
    struct assay_buf said;
    size_t taken;
    bool closed, ended, done;
    struct assay_box_outcome o;
} talk;

static void talk_output(void *arg, int stream, struct assay_str bytes)
{
    (void)arg;
    if (stream == 1)
        assay_buf_str(&talk.said, bytes);
}

static void talk_done(void *arg, const struct assay_box_outcome *o)
{
    (void)arg;
    talk.o = *o;
    talk.done = true;
}

static void talk_taken(void *arg, size_t bytes, bool closed)
{
    (void)arg;
    talk.taken += bytes;
    talk.closed = talk.closed || closed;
}

static void talk_ended(void *arg)
{
    (void)arg;
    talk.ended = true;
}

static void converse(const char *words, bool small)
{
    static const struct assay_box_events events = {
        .output = talk_output, .done = talk_done, .taken = talk_taken, .ended = talk_ended};
    struct ask a;
    struct assay_err err;
    assay_buf_free(&talk.said);
    memset(&talk, 0, sizeof talk);
    assay_buf_init(&talk.said, 8 * (size_t)MIB);
    ask_words(&a, words);
    a.spec.flags |= ASSAY_BOX_CONVERSE;
    a.spec.limits.wall_ms = 20000;
    if (small) { /* a request without files, of the machine's own program */
        a.argv[0] = ASSAY_STR("/usr/bin/cat");
        a.spec.n_argv = 1;
        a.spec.n_files = 0;
    }
    assay_box_client_events(fx.client, &events, NULL);
    assert_int_equal(assay_box_client_run(fx.client, &a.spec, &err), 0);
}

/* One turn of the loop; fails when nothing comes for long. */
static void turn(void)
{
    struct assay_err err;
    struct pollfd p = {.fd = assay_box_client_fd(fx.client), .events = POLLIN};
    if (assay_box_client_wants_write(fx.client))
        p.events |= POLLOUT;
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_int_equal(assay_box_client_on_ready(fx.client, &err), 0);
}

static void a_program_converses(void **state)
{
    (void)state;
    struct assay_err err;
    converse("cat", false);
    for (size_t i = 1; i <= 50; i++) { /* to and fro */
        assert_int_equal(assay_box_client_input(fx.client, ASSAY_STR("one\n"), &err), 0);
        while (talk.said.n < 4 * i || talk.taken < 4 * i)
            turn();
        assert_int_equal(talk.said.n, 4 * i);
    }
    size_t sent = 200, total = 600 * 1024;
    static char block[65536];
    memset(block, 'x', sizeof block);
    while (talk.said.n < total) { /* as much as the window lets through */
        size_t n = total - sent, room = ASSAY_WARDEN_INPUT_WINDOW - (sent - talk.taken);
        n = n < room ? n : room;
        if (n > 0)
            assert_int_equal(assay_box_client_input(fx.client, (struct assay_str){block, n}, &err), 0);
        sent += n;
        if (talk.said.n < total)
            turn();
    }
    assert_false(talk.ended || talk.done);
    assert_int_equal(assay_box_client_input(fx.client, ASSAY_STR(""), &err), 0);
    while (!talk.done)
        turn();
    assert_true(talk.ended);
    assert_int_equal(talk.o.end, ASSAY_BOX_EXITED);
    assert_int_equal(talk.o.exit_code, 0);
    assert_int_equal(talk.said.n, total);
    assert_int_equal(talk.o.stdout_bytes, total);
    assert_honest_next();
}

static void hold_warden(void)
{
    int status;
    assert_int_equal(kill(fx.pid, SIGSTOP), 0);
    assert_int_equal(waitpid(fx.pid, &status, WUNTRACED), fx.pid);
    assert_true(WIFSTOPPED(status));
}

/* A warden that is held reads all of it at once when it goes on. */
static void what_comes_in_one_piece_with_a_run_is_heard(void **state)
{
    (void)state;
    struct assay_err err;
    hold_warden();
    converse("cat", true);
    assert_int_equal(assay_box_client_input(fx.client, ASSAY_STR("one\n"), &err), 0);
    assert_int_equal(kill(fx.pid, SIGCONT), 0);
    while (talk.said.n < 4)
        turn();
    assert_int_equal(assay_box_client_input(fx.client, ASSAY_STR(""), &err), 0);
    while (!talk.done)
        turn();
    assert_int_equal(talk.o.end, ASSAY_BOX_EXITED);

    hold_warden();
    converse("cat", true);
    assert_int_equal(assay_box_client_cancel(fx.client, &err), 0);
    assert_int_equal(kill(fx.pid, SIGCONT), 0);
    while (!talk.done)
        turn();
    assert_int_equal(talk.o.end, ASSAY_BOX_CANCELLED);
    assert_honest_next();
}

static void partners_that_go_are_noticed(void **state)
{
    (void)state;
    struct assay_err err;
    converse("drip", false);
    while (talk.said.n == 0)
        turn();
    assert_int_equal(assay_box_client_hangup(fx.client, &err), 0);
    while (!talk.done)
        turn();
    assert_int_equal(talk.o.end, ASSAY_BOX_SIGNALLED);
    assert_int_equal(talk.o.signal, SIGPIPE);
    converse("close", false); /* its output; its end closes the rest */
    while (!talk.done)
        turn();
    assert_true(talk.ended);
    assert_int_equal(talk.o.exit_code, 7);
    assert_int_equal(assay_box_client_input(fx.client, ASSAY_STR("late"), &err), ASSAY_E_GONE);
    converse("exit 3", false); /* input that nobody reads is gone, and harmless, whenever it comes */
    assert_int_equal(assay_box_client_input(fx.client, ASSAY_STR("unread"), &err), 0);
    while (!talk.done)
        turn();
    assert_int_equal(talk.o.exit_code, 3);
    assay_buf_free(&talk.said);
    assert_honest_next();
}

/* A runner that does not read: the limits go on, memory stays bounded, and the result comes in the end. */
static void slow_reader(void **state)
{
    (void)state;
    struct ask a;
    struct assay_err err;
    ask_words(&a, "flood 1");
    a.spec.limits.stdout_bytes = 1024 * MIB;
    a.spec.limits.wall_ms = 400;
    assert_int_equal(assay_box_client_run(fx.client, &a.spec, &err), 0);
    while (assay_box_client_wants_write(fx.client)) {
        struct pollfd p = {.fd = assay_box_client_fd(fx.client), .events = POLLOUT};
        assert_int_equal(poll(&p, 1, 2000), 1);
        assert_int_equal(assay_box_client_on_ready(fx.client, &err), 0);
    }
    (void)usleep(1200000);
    char path[64];
    long pages = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/statm", fx.pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d %ld", &pages), 1);
    (void)fclose(f);
#ifndef __SANITIZE_ADDRESS__
    assert_true(pages * 4096 < 16 * MIB);
#endif
    struct assay_box_spec next = a.spec;
    assert_int_equal(assay_box_client_run(fx.client, &next, &err), ASSAY_E_BUSY);
    while (assay_box_client_busy(fx.client)) {
        struct pollfd p = {.fd = assay_box_client_fd(fx.client), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 2000), 1);
        assert_int_equal(assay_box_client_on_ready(fx.client, &err), 0);
    }
    assert_honest_next();
}

/* ---- what a box can see and do ---- */

WALL_TEST void files_of_the_host_are_hidden(void **state)
{
    (void)state;
    run_words("look /root /home /var /etc/shadow /etc/ssh /srv /sys /proc/1/environ /proc/meminfo /proc/sys /store /covers "
              "/scratch /box/../store /dev/sda /dev/mem /run /usr/local/bin");
    assert_end(ASSAY_BOX_EXITED);
    assert_false(said("done"));
    run_words("look /usr/bin /etc/passwd /dev/null /proc/self/status");
    assert_false(said("No such"));
    run_words("list /proc");
    assert_false(said("sys"));
    assert_said("self");
}

WALL_TEST void root_is_read_only(void **state)
{
    (void)state;
    run_words("write /usr/bin/x y");
    assert_said("Read-only");
    run_words("write /etc/passwd y");
    assert_false(said("done"));
    run_words("write /x y");
    assert_false(said("done"));
    run_words("write /proc/sys/kernel/core_pattern y");
    assert_false(said("done"));
    run_words("write /box/x y");
    assert_said("done");
    run_words("write /tmp/x y");
    assert_said("done");
}

static void only_three_descriptors(void **state)
{
    (void)state;
    run_words("fds");
    assert_string_equal(out.p, "0 1 2 \n");
}

static void environment_is_the_request(void **state)
{
    (void)state;
    struct ask a;
    const struct assay_str env[] = {ASSAY_STR("A=1"), ASSAY_STR("PATH=/usr/bin")};
    ask_words(&a, "env");
    a.spec.env = env;
    a.spec.n_env = 2;
    run(&a);
    assert_string_equal(out.p, "A=1\nPATH=/usr/bin\n");
    run_words("env");
    assert_int_equal(out.n, 0);
}

WALL_TEST void process_state_is_bare(void **state)
{
    (void)state;
    run_words("self");
    assert_said("CapInh:\t0000000000000000");
    assert_said("CapPrm:\t0000000000000000");
    assert_said("CapEff:\t0000000000000000");
    assert_said("CapBnd:\t0000000000000000");
    assert_said("CapAmb:\t0000000000000000");
    assert_said("NoNewPrivs:\t1");
    assert_said("Seccomp:\t2");
    assert_said("SigBlk:\t0000000000000000");
    assert_said("SigIgn:\t0000000000000000");
    assert_said("Umask:\t0022");
    char ids[128];
    (void)snprintf(ids, sizeof ids, "Uid:\t%u\t%u\t%u\t%u\n", fx.uid, fx.uid, fx.uid, fx.uid);
    assert_said(ids);
    assert_said("oom_score_adj 1000");
    assert_said("cwd /box");
    assert_said("session 2 of 2");
}

WALL_TEST void no_network(void **state)
{
    (void)state;
    /* something that listens on the host's loopback, and an abstract socket */
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(s, 5), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&a, &n), 0);
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    memcpy(u.sun_path + 1, "assay-test-canary", 17);
    int us = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(us, (struct sockaddr *)&u, (socklen_t)(sizeof(sa_family_t) + 18)), 0);
    assert_int_equal(listen(us, 5), 0);
    char words[64];
    (void)snprintf(words, sizeof words, "network %d", ntohs(a.sin_port));
    run_words(words);
    assert_end(ASSAY_BOX_EXITED);
    assert_false(said("done"));
    assert_said("interface lo");
    assert_false(said("interface e"));
    (void)close(s);
    (void)close(us);
}

static void doors_are_shut(void **state)
{
    (void)state;
    static const char *const words[] = {"userns", "mount", "keyring", "ipc", "uring", "device /box/d"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        run_words(words[i]);
        if (strcmp(words[i], "ipc") == 0 && strcmp(BOX_MODE, "userns") == 0)
            continue; /* there each box has an ipc namespace of its own, and may */
        if (said("done"))
            fail_msg("%s: %s", words[i], out.p);
    }
    run_words("trace");
    assert_said("ptrace init: Operation not permitted");
    assert_honest_next();
}

WALL_TEST void chroot_refuses_user_namespaces_without_a_filter(void **state)
{
    (void)state;
    /* a filter that allows everything takes the place of the warden's own */
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct ask a;
    ask_words(&a, "userns");
    a.spec.seccomp = (struct assay_str){(const char *)&allow, sizeof allow};
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_false(said("done"));
}

static void the_request_filter_holds(void **state)
{
    (void)state;
    /* kills at once: so the program cannot even start */
    struct sock_filter kill_all = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct ask a;
    ask_words(&a, "exit 0");
    a.spec.seccomp = (struct assay_str){(const char *)&kill_all, sizeof kill_all};
    run(&a);
    assert_end(ASSAY_BOX_SIGNALLED);
    assert_int_equal(oc.signal, SIGSYS);
    /* one that the kernel refuses: ours, and not the program's fault */
    struct sock_filter broken = BPF_STMT(0xffff, 0);
    a.spec.seccomp = (struct assay_str){(const char *)&broken, sizeof broken};
    run(&a);
    assert_end(ASSAY_BOX_FAILED);
    assert_non_null(strstr(oc.message, "seccomp"));
    assert_honest_next();
}

static void kill_everything(void **state)
{
    (void)state;
    run_words("killall");
    assert_end(ASSAY_BOX_EXITED);
    assert_said("alive");
    assert_honest_next();
}

WALL_TEST void scratch_is_bounded(void **state)
{
    (void)state;
    static const char *const words[] = {"fill /box", "fill /tmp", "fill /dev/shm"};
    for (size_t i = 0; i < 3; i++) {
        struct ask a;
        ask_words(&a, words[i]);
        a.spec.limits.scratch_bytes = 8 * MIB;
        a.spec.limits.file_bytes = 100 * MIB;
        run(&a);
        assert_end(ASSAY_BOX_EXITED);
        assert_said("No space left");
        assert_true(strtol(out.p, NULL, 10) <= 8 * MIB);
    }
    struct ask a;
    ask_words(&a, "inodes");
    a.spec.limits.scratch_files = 100;
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_said("No space left");
    assert_true(strtol(out.p, NULL, 10) <= 104);
    ask_words(&a, "fill /box");
    a.spec.limits.file_bytes = MIB;
    run(&a);
    assert_end(ASSAY_BOX_SIGNALLED);
    assert_int_equal(oc.signal, SIGXFSZ);
}

WALL_TEST void boxes_do_not_meet(void **state)
{
    (void)state;
    static const char *const place[] = {"/box/left", "/tmp/left", "/dev/shm/left"};
    for (size_t i = 0; i < 3; i++) {
        char words[64];
        (void)snprintf(words, sizeof words, "write %s secret", place[i]);
        run_words(words);
        assert_said("done");
        (void)snprintf(words, sizeof words, "cat %s", place[i]);
        run_words(words);
        assert_int_equal(oc.exit_code, 1);
        assert_int_equal(out.n, 0);
    }
}

WALL_TEST void concurrent_boxes_do_not_meet(void **state)
{
    (void)state;
    struct fixture other;
    struct assay_err err;
    assert_true(fixture_start(&other, BOX_MODE, NULL, false, BOX_ORDINARY));
    struct assay_str argv[] = {ASSAY_STR("/bin/sh"), ASSAY_STR("-c"), ASSAY_STR("echo x > /tmp/meet; echo x > /dev/shm/meet; exec sleep 77777")};
    struct assay_box_spec spec = {.argv = argv, .n_argv = 3, .limits = {.wall_ms = 60000}};
    assert_int_equal(assay_box_client_run(other.client, &spec, &err), 0);
    (void)usleep(300000);
    run_words("look /tmp/meet /dev/shm/meet");
    assert_false(said("done"));
    run_words("list /proc");
    assert_true(said("2\n")); /* itself */
    assert_false(said("3\n"));
    assert_true(assay_box_client_busy(other.client));
    run_words("killall");
    assert_int_equal(assay_box_client_on_ready(other.client, &err), 0);
    assert_true(assay_box_client_busy(other.client));
    int status;
    (void)fixture_stop(&other, &status);
    assert_int_equal(status, 0);
}

/* After as many boxes as it was told a warden asks to be replaced, once, and serves on until it is. */
WALL_TEST void a_worn_warden_says_so(void **state)
{
    (void)state;
    struct fixture old;
    struct assay_err err;
    assert_true(fixture_start(&old, BOX_MODE, (const char *const[]){"--boxes=2", NULL}, false, BOX_ORDINARY));
    struct assay_str argv[] = {ASSAY_STR("/bin/true")};
    struct assay_box_spec spec = {.argv = argv, .n_argv = 1, .limits = {.wall_ms = 60000}};
    for (int i = 1; i <= 4; i++) {
        struct assay_box_outcome o;
        assert_int_equal(assay_box_client_run_sync(old.client, &spec, NULL, NULL, &o, &err), 0);
        assert_int_equal(o.end, ASSAY_BOX_EXITED);
        struct pollfd p = {.fd = assay_box_client_fd(old.client), .events = POLLIN};
        while (i >= 2 && !assay_box_client_worn(old.client)) {
            assert_int_equal(poll(&p, 1, 10000), 1);
            assert_int_equal(assay_box_client_on_ready(old.client, &err), 0);
        }
        assert_int_equal(assay_box_client_worn(old.client), i >= 2);
    }
    int status;
    (void)fixture_stop(&old, &status);
    assert_int_equal(status, 0);
}

/* The working directory may be shown at a place of the box's root as well, and the program begins there. */
WALL_TEST void a_working_directory_of_choice(void **state)
{
    (void)state;
    struct ask a;
    struct assay_box_mount m = {.artefact = ASSAY_STR(ASSAY_WARDEN_SELF), .path = ASSAY_STR("/tmp")};
    struct assay_str kept = ASSAY_STR("made");
    struct assay_str argv[] = {ASSAY_STR("/bin/sh"), ASSAY_STR("-c"), ASSAY_STR("pwd; cat /tmp/prog >/dev/null && echo there; echo x >made")};
    ask_words(&a, "");
    memcpy(a.argv, argv, sizeof argv);
    a.spec.n_argv = 3;
    a.spec.mounts = &m;
    a.spec.n_mounts = 1;
    a.spec.collect = &kept;
    a.spec.n_collect = 1;
    a.spec.collect_bytes = MIB;
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_string_equal(out.p, "/tmp\nthere\n");
    assert_int_equal(strlen(oc.artefact), 64);
    m.path = ASSAY_STR("/nowhere");
    run(&a);
    assert_end(ASSAY_BOX_FAILED);
    assert_non_null(strstr(oc.message, "/nowhere"));
    assert_honest_next();
}

static void bad_specs_are_refused_here(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "/abs", "a/../b", "..", "a//b", "./a", "a/"};
    struct assay_err err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ask a;
        ask_words(&a, "exit 0");
        a.file.path = assay_str(bad[i]);
        assert_int_equal(assay_box_client_run(fx.client, &a.spec, &err), ASSAY_E_INVALID);
    }
    struct ask a;
    ask_words(&a, "exit 0");
    a.argv[1] = (struct assay_str){"a\0b", 3};
    assert_int_equal(assay_box_client_run(fx.client, &a.spec, &err), ASSAY_E_INVALID);
    assert_honest_next();
}

/* ---- residue ---- */

static long lines(const char *path)
{
    FILE *f = fopen(path, "re");
    long n = 0;
    for (int c; f && (c = fgetc(f)) != EOF;)
        n += c == '\n';
    if (f)
        (void)fclose(f);
    return n;
}

/* Those of the box's user, which nobody else has. In a user namespace warden and inits are of it too. */
static long process_count(void)
{
    long n = 0;
    DIR *d = opendir("/proc");
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        struct stat st;
        if (e->d_name[0] < '1' || e->d_name[0] > '9' || fstatat(dirfd(d), e->d_name, &st, 0) < 0)
            continue;
        /* what is not dumpable shows as root's: so the inits are counted by their parent below */
        n += st.st_uid == fx.uid;
    }
    if (d)
        (void)closedir(d);
    char path[64], children[256] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", fx.pid, fx.pid);
    FILE *f = fopen(path, "re");
    if (f && fgets(children, sizeof children, f))
        for (const char *p = children; (p = strchr(p, ' ')); p++)
            n++;
    if (f)
        (void)fclose(f);
    return n;
}

static long resident_kib(pid_t pid)
{
    char path[64];
    long pages = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *f = fopen(path, "re");
    if (f && fscanf(f, "%*d %ld", &pages) != 1)
        pages = -1;
    if (f)
        (void)fclose(f);
    return pages * 4;
}

static long descriptors(pid_t pid)
{
    char path[64];
    long n = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        (void)closedir(d);
    return n;
}

/* The next box is made ahead and the last one taken down beside it, which a busy machine does late. */
static void wait_for_calm(void)
{
    long processes = -1, fds = -1;
    for (int calm = 0, i = 0; calm < 25 && i < 500; i++) {
        long p = process_count(), d = descriptors(fx.pid);
        calm = p == processes && d == fds ? calm + 1 : 0;
        processes = p;
        fds = d;
        (void)usleep(20000);
    }
}

static void many_boxes_leave_nothing(void **state)
{
    (void)state;
    /* what is kept for later boxes is there by then */
    for (int i = 0; i < 20; i++)
        run_words(i % 4 == 0 ? "orphans 2" : i % 4 == 1 ? "echo x" : i % 4 == 2 ? "signal 11" : "write /box/a b");
    wait_for_calm();
    char mounts[64];
    (void)snprintf(mounts, sizeof mounts, "/proc/%d/mountinfo", fx.pid);
    long processes = process_count(), mounted = lines(mounts), host_mounted = lines("/proc/self/mountinfo");
    long fds = descriptors(fx.pid), resident = resident_kib(fx.pid);
    for (int i = 0; i < 200; i++)
        run_words(i % 4 == 0 ? "orphans 2" : i % 4 == 1 ? "echo x" : i % 4 == 2 ? "signal 11" : "write /box/a b");
    /* a leak stays; a box that is being made or taken down does not */
    for (int i = 0; i < 20 && (i == 0 || process_count() != processes || descriptors(fx.pid) != fds); i++) {
        run_words("exit 0");
        wait_for_calm();
    }
    assert_int_equal(process_count(), processes);
    assert_int_equal(lines(mounts), mounted);
    assert_int_equal(lines("/proc/self/mountinfo"), host_mounted);
    assert_int_equal(descriptors(fx.pid), fds);
#ifndef __SANITIZE_ADDRESS__ /* it keeps what is freed for a while */
    assert_true(resident_kib(fx.pid) < resident + 512);
#else
    assert_true(resident_kib(fx.pid) < resident + 65536);
#endif
    for (int i = 0; fx.leaf && i < 3; i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "%s/tasks", fx.leaf_dir[i]);
        assert_int_equal(lines(path), 0);
    }
}

/* ---- groups ---- */

static int open_this(void **state)
{
    (void)state;
    static const char *const extra[] = {"--artefact-count=4", NULL};
    return rig_open(BOX_MODE, extra, getenv("ASSAY_HOSTILE") ? getenv("ASSAY_HOSTILE") : "tests/boxes/hostile", BOX_LEAF,
                    BOX_ORDINARY);
}

/* What a box is cut off from by namespaces and mounts; box_reduced_test.c says what holds without. */
#define WALLS                                                                                                          \
    cmocka_unit_test(concurrent_boxes_do_not_meet),                                                  \
        cmocka_unit_test(files_of_the_host_are_hidden),                    \
        cmocka_unit_test(root_is_read_only), cmocka_unit_test(process_state_is_bare), cmocka_unit_test(no_network),    \
        cmocka_unit_test(chroot_refuses_user_namespaces_without_a_filter), cmocka_unit_test(scratch_is_bounded), cmocka_unit_test(a_working_directory_of_choice),       \
        cmocka_unit_test(boxes_do_not_meet), cmocka_unit_test(artefact_goes_round), cmocka_unit_test(collect_refuses)

#define COMMON                                                                                                         \
    cmocka_unit_test(a_worn_warden_says_so), cmocka_unit_test(exit_codes), cmocka_unit_test(signals), cmocka_unit_test(no_such_program),                      \
        cmocka_unit_test(streams_apart_and_together), cmocka_unit_test(binary_output_unchanged),                     \
        cmocka_unit_test(spin_ends_by_cpu), cmocka_unit_test(waits_end_by_wall), cmocka_unit_test(cpu_of_the_whole_tree), \
        cmocka_unit_test(memory_hog), cmocka_unit_test(fork_bombs), cmocka_unit_test(threads_count_as_processes),     \
        cmocka_unit_test(stack_overflow), cmocka_unit_test(orphans_die_with_the_program),                             \
        cmocka_unit_test(closed_output_is_not_the_end), cmocka_unit_test(stdout_flood), cmocka_unit_test(stderr_flood), \
        cmocka_unit_test(output_cap_is_exact), cmocka_unit_test(large_input), cmocka_unit_test(cancel_ends_it), cmocka_unit_test(slow_reader), cmocka_unit_test(a_program_converses), cmocka_unit_test(what_comes_in_one_piece_with_a_run_is_heard), cmocka_unit_test(partners_that_go_are_noticed),        \
        cmocka_unit_test(only_three_descriptors), cmocka_unit_test(environment_is_the_request),                       \
        cmocka_unit_test(doors_are_shut), cmocka_unit_test(the_request_filter_holds),                                 \
        cmocka_unit_test(kill_everything), cmocka_unit_test(artefact_name_is_canonical),                              \
        cmocka_unit_test(tools_are_found), cmocka_unit_test(artefacts_travel), cmocka_unit_test(bad_artefacts_are_refused), cmocka_unit_test(store_forgets_the_oldest),                                \
        cmocka_unit_test(bad_specs_are_refused_here), cmocka_unit_test(many_boxes_leave_nothing)

int main(void)
{
    const struct CMUnitTest tests[] = {
        COMMON,
#if !BOX_REDUCED
        WALLS,
#endif
#if BOX_LEAF
        cmocka_unit_test(cpu_hidden_from_wait4),
        cmocka_unit_test(memory_in_children),
        cmocka_unit_test(memory_too_small_to_start),
        cmocka_unit_test(memory_peak_is_this_box_own),
#endif
    };
    if (geteuid() != 0) {
        printf("1..0 # SKIP needs root\n");
        return 0;
    }
    if (strcmp(BOX_MODE, "userns") == 0 && !ordinary_user_can("/")) {
        printf("1..0 # SKIP an ordinary user gets no user namespace here\n");
        return 0;
    }
    /* mounts are counted: those that other tests make meanwhile are not to be seen here */
    if (unshare(CLONE_NEWNS) == 0)
        (void)mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    return cmocka_run_group_tests_name("box", tests, open_this, rig_close);
}
