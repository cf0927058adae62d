/*
 * What holds in the reduced mode, where no namespace stands around a box: as root with a uid of its own, and
 * as an ordinary user behind Landlock alone.  box_test.c runs what is the same in every mode.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "box_rig.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* One source, two programs (plugins/warden/room.mk). */
#ifndef BOX_ORDINARY
#define BOX_ORDINARY false
#endif
static char dir[64]; /* --mount-at: this group's own */

/* A box of this mode shares the machine's user: time enough beside others, and few processes. */
static void run_small(const char *words)
{
    struct ask a;
    ask_words(&a, words);
    a.spec.limits.cpu_ms = 5000;
    a.spec.limits.wall_ms = 10000;
    a.spec.limits.stderr_bytes = MIB;
    a.spec.limits.processes = 16;
    run(&a);
}

/* No directory of a box holds anything. */
static bool scratch_empty(void)
{
    static const char *const part[] = {"0/box", "0/tmp", "1/box", "1/tmp"};
    DIR *d = opendir(dir);
    const struct dirent *e;
    size_t seen = 0;
    bool empty = d != NULL;
    while (d && (e = readdir(d))) {
        for (size_t i = 0; e->d_name[0] != '.' && i < 4; i++) {
            char path[400];
            struct stat st;
            (void)snprintf(path, sizeof path, "%s/%s/%s", dir, e->d_name, part[i]);
            DIR *below = opendir(path);
            const struct dirent *f;
            assert_non_null(below);
            while ((f = readdir(below)))
                empty = empty && (strcmp(f->d_name, ".") == 0 || strcmp(f->d_name, "..") == 0);
            (void)closedir(below);
            seen += stat(path, &st) == 0;
        }
    }
    if (d)
        (void)closedir(d);
    assert_int_equal(seen, 4);
    return empty;
}

static void hello_says_what_it_is(void **state)
{
    (void)state;
    const struct assay_box_hello *h = assay_box_client_hello(fx.client);
    assert_string_equal(h->mode, "reduced");
    assert_false(h->features & (1u << 5)); /* no network namespace */
    assert_true(h->features & (1u << 8));  /* Landlock */
}

static void files_beyond_the_rules_are_shut(void **state)
{
    (void)state;
    /* names and sizes can be seen by those who know the path: Landlock does not hide them, contents it does */
    static const char *const file[] = {"/etc/shadow", "/etc/fstab", "/proc/1/environ", "/proc/meminfo", "/proc/1/cmdline", "/sys/kernel/notes"};
    for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
        char words[64];
        (void)snprintf(words, sizeof words, "cat %s", file[i]);
        run_small(words);
        assert_int_equal(oc.exit_code, 1);
        assert_string_equal(out.p, "");
    }
    static const char *const folder[] = {"/root", "/home", "/var", "/srv", "/proc", "/run", "/usr/local/bin", "/dev/shm"};
    for (size_t i = 0; i < sizeof folder / sizeof *folder; i++) {
        char words[64];
        (void)snprintf(words, sizeof words, "list %s", folder[i]);
        run_small(words);
        if (strlen(out.p) > 0 && !said("denied"))
            fail_msg("%s: %s", words, out.p);
    }
    run_small("look /usr/bin /etc/passwd /dev/null /proc/self/status");
    assert_false(said("denied"));
    run_small("write /usr/bin/x y");
    assert_true(said("denied"));
    run_small("write /var/tmp/x y");
    assert_true(said("denied"));
    run_small("write /dev/shm/x y");
    assert_true(said("denied"));
    run_small("write x y");
    assert_true(said("done"));
}

