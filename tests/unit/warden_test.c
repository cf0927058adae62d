/*
 * The parts of the warden that need no privilege: the request parser, the frame splitter, paths,
 * numbers, SHA-256; and, as root, how the warden as a process answers to nonsense and to deaths.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ordinary.h"
#include "plugins/warden/warden.h"
#include "warden_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *pointers[2 * (ASSAY_WARDEN_ARGV_MAX + 1)];

/* ---- a request, built by hand so that each rule can be broken alone ---- */

struct build {
    uint8_t p[8192];
    size_t n;
    struct assay_warden_run head;
};

static void add(struct build *b, const void *p, size_t n)
{
    assert_true(b->n + n <= sizeof b->p);
    if (n > 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void add_string(struct build *b, const char *z)
{
    uint32_t n = (uint32_t)strlen(z);
    add(b, &n, sizeof n);
    add(b, z, n + 1);
}

static void add_file(struct build *b, const char *path, uint32_t mode, const char *bytes)
{
    uint64_t n = strlen(bytes);
    add_string(b, path);
    add(b, &mode, sizeof mode);
    add(b, &n, sizeof n);
    add(b, bytes, n);
}

static const char HEX[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static void build_good(struct build *b)
{
    memset(b, 0, sizeof *b);
    b->head = (struct assay_warden_run){.serial = 9, .cpu_ms = 1000, .n_argv = 2, .n_env = 1, .n_files = 1, .n_mounts = 1,
                                        .n_collect = 1, .stdin_bytes = 5, .seccomp_bytes = 8};
    b->n = sizeof b->head;
    add_string(b, "/bin/true");
    add_string(b, "x");
    add_string(b, "A=1");
    add_file(b, "src/main.c", 0644, "int main;");
    add_string(b, HEX);
    add_string(b, "app");
    add_string(b, "a.out");
    add(b, "12345678", 8);
    add(b, "stdin", 5);
}

static int parse(struct build *b, struct request *q)
{
    struct note why;
    memcpy(b->p, &b->head, sizeof b->head);
    /* a copy of the exact size, so that a sanitizer sees any step over its end */
    uint8_t *exact = malloc(b->n ? b->n : 1);
    assert_non_null(exact);
    memcpy(exact, b->p, b->n);
    int rc = request_parse(exact, b->n, pointers, q, &why);
    if (rc == 0) {
        struct request_file f;
        struct request_mount m;
        const char *z;
        (void)request_file_next(q->files, &f);
        (void)request_mount_next(q->mounts, &m);
        (void)request_string_next(q->collect, &z);
        assert_string_equal(q->argv[0], "/bin/true");
        assert_null(q->argv[2]);
        assert_string_equal(q->env[0], "A=1");
        assert_null(q->env[1]);
        assert_string_equal(f.path, "src/main.c");
        assert_int_equal(f.mode, 0644);
        assert_int_equal(f.size, 9);
        assert_memory_equal(f.data, "int main;", 9);
        assert_string_equal(m.artefact, HEX);
        assert_string_equal(m.path, "app");
        assert_string_equal(z, "a.out");
        assert_int_equal(q->seccomp_count, 1);
        assert_memory_equal(q->stdin_data, "stdin", 5);
    }
    free(exact);
    return rc;
}

static void good_request_is_taken(void **state)
{
    (void)state;
    struct build b;
    struct request q;
    build_good(&b);
    assert_int_equal(parse(&b, &q), 0);
    assert_int_equal(q.head.serial, 9);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct build b;
    struct request q;
    build_good(&b);
    size_t whole = b.n;
    for (size_t n = 0; n < whole; n++) {
        uint8_t *exact = malloc(n + 1);
        struct note why;
        assert_non_null(exact);
        memcpy(b.p, &b.head, sizeof b.head);
        memcpy(exact, b.p, n);
        assert_int_equal(request_parse(exact, n, pointers, &q, &why), -1);
        free(exact);
    }
}

static void every_rule_is_held(void **state)
{
    (void)state;
    struct build b;
    struct request q;
#define BREAK(statement)                    \
    do {                                    \
        build_good(&b);                     \
        statement;                          \
        assert_int_equal(parse(&b, &q), -1); \
    } while (0)
    BREAK(b.head.n_argv = 0);
    BREAK(b.head.n_argv = 4097);
    BREAK(b.head.n_argv = 0xffffffff);
    BREAK(b.head.n_env = 0xffffffff);
    BREAK(b.head.n_files = 4097);
    BREAK(b.head.n_mounts = 17);
    BREAK(b.head.n_collect = 257);
    BREAK(b.head.seccomp_bytes = 7);
    BREAK(b.head.seccomp_bytes = 0xfffffff8);
    BREAK(b.head.stdin_bytes = 4);
    BREAK(b.head.stdin_bytes = UINT64_MAX);
    BREAK(b.head.flags = FLAG_CONVERSE << 1);
    BREAK(b.head.warm_cpu_us = -1);
    BREAK(b.head.warm_memory_bytes = INT64_MAX);
    BREAK(b.head.zero = 1);
    BREAK(b.head.cpu_ms = -1);
    BREAK(b.head.cpu_hard_ms = b.head.cpu_ms - 1);
    BREAK(b.head.cpu_hard_ms = -1);
    BREAK(b.head.wall_ms = INT64_MAX);
    BREAK(b.head.memory_bytes = INT64_MIN);
    BREAK(b.head.processes = 32769);
    BREAK(b.head.collect_bytes = -1);
    BREAK(add(&b, "x", 1)); /* bytes that nobody announced */
    BREAK(memcpy(b.p + sizeof b.head + 4, "/bi\0/true", 9)); /* a NUL within */
    BREAK(b.p[sizeof b.head + 4 + 9] = 'x');                 /* none behind */
#undef BREAK
    /* a file of 2^64-1 bytes must not wrap the cursor */
    build_good(&b);
    b.n = sizeof b.head;
    b.head.n_argv = 1;
    b.head.n_env = 0;
    add_string(&b, "/bin/true");
    uint32_t mode = 0644;
    uint64_t huge = UINT64_MAX;
    add_string(&b, "f");
    add(&b, &mode, sizeof mode);
    add(&b, &huge, sizeof huge);
    assert_int_equal(parse(&b, &q), -1);
}

static void warm_strings_are_counted(void **state)
{
    (void)state;
    struct {
        struct assay_warden_prestart head;
        uint8_t bytes[64];
    } m = {.head = {1, 1}, .bytes = "\2\0\0\0ls\0\3\0\0\0A=b"};
    const size_t whole = sizeof m.head + 7 + 8;
    struct note why;
    assert_int_equal(prestart_check((const uint8_t *)&m, whole, &why), 0);
    for (size_t n = 0; n < whole; n++)
        assert_int_equal(prestart_check((const uint8_t *)&m, n, &why), -1);
    assert_int_equal(prestart_check((const uint8_t *)&m, whole + 1, &why), -1);
    m.head.n_argv = 0;
    assert_int_equal(prestart_check((const uint8_t *)&m, whole, &why), -1);
    m.head.n_argv = 65;
    assert_int_equal(prestart_check((const uint8_t *)&m, whole, &why), -1);
    m.head = (struct assay_warden_prestart){1, 0xffffffff};
    assert_int_equal(prestart_check((const uint8_t *)&m, whole, &why), -1);
}

static void paths(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "a/b", "a b", "-o", "...", ".a", "a.", "\xff\xfe", "a\nb"};
    static const char *const bad[] = {"", "/", "/a", "a/", "a//b", ".", "..", "a/.", "a/..", "../a", "a/../b", "./a"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(path_ok(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(path_ok(bad[i]));
    char part[300];
    memset(part, 'a', sizeof part);
    part[255] = 0;
    assert_true(path_ok(part));
    part[255] = 'a';
    part[256] = 0;
    assert_false(path_ok(part));
    assert_true(hex_ok(HEX));
    assert_false(hex_ok("ABCDEF6789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"));
    assert_false(hex_ok("0123"));
    assert_false(hex_ok("../../../../../../../../../../../../../../../../../../../../../../"));
}

static void numbers(void **state)
{
    (void)state;
    uint64_t v = 7;
    assert_true(parse_u64("0", 10, &v) && v == 0);
    assert_true(parse_u64("18446744073709551615", UINT64_MAX, &v) && v == UINT64_MAX);
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "0x1", "11", "18446744073709551616", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(parse_u64(bad[i], 10, &v));
}

/* FIPS 180-4's examples (the second is of two blocks), and a million times 'a' in odd pieces. */
static void sha256_examples(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } example[] = {
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    };
    struct sha256 s;
    char hex[65];
    for (size_t i = 0; i < sizeof example / sizeof *example; i++) {
        sha256_init(&s);
        sha256_add(&s, example[i].text, strlen(example[i].text));
        sha256_hex(&s, hex);
        assert_string_equal(hex, example[i].hex);
    }
    char piece[997];
    memset(piece, 'a', sizeof piece);
    sha256_init(&s);
    for (size_t left = 1000000; left > 0;) {
        size_t n = left < sizeof piece ? left : sizeof piece;
        sha256_add(&s, piece, n);
        left -= n;
    }
    sha256_hex(&s, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* A RUN between small frames, given byte by byte and all at once, comes out the same. */
/* ---- find ---- */

static void finds_are_checked(void **state)
{
    (void)state;
    const char *tool[ASSAY_WARDEN_FIND_MAX];
    struct note why;
    size_t n = 0;
    struct build b = {.n = 0};
    uint32_t count = 2;
    add(&b, &count, sizeof count);
    add_string(&b, "cc gcc");
    add_string(&b, "/opt/x");
    assert_int_equal(find_parse(b.p, b.n, tool, &n, &why), 0);
    assert_int_equal(n, 2);
    assert_string_equal(tool[0], "cc gcc");
    assert_string_equal(tool[1], "/opt/x");
    for (size_t cut = 0; cut < b.n; cut++)
        assert_int_equal(find_parse(b.p, cut, tool, &n, &why), -1);
    assert_int_equal(find_parse(b.p, b.n + 1, tool, &n, &why), -1);
    const uint32_t bad[] = {0, 1, 3, ASSAY_WARDEN_FIND_MAX + 1, 0xffffffff};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(b.p, &bad[i], sizeof bad[i]);
        assert_int_equal(find_parse(b.p, b.n, tool, &n, &why), -1);
    }
    b.n = 0;
    count = 1;
    add(&b, &count, sizeof count);
    add_string(&b, "");
    assert_int_equal(find_parse(b.p, b.n, tool, &n, &why), -1);
}

static void put_program(int root, const char *path, const char *bytes, mode_t mode)
{
    CLEANUP_FD int fd = openat(root, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
}

static void tools_are_found_inside_the_root_only(void **state)
{
    (void)state;
    static const char elf[] = "\177ELF and so on";
    char dir[] = "/tmp/assay-find-XXXXXX", text[FIND_TEXT], remove[64];
    assert_non_null(mkdtemp(dir));
    CLEANUP_FD int root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(root >= 0);
    assert_int_equal(mkdirat(root, "usr", 0755), 0);
    assert_int_equal(mkdirat(root, "usr/bin", 0755), 0);
    assert_int_equal(mkdirat(root, "opt", 0755), 0);
    put_program(root, "usr/bin/real-1.2", elf, 0755);
    put_program(root, "usr/bin/script", "#!/bin/sh\n", 0755);
    put_program(root, "usr/bin/plain", elf, 0644);
    put_program(root, "usr/bin/empty", "", 0755);
    put_program(root, "opt/pinned", elf, 0755);
    static const char *const link[][2] = {
        {"real-1.2", "usr/bin/real"},      {"../../usr/bin/./real", "usr/bin/long"}, {"/usr/bin/real", "usr/bin/absolute"},
        {"/nowhere/tool", "usr/bin/lost"}, {"loop", "usr/bin/loop"},                 {"usr/bin", "bin"},
        {"../../../../../../usr/bin/real", "usr/bin/up"},
    };
    for (size_t i = 0; i < sizeof link / sizeof *link; i++)
        assert_int_equal(symlinkat(link[i][0], root, link[i][1]), 0);
    static const struct {
        const char *ask, *answer; /* a path, or what the reason must hold */
        bool found;
    } row[] = {
        {"real", "/usr/bin/real-1.2", true},
        {"long", "/usr/bin/real-1.2", true},
        {"absolute", "/usr/bin/real-1.2", true},
        {"up", "/usr/bin/real-1.2", true}, /* the root has nothing above it */
        {"script real", "/usr/bin/real-1.2", true},
        {"/opt/pinned", "/opt/pinned", true},
        {"/bin/real", "/usr/bin/real-1.2", true},
        {"missing /opt/pinned", "/opt/pinned", true},
        {"missing", "none of these is installed where a box can run it: missing", false},
        {"script", "/script is no ELF file", false},
        {"empty", "/empty is no ELF file", false},
        {"plain", "none of these", false},
        {"lost", "/lost leads to something that boxes do not see", false},
        {"loop", "/loop leads to something", false},
        {"/opt/absent", "/opt/absent is not there", false},
        {"/usr/bin", "/usr/bin is not there", false},
        {"/", "/ is not there", false},
        {"   ", "none of these", false},
        {"../bin/real", "/usr/bin/real-1.2", true},
        {"tool\nwith\nlines", "names that are no plain text", false},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        bool found = find_tool(root, row[i].ask, text);
        if (found != row[i].found || (found ? strcmp(text, row[i].answer) != 0 : strstr(text, row[i].answer) == NULL))
            fail_msg("%s: %d, %s", row[i].ask, found, text);
    }
    /* the longest question is answered, and not cut into something else */
    char longest[ASSAY_WARDEN_PATH_MAX + 1];
    memset(longest, 'x', sizeof longest - 1);
    longest[0] = '/';
    longest[sizeof longest - 1] = 0;
    assert_false(find_tool(root, longest, text));
    (void)snprintf(remove, sizeof remove, "rm -r %s", dir);
    assert_int_equal(system(remove), 0);
}

static void frames_are_split_anywhere(void **state)
{
    (void)state;
    struct build b;
    build_good(&b);
    memcpy(b.p, &b.head, sizeof b.head);
    uint8_t stream[8192];
    size_t n = 0;
    uint64_t serial = 77;
    struct assay_warden_frame h = {.length = 8, .type = ASSAY_WARDEN_CANCEL};
    memcpy(stream + n, &h, sizeof h), n += sizeof h;
    memcpy(stream + n, &serial, 8), n += 8;
    h = (struct assay_warden_frame){.length = (uint32_t)b.n, .type = ASSAY_WARDEN_RUN};
    memcpy(stream + n, &h, sizeof h), n += sizeof h;
    memcpy(stream + n, b.p, b.n), n += b.n;
    h = (struct assay_warden_frame){.length = 64, .type = ASSAY_WARDEN_DROP};
    memcpy(stream + n, &h, sizeof h), n += sizeof h;
    memcpy(stream + n, HEX, 64), n += 64;

    for (size_t step = 1; step <= n; step = step < 40 ? step + 1 : step * 2) {
        static struct reader r;
        static uint8_t big[8192];
        memset(&r, 0, sizeof r);
        r.big = big;
        r.big_cap = sizeof big;
        uint16_t seen[3];
        size_t frames = 0, at = 0;
        while (at < n) {
            uint8_t *p;
            size_t room;
            reader_space(&r, &p, &room);
            size_t k = step < room ? step : room;
            k = k < n - at ? k : n - at;
            memcpy(p, stream + at, k);
            reader_added(&r, k);
            at += k;
            struct frame f;
            struct note why;
            int rc;
            while ((rc = reader_next(&r, &f, &why)) == 1) {
                assert_true(frames < 3);
                seen[frames++] = f.type;
                if (f.type == ASSAY_WARDEN_RUN) {
                    assert_int_equal(f.n, b.n);
                    assert_memory_equal(f.p, b.p, b.n);
                }
            }
            assert_int_equal(rc, 0);
        }
        assert_int_equal(frames, 3);
        assert_int_equal(seen[0], ASSAY_WARDEN_CANCEL);
        assert_int_equal(seen[1], ASSAY_WARDEN_RUN);
        assert_int_equal(seen[2], ASSAY_WARDEN_DROP);
    }
}

static void writer_keeps_room_for_the_result(void **state)
{
    (void)state;
    static struct writer w;
    size_t room;
    uint8_t *p;
    while ((p = writer_output_space(&w, &room))) {
        memset(p, 'x', room);
        writer_output_commit(&w, 1, room);
    }
    struct assay_warden_done d = {.serial = 1};
    assert_true(writer_frame(&w, ASSAY_WARDEN_DONE, &d, sizeof d));
}

/* ---- the process ---- */

static bool root_only(void)
{
    if (geteuid() == 0)
        return true;
    print_message("# not root: passed over\n");
    return false;
}

/* What the stream says after these bytes: true when the warden closed it. */
static bool hangs_up_after(const void *bytes, size_t n)
{
    struct fixture f;
    assert_true(fixture_start(&f, "native", NULL, false, false));
    int fd = dup(assay_box_client_fd(f.client));
    assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char byte;
    bool closed = poll(&p, 1, 5000) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) <= 0;
    (void)close(fd);
    int status;
    (void)fixture_stop(&f, &status);
    return closed && WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

static void nonsense_ends_the_warden(void **state)
{
    (void)state;
    if (!root_only())
        return;
    struct assay_warden_frame h = {.length = 8, .type = 99};
    assert_true(hangs_up_after(&h, sizeof h));
    h = (struct assay_warden_frame){.length = 0xffffffff, .type = ASSAY_WARDEN_RUN};
    assert_true(hangs_up_after(&h, sizeof h));
    h = (struct assay_warden_frame){.length = 4, .type = ASSAY_WARDEN_CANCEL};
    assert_true(hangs_up_after(&h, sizeof h));
    h = (struct assay_warden_frame){.length = ASSAY_WARDEN_FIND_BYTES + 1, .type = ASSAY_WARDEN_FIND};
    assert_true(hangs_up_after(&h, sizeof h));
    static const uint32_t find[] = {4, ASSAY_WARDEN_FIND, ASSAY_WARDEN_FIND_MAX + 1};
    assert_true(hangs_up_after(find, sizeof find));
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_true(hangs_up_after(http, sizeof http - 1));
}

static void a_dead_warden_takes_its_box_along(void **state)
{
    (void)state;
    if (!root_only())
        return;
    struct fixture f;
    struct assay_err err;
    struct assay_str argv[] = {ASSAY_STR("/bin/sleep"), ASSAY_STR("86399")};
    struct assay_box_spec spec = {.argv = argv, .n_argv = 2, .limits = {.wall_ms = 60000}};
    assert_true(fixture_start(&f, "native", NULL, true, false));
    assert_int_equal(assay_box_client_run(f.client, &spec, &err), 0);
    (void)usleep(200000);
    assert_int_equal(system("ps -eo args | grep -q '^/bin/sleep 86399$'"), 0);
    assert_int_equal(kill(f.pid, SIGKILL), 0);
    int rc = 0;
    while (rc == 0) {
        struct pollfd p = {.fd = assay_box_client_fd(f.client), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 5000), 1);
        rc = assay_box_client_on_ready(f.client, &err);
    }
    assert_int_equal(rc, ASSAY_E_IO);
    (void)usleep(100000);
    assert_int_not_equal(system("ps -eo args | grep -q '^/bin/sleep 86399$'"), 0);
    assert_true(fixture_stop(&f, NULL)); /* the leaf could be removed: it was empty */
}

static void a_closed_stream_ends_warden_and_box(void **state)
{
    (void)state;
    if (!root_only())
        return;
    struct fixture f;
    struct assay_err err;
    struct assay_str argv[] = {ASSAY_STR("/bin/sleep"), ASSAY_STR("86398")};
    struct assay_box_spec spec = {.argv = argv, .n_argv = 2, .limits = {.wall_ms = 60000}};
    int status;
    assert_true(fixture_start(&f, "native", NULL, true, false));
    assert_int_equal(assay_box_client_run(f.client, &spec, &err), 0);
    (void)usleep(100000);
    assert_true(fixture_stop(&f, &status));
    assert_int_equal(status, 0);
    assert_int_not_equal(system("ps -eo args | grep -q '^/bin/sleep 86398$'"), 0);
}

static void a_demanded_leaf_is_demanded(void **state)
{
    (void)state;
    if (!root_only())
        return;
    static const char *const extra[] = {"--leaf=required", NULL};
    struct fixture f;
    int status;
    assert_false(fixture_start(&f, "native", extra, false, false));
    (void)fixture_stop(&f, &status);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

static void missing_binds_stop_the_start(void **state)
{
    (void)state;
    if (!root_only())
        return;
    static const char *const extra[] = {"--bind=/no/such/path", NULL}, *const try[] = {"--bind-try=/no/such/path", NULL};
    struct fixture f;
    int status;
    assert_false(fixture_start(&f, "native", extra, false, false));
    (void)fixture_stop(&f, &status);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_true(fixture_start(&f, "native", try, false, false));
    (void)fixture_stop(&f, &status);
    assert_int_equal(status, 0);
}

static void binds_links_and_hides(void **state)
{
    (void)state;
    if (!root_only())
        return;
    char dir[] = "/tmp/assay-bind-XXXXXX", bind[128], path[128];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    (void)snprintf(path, sizeof path, "%s/sub", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    (void)snprintf(bind, sizeof bind, "--bind=%s:/opt/lang", dir);
    const char *extra[] = {bind, "--link=/opt/lang:/lang", "--hide=/usr/share", "--bind=/usr/lib:/usr/local/lib", NULL};
    struct fixture f;
    struct assay_err err;
    struct assay_box_outcome o;
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    struct assay_str argv[] = {ASSAY_STR("/bin/sh"), ASSAY_STR("-c"),
                               ASSAY_STR("ls /lang /usr/share; touch /opt/lang/x 2>/dev/null && echo wrote; ls /usr/local")};
    struct assay_box_spec spec = {.argv = argv, .n_argv = 3, .limits = {.wall_ms = 5000, .stdout_bytes = 4096}};
    assert_true(fixture_start(&f, "native", extra, false, false));
    assert_int_equal(assay_box_client_run_sync(f.client, &spec, &out, NULL, &o, &err), 0);
    (void)fixture_stop(&f, NULL);
    (void)rmdir(path);
    (void)rmdir(dir);
    assert_string_equal(out.p, "/lang:\nsub\n\n/usr/share:\nlib\n");
}

/* What all wardens share: seen by a box that mounts it, in the one place made for it, and never to be changed there. */
static void shared_artefacts(void **state)
{
    (void)state;
    if (!root_only())
        return;
    char dir[] = "/tmp/assay-shared-XXXXXX", shared[128], path[256], link[256];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    (void)snprintf(shared, sizeof shared, "--shared=%s", dir);
    const char *extra[] = {shared, NULL}, *missing[] = {"--shared=/no/such/path", NULL};
    static const char other[] = "1111111111111111111111111111111111111111111111111111111111111111";
    int ways = ordinary_user_can("/") ? 2 : 1;
    if (ways == 1)
        puts("# an ordinary user gets no user namespace here: tried as root only");
    for (int ordinary = 0; ordinary < ways; ordinary++) {
        struct fixture f;
        struct assay_err err;
        struct assay_box_outcome o;
        ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
        struct assay_str argv[] = {ASSAY_STR("/bin/sh"), ASSAY_STR("-c"),
                                   ASSAY_STR("cat /warm/d/x; for f in /warm/x /warm/d/x /warm/d/y; do echo no >$f && echo wrote; "
                                             "done; rm -f /warm/d/x; chmod 777 /warm/d/x && echo changed; ls /warm /shared")};
        struct assay_box_mount mount = {assay_str(HEX), ASSAY_STR("/warm")};
        struct assay_box_spec spec = {.argv = argv, .n_argv = 3, .mounts = &mount, .n_mounts = 1,
                                      .limits = {.wall_ms = 5000, .stdout_bytes = 4096}};
        assert_true(fixture_start(&f, ordinary ? "userns" : "native", extra, false, ordinary));
        assert_true((assay_box_client_hello(f.client)->features & FEATURE_SHARED) != 0);
        /* it comes after the warden has started */
        (void)snprintf(path, sizeof path, "%s/%s", dir, HEX);
        (void)mkdir(path, 0755);
        (void)snprintf(path, sizeof path, "%s/%s/d", dir, HEX);
        (void)mkdir(path, 0755);
        (void)snprintf(path, sizeof path, "%s/%s/d/x", dir, HEX);
        FILE *x = fopen(path, "w");
        assert_non_null(x);
        assert_true(fputs("warm\n", x) >= 0);
        (void)fclose(x);
        assert_int_equal(chown(path, f.uid, f.uid), 0); /* also where the box's user owns it */
        assert_int_equal(assay_box_client_run_sync(f.client, &spec, &out, NULL, &o, &err), 0);
        assert_string_equal(out.p, "warm\n/warm:\nd\n");
        assay_buf_reset(&out); /* the next box has nothing there */
        spec.n_mounts = 0;
        argv[2] = ASSAY_STR("ls /warm; echo x >/warm/x || echo shut");
        assert_int_equal(assay_box_client_run_sync(f.client, &spec, &out, NULL, &o, &err), 0);
        assert_string_equal(out.p, "shut\n");
        spec.n_mounts = 1;
        mount.artefact = assay_str(other);
        assert_int_equal(assay_box_client_run_sync(f.client, &spec, &out, NULL, &o, &err), 0);
        assert_int_equal(o.end, ASSAY_BOX_FAILED);
        assert_non_null(strstr(o.message, "not here"));
        (void)snprintf(link, sizeof link, "%s/%s", dir, other); /* a link is no artefact */
        assert_int_equal(symlink("/root", link), 0);
        assert_int_equal(assay_box_client_run_sync(f.client, &spec, &out, NULL, &o, &err), 0);
        assert_int_equal(o.end, ASSAY_BOX_FAILED);
        (void)unlink(link);
        mount.path = ASSAY_STR("/etc");
        assert_int_equal(assay_box_client_run_sync(f.client, &spec, &out, NULL, &o, &err), ASSAY_E_INVALID);
        (void)fixture_stop(&f, NULL);
    }
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/%s/d", dir, HEX);
    (void)rmdir(path);
    (void)snprintf(path, sizeof path, "%s/%s", dir, HEX);
    (void)rmdir(path);
    assert_int_equal(rmdir(dir), 0);
    struct fixture f;
    assert_true(fixture_start(&f, "native", missing, false, false));
    assert_true((assay_box_client_hello(f.client)->features & FEATURE_SHARED) == 0);
    (void)fixture_stop(&f, NULL);
}

/*
 * cgroup v2 leaves serve one box each: two are given, three boxes run.  Any machine with a cgroup2
 * mount has cgroup.procs and cpu.stat in every directory, whatever its controllers.
 */
static bool give_v2_leaf(int control, const char *dir, uint64_t id)
{
    char path[512];
    int fd[3];
    (void)snprintf(path, sizeof path, "%s/cgroup.procs", dir);
    fd[0] = open(path, O_RDWR | O_CLOEXEC);
    (void)snprintf(path, sizeof path, "%s/cpu.stat", dir);
    fd[1] = open(path, O_RDONLY | O_CLOEXEC);
    struct assay_warden_leaf m = {.type = ASSAY_WARDEN_LEAF, .version = 2, .id = id,
                                  .present = ASSAY_LEAF_BIT(ASSAY_LEAF_MEMORY_PROCS) | ASSAY_LEAF_BIT(ASSAY_LEAF_CPU_USAGE)};
    /* every other one with its directory: joined by birth, and by a write */
    size_t n = id % 2 == 0 ? 3 : 2;
    fd[2] = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (n == 3)
        m.present |= ASSAY_LEAF_BIT(ASSAY_LEAF_DIR);
    union {
        char bytes[CMSG_SPACE(sizeof fd)];
        struct cmsghdr align;
    } anc;
    memset(&anc, 0, sizeof anc);
    struct iovec iov = {&m, sizeof m};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = anc.bytes, .msg_controllen = CMSG_SPACE(n * sizeof *fd)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    if (!c || fd[0] < 0 || fd[1] < 0 || fd[2] < 0)
        return false;
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof *fd);
    memcpy(CMSG_DATA(c), fd, n * sizeof *fd);
    bool ok = sendmsg(control, &h, 0) == (ssize_t)sizeof m;
    for (size_t i = 0; i < 3; i++)
        (void)close(fd[i]);
    return ok;
}

static void single_use_leaves_are_spent(void **state)
{
    (void)state;
    static const char *const tops[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"};
    char dir[2][128];
    const char *top = NULL;
    for (size_t i = 0; i < 2 && !top; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/cgroup.controllers", tops[i]);
        if (access(path, F_OK) == 0)
            top = tops[i];
    }
    for (int i = 0; top && i < 2; i++) {
        (void)snprintf(dir[i], sizeof dir[i], "%s/assay-test-%d-v2-%d", top, getpid(), i);
        if (mkdir(dir[i], 0755) < 0)
            top = NULL;
    }
    if (!root_only() || !top) {
        print_message("# no cgroup2 directory to be made here: passed over\n");
        return;
    }
    struct fixture f;
    struct assay_err err;
    struct assay_box_outcome o;
    struct assay_str argv[] = {ASSAY_STR("/bin/sh"), ASSAY_STR("-c"), ASSAY_STR("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")};
    struct assay_box_spec spec = {.argv = argv, .n_argv = 3, .limits = {.wall_ms = 20000, .cpu_ms = 15000}};
    assert_true(fixture_start(&f, "native", NULL, false, false));
    for (int i = 0; i < 2; i++)
        assert_true(give_v2_leaf(f.control, dir[i], 70 + (uint64_t)i));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(assay_box_client_run_sync(f.client, &spec, NULL, NULL, &o, &err), 0);
        assert_int_equal(o.end, ASSAY_BOX_EXITED);
        assert_int_equal(o.precision, i < 2 ? 1 : 0);
        assert_true(o.cpu_us > 5000);
        if (i < 2) {
            struct assay_warden_spent spent;
            assert_int_equal(recv(f.control, &spent, sizeof spent, 0), sizeof spent);
            assert_int_equal(spent.type, ASSAY_WARDEN_SPENT);
            assert_int_equal(spent.dirty, 0);
            assert_int_equal(spent.id, 70 + i);
            assert_int_equal(rmdir(dir[i]), 0);
        }
    }
    int status;
    (void)fixture_stop(&f, &status);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_request_is_taken),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_rule_is_held),
        cmocka_unit_test(warm_strings_are_counted),
        cmocka_unit_test(paths),
        cmocka_unit_test(numbers),
        cmocka_unit_test(sha256_examples),
        cmocka_unit_test(finds_are_checked),
        cmocka_unit_test(tools_are_found_inside_the_root_only),
        cmocka_unit_test(frames_are_split_anywhere),
        cmocka_unit_test(writer_keeps_room_for_the_result),
        cmocka_unit_test(nonsense_ends_the_warden),
        cmocka_unit_test(a_dead_warden_takes_its_box_along),
        cmocka_unit_test(a_closed_stream_ends_warden_and_box),
        cmocka_unit_test(a_demanded_leaf_is_demanded),
        cmocka_unit_test(missing_binds_stop_the_start),
        cmocka_unit_test(binds_links_and_hides),
        cmocka_unit_test(shared_artefacts),
        cmocka_unit_test(single_use_leaves_are_spent),
    };
    return cmocka_run_group_tests_name("warden", tests, NULL, NULL);
}