static void paths_of_the_request_are_the_boxes_own(void **state)
{
    (void)state;
    struct assay_str argv[] = {ASSAY_STR("/bin/sh"), ASSAY_STR("-c"),
                               ASSAY_STR("test \"$HOME\" = \"$TMPDIR\" && echo hi >\"$TMPDIR/x\" && cat \"$1\"; echo \"$2\""), ASSAY_STR("sh"),
                               ASSAY_STR("/tmp/x"), ASSAY_STR("--file=/box/y")};
    struct assay_str env[] = {ASSAY_STR("HOME=/tmp"), ASSAY_STR("TMPDIR=/tmp"), ASSAY_STR("PATH=/usr/bin:/bin"), ASSAY_STR("X=/tmpx")};
    struct assay_box_spec spec = {.argv = argv, .n_argv = 6, .env = env, .n_env = 4,
                                  .limits = {.wall_ms = 10000, .stdout_bytes = MIB, .stderr_bytes = MIB}};
    run_spec(&spec);
    assay_buf_putc(&errout, (char)0);
    if (!said("hi\n--file="))
        fail_msg("%s%s", out.p, errout.p);
    assert_true(said("/0/box/y\n") || said("/1/box/y\n"));
    argv[2] = ASSAY_STR("echo $X");
    run_spec(&spec);
    assert_string_equal(out.p, "/tmpx\n");
}

static void boxes_do_not_meet(void **state)
{
    (void)state;
    struct assay_str argv[] = {ASSAY_STR("/bin/sh"), ASSAY_STR("-c"), ASSAY_STR("echo secret >/box/left; cat left 2>&1; echo secret >$T/left; echo ok"), ASSAY_STR("sh")};
    struct assay_str env[] = {ASSAY_STR("T=/tmp")};
    struct assay_box_spec spec = {.argv = argv, .n_argv = 4, .env = env, .n_env = 1,
                                  .limits = {.wall_ms = 10000, .stdout_bytes = MIB, .stderr_bytes = MIB}};
    run_spec(&spec);
    assert_true(said("ok\n"));
    assert_true(scratch_empty());
    argv[2] = ASSAY_STR("ls -A . $T; ls -A ../../*/* 2>&1");
    for (int i = 0; i < 2; i++) {
        run_spec(&spec);
        assert_false(said("left"));
        assert_false(said("store"));
    }
}

static void nothing_of_a_tree_is_too_deep_or_too_closed_to_remove(void **state)
{
    (void)state;
    struct assay_str argv[] = {
        ASSAY_STR("/bin/sh"), ASSAY_STR("-c"),
        ASSAY_STR("i=0; while [ $i -lt 300 ]; do mkdir d && cd d || exit 1; : >f; i=$((i+1)); done; cd /; cd \"$B\"; "
                  "mkdir closed; mkdir closed/in; : >closed/in/f; chmod 0 closed/in closed; mkfifo p; ln -s /etc/passwd l; chmod 0 .; echo ok")};
    struct assay_str env[] = {ASSAY_STR("B=/box"), ASSAY_STR("PATH=/usr/bin:/bin")};
    struct assay_box_spec spec = {.argv = argv, .n_argv = 3, .env = env, .n_env = 2,
                                  .limits = {.wall_ms = 20000, .stdout_bytes = MIB, .stderr_bytes = MIB, .processes = 16}};
    run_spec(&spec);
    assert_true(said("ok\n"));
    assert_true(scratch_empty());
    run_small("echo next");
    assert_string_equal(out.p, "next\n");
}

static void no_network_at_all(void **state)
{
    (void)state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(s, 5), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&a, &n), 0);
    char words[64];
    (void)snprintf(words, sizeof words, "network %d", ntohs(a.sin_port));
    run_small(words);
    assert_false(said("done"));
    assert_false(said("interface"));
    (void)close(s);
}

static void doors_are_shut(void **state)
{
    (void)state;
    static const char *const words[] = {"userns", "mount", "keyring", "ipc", "uring"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        run_small(words[i]);
        if (said("done"))
            fail_msg("%s: %s", words[i], out.p);
    }
}

static void signals_stop_at_the_box(void **state)
{
    (void)state;
    char words[96] = "";
    /* a neighbour of the same user, and the warden itself */
    pid_t victim = fork();
    if (victim == 0) {
        if (setgid(fx.uid) < 0 || setuid(fx.uid) < 0)
            _exit(1);
        (void)pause();
        _exit(0);
    }
    struct assay_str argv[] = {ASSAY_STR("/bin/sh"), ASSAY_STR("-c"), assay_str(words)};
    struct assay_box_spec spec = {.argv = argv, .n_argv = 3,
                                  .limits = {.wall_ms = 10000, .stdout_bytes = MIB, .stderr_bytes = MIB}};
    (void)snprintf(words, sizeof words, "kill -9 %d; kill -9 %d; echo tried", (int)victim, (int)fx.pid);
    argv[2] = assay_str(words);
    usleep(50000);
    run_spec(&spec);
    assert_true(said("tried"));
    assert_int_equal(kill(fx.pid, 0), 0);
    run_small("killall");
    run_small("echo still");
    assert_string_equal(out.p, "still\n");
    (void)kill(victim, SIGKILL);
    (void)waitpid(victim, NULL, 0);
}

static void no_process_outlives_its_box(void **state)
{
    (void)state;
    struct assay_str argv[] = {ASSAY_STR("/bin/sh"), ASSAY_STR("-c"),
                               ASSAY_STR("for i in 1 2 3 4 5; do (setsid sleep 98765 >/dev/null 2>&1 &) ; done; sleep 0.2; echo gone")};
    struct assay_str env[] = {ASSAY_STR("PATH=/usr/bin:/bin")};
    struct assay_box_spec spec = {.argv = argv, .n_argv = 3, .env = env, .n_env = 1,
                                  .limits = {.wall_ms = 10000, .stdout_bytes = MIB, .stderr_bytes = MIB, .processes = 32}};
    run_spec(&spec);
    assert_true(said("gone\n"));
    DIR *d = opendir("/proc");
    const struct dirent *e;
    while ((e = readdir(d))) {
        char path[300];
        struct assay_str line;
        (void)snprintf(path, sizeof path, "/proc/%s/cmdline", e->d_name);
        int fd = e->d_name[0] < '0' || e->d_name[0] > '9' ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        char text[64] = "";
        if (fd < 0)
            continue;
        line = (struct assay_str){text, 0};
        ssize_t n = read(fd, text, sizeof text);
        line.n = n > 0 ? (size_t)n : 0;
        (void)close(fd);
        if (memmem(line.p, line.n, "98765", 5))
            fail_msg("process %s is left", e->d_name);
    }
    (void)closedir(d);
}

static void nothing_is_left_of_the_warden(void **state)
{
    (void)state;
    struct fixture other;
    char at[64], option[96];
    (void)snprintf(at, sizeof at, "/tmp/assay-left-%d", (int)getpid());
    assert_int_equal(mkdir(at, 0777), 0);
    assert_int_equal(chmod(at, 0777), 0);
    (void)snprintf(option, sizeof option, "--mount-at=%s", at);
    const char *const extra[] = {option, NULL};
    assert_true(fixture_start(&other, "reduced", extra, false, false));
    int status;
    assert_true(fixture_stop(&other, &status));
    assert_int_equal(status, 0);
    assert_int_equal(rmdir(at), 0); /* empty, that is */
}

static int open_group(void **state)
{
    (void)state;
    char option[96];
    const char *const extra[] = {option, NULL};
    (void)snprintf(dir, sizeof dir, "/tmp/assay-box-reduced-%d", (int)getpid());
    if (mkdir(dir, 0777) < 0 || chmod(dir, 0777) < 0)
        return -1;
    (void)snprintf(option, sizeof option, "--mount-at=%s", dir);
    return rig_open("reduced", extra, getenv("ASSAY_HOSTILE") ? getenv("ASSAY_HOSTILE") : "tests/boxes/hostile", false, BOX_ORDINARY);
}

static int close_group(void **state)
{
    return rig_close(state) == 0 && rmdir(dir) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_says_what_it_is),
        cmocka_unit_test(files_beyond_the_rules_are_shut),
        cmocka_unit_test(paths_of_the_request_are_the_boxes_own),
        cmocka_unit_test(boxes_do_not_meet),
        cmocka_unit_test(nothing_of_a_tree_is_too_deep_or_too_closed_to_remove),
        cmocka_unit_test(no_network_at_all),
        cmocka_unit_test(doors_are_shut),
        cmocka_unit_test(signals_stop_at_the_box),
        cmocka_unit_test(no_process_outlives_its_box),
        cmocka_unit_test(nothing_is_left_of_the_warden),
    };
    if (geteuid() != 0) {
        printf("1..0 # SKIP needs root, to be both kinds of user\n");
        return 0;
    }
    return cmocka_run_group_tests_name("reduced", tests, open_group, close_group);
}
