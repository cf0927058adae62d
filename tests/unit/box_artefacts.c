/* What a box hands on: artefacts by the hash of their content, out of the warden and back, and tools found on the machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "box_artefacts.h"
#include "box_rig.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void collect_words(struct ask *a, const char *words, const struct assay_str *names, size_t n)
{
    ask_words(a, words);
    a->spec.collect = names;
    a->spec.n_collect = n;
    a->spec.collect_bytes = 4 * MIB;
    run(a);
}

void artefact_goes_round(void **state)
{
    (void)state;
    struct ask a;
    struct assay_str prog = ASSAY_STR("prog");
    collect_words(&a, "exit 0", &prog, 1);
    assert_end(ASSAY_BOX_EXITED);
    assert_int_equal(strlen(oc.artefact), 64);
    char first[65];
    memcpy(first, oc.artefact, sizeof first);
    collect_words(&a, "exit 0", &prog, 1); /* the same content has the same name */
    assert_string_equal(oc.artefact, first);

    struct assay_box_mount m = {.artefact = assay_str(first), .path = ASSAY_STR("deep/app")};
    ask_words(&a, "write /box/deep/app/x y");
    a.argv[0] = ASSAY_STR("deep/app/prog");
    a.spec.files = NULL;
    a.spec.n_files = 0;
    a.spec.mounts = &m;
    a.spec.n_mounts = 1;
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_said("Read-only file system");

    struct assay_err err;
    assert_int_equal(assay_box_client_drop(fx.client, m.artefact, &err), 0);
    run(&a);
    assert_end(ASSAY_BOX_FAILED);
    assert_non_null(strstr(oc.message, "not here"));
    assert_honest_next();
}

/* The id is a promise to build caches: this value was computed with another implementation (coreutils). */
void artefact_name_is_canonical(void **state)
{
    (void)state;
    struct ask a;
    struct assay_str names[] = {ASSAY_STR("b"), ASSAY_STR("d")};
    struct assay_box_file files[] = {
        {.path = ASSAY_STR("prog"), .bytes = program, .mode = 0755},
        {.path = ASSAY_STR("d/z"), .bytes = ASSAY_STR("zz"), .mode = 0755},
        {.path = ASSAY_STR("d/a"), .bytes = ASSAY_STR(""), .mode = 0644},
        {.path = ASSAY_STR("b"), .bytes = ASSAY_STR("hello\n"), .mode = 0644},
    };
    ask_words(&a, "exit 0");
    a.spec.files = files;
    a.spec.n_files = 4;
    a.spec.collect = names;
    a.spec.n_collect = 2;
    a.spec.collect_bytes = MIB;
    run(&a);
    FILE *f = popen("printf 'assay-artefact-1\\nb\\000644\\0006\\000hello\\nd/a\\000644\\0000\\000d/z\\000755\\0002\\000zz' | sha256sum", "r");
    char want[65] = "";
    assert_non_null(f);
    assert_int_equal(fread(want, 1, 64, f), 64);
    (void)pclose(f);
    assert_string_equal(oc.artefact, want);
}

/* ---- artefacts that leave the warden and come back ---- */

struct transfer {
    struct assay_buf content;
    char artefact[65], message[256];
    bool ended;
};

static void transfer_content(void *arg, struct assay_str bytes)
{
    struct transfer *t = arg;
    assay_buf_str(&t->content, bytes);
}

static void transfer_stored(void *arg, struct assay_str artefact, struct assay_str message)
{
    struct transfer *t = arg;
    (void)snprintf(t->artefact, sizeof t->artefact, "%.*s", ASSAY_FMT(artefact));
    (void)snprintf(t->message, sizeof t->message, "%.*s", ASSAY_FMT(message));
    t->ended = true;
}

static void transfer(struct transfer *t, const struct assay_str *put, const char *get)
{
    static const struct assay_box_events ev = {.content = transfer_content, .stored = transfer_stored};
    struct assay_err err;
    *t = (struct transfer){.content = ASSAY_BUF_INIT};
    assay_box_client_events(fx.client, &ev, t);
    int rc = put ? assay_box_client_put(fx.client, *put, &err) : assay_box_client_get(fx.client, assay_str(get), &err);
    while (rc == 0 && !t->ended) {
        struct pollfd p = {.fd = assay_box_client_fd(fx.client), .events = POLLIN};
        if (assay_box_client_wants_write(fx.client))
            p.events |= POLLOUT;
        assert_int_equal(poll(&p, 1, 5000), 1);
        rc = assay_box_client_on_ready(fx.client, &err);
    }
    if (rc < 0)
        fail_msg("transfer: %s", err.msg);
}

struct search {
    char text[3][1100];
    bool found[3], ended;
};

static void search_found(void *arg, const struct assay_box_found *list, size_t n)
{
    struct search *s = arg;
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++) {
        s->found[i] = list[i].path.n != 0;
        (void)snprintf(s->text[i], sizeof s->text[i], "%.*s", ASSAY_FMT(s->found[i] ? list[i].path : list[i].why));
    }
    s->ended = true;
}

/* Tools are looked for where boxes run, between runs, and what is found runs in a box. */
void tools_are_found(void **state)
{
    (void)state;
    static const struct assay_box_events ev = {.found = search_found};
    const struct assay_str ask_for[] = {ASSAY_STR("no-such-shell sh"), ASSAY_STR("no-such-tool"), ASSAY_STR("/proc/self/exe")};
    struct search s = {.ended = false};
    struct assay_err err;
    struct ask a;
    assay_box_client_events(fx.client, &ev, &s);
    assert_int_equal(assay_box_client_find(fx.client, ask_for, 3, &err), 0);
    assert_int_equal(assay_box_client_find(fx.client, ask_for, 3, &err), ASSAY_E_BUSY);
    while (!s.ended) {
        struct pollfd p = {.fd = assay_box_client_fd(fx.client), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 5000), 1);
        assert_int_equal(assay_box_client_on_ready(fx.client, &err), 0);
    }
    assert_false(assay_box_client_busy(fx.client));
    assert_true(s.found[0]);
    assert_int_equal(s.text[0][0], '/');
    assert_false(s.found[1]);
    assert_non_null(strstr(s.text[1], "no-such-tool"));
    assert_false(s.found[2]); /* no proc of the host's is there to be followed */
    assert_int_equal(assay_box_client_find(fx.client, ask_for, 0, &err), ASSAY_E_INVALID);
    ask_words(&a, "");
    a.argv[0] = assay_str(s.text[0]);
    a.argv[1] = ASSAY_STR("-c");
    a.argv[2] = ASSAY_STR("echo found");
    a.spec.n_argv = 3;
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_string_equal(out.p, "found\n");
}

void artefacts_travel(void **state)
{
    (void)state;
    struct ask a;
    struct transfer t, u;
    struct assay_str prog = ASSAY_STR("prog");
    struct assay_err err;
    collect_words(&a, "exit 0", &prog, 1);
    char name[65];
    memcpy(name, oc.artefact, sizeof name);
    transfer(&t, NULL, name);
    assert_string_equal(t.artefact, name);
    assert_true(t.content.n > program.n);
    assert_int_equal(assay_box_client_drop(fx.client, assay_str(name), &err), 0);
    transfer(&u, NULL, name);
    assert_string_equal(u.artefact, "");
    assert_non_null(strstr(u.message, "not here"));
    struct assay_str encoding = assay_buf_view(&t.content);
    transfer(&u, &encoding, NULL);
    assert_string_equal(u.artefact, name);
    struct assay_box_mount m = {.artefact = assay_str(name), .path = ASSAY_STR("app")};
    ask_words(&a, "echo back");
    a.argv[0] = ASSAY_STR("app/prog");
    a.spec.n_files = 0;
    a.spec.mounts = &m;
    a.spec.n_mounts = 1;
    run(&a);
    assert_end(ASSAY_BOX_EXITED);
    assert_string_equal(out.p, "back\n");
    assay_buf_free(&t.content);
}

void bad_artefacts_are_refused(void **state)
{
    (void)state;
#define ENCODED(text) {"assay-artefact-1\n" text, sizeof("assay-artefact-1\n" text) - 1}
    static const struct assay_str bad[] = {
        {"assay-artefact-2\na\000644\0000\0", 25},
        ENCODED("../a\000644\0000\0"),
        ENCODED("/a\000644\0000\0"),
        ENCODED("a\0004755\0000\0"),
        ENCODED("a\000644\0001\0"),
        ENCODED("a\000644\00018446744073709551615\0"),
        ENCODED("a\000644\00001\0x"),
        ENCODED("a\000644\000-1\0"),
        ENCODED("b\000644\0000\0a\000644\0000\0"),
        ENCODED("a\000644\0000\0a\000644\0000\0"),
        ENCODED("a\000644\0000\0a/b\000644\0000\0"),
        ENCODED("a"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct transfer t;
        transfer(&t, &bad[i], NULL);
        if (t.artefact[0])
            fail_msg("artefact %zu was taken", i);
        assert_true(t.message[0]);
    }
    assert_honest_next();
}

void collect_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *words, *name, *why;
    } c[] = {
        {"symlink /etc/passwd out", "out", "not a regular file"},
        {"symlink /dev/urandom out", "out", "not a regular file"},
        {"symlink /usr out", "out/bin", "symbolic links"},
        {"fifo out", "out", "not a regular file"},
        {"socket out", "out", "not a regular file"},
        {"hardlink a out", "out", "more than one name"},
        {"sparse out 0x10000000000", "out", "more than"},
        {"sparse out 5000000", "out", "more than"},
        {"exit 0", "out", "No such file"},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        struct ask a;
        struct assay_str name = assay_str(c[i].name);
        ask_words(&a, c[i].words);
        a.spec.collect = &name;
        a.spec.n_collect = 1;
        a.spec.collect_bytes = 4 * MIB;
        a.spec.limits.file_bytes = INT64_C(1) << 45;
        run(&a);
        assert_end(ASSAY_BOX_EXITED);
        assert_string_equal(oc.artefact, "");
        if (!strstr(oc.message, c[i].why))
            fail_msg("%s: \"%s\" instead of \"%s\"", c[i].words, oc.message, c[i].why);
    }
    /* nothing is collected after a failure */
    struct ask a;
    struct assay_str prog = ASSAY_STR("prog");
    collect_words(&a, "exit 1", &prog, 1);
    assert_string_equal(oc.artefact, "");
    assert_honest_next();
}

void store_forgets_the_oldest(void **state)
{
    (void)state;
    char names[5][65];
    struct assay_str x = ASSAY_STR("x");
    for (int i = 0; i < 5; i++) { /* the fixture's warden keeps four */
        struct ask a;
        char words[32];
        (void)snprintf(words, sizeof words, "write x %d", i);
        collect_words(&a, words, &x, 1);
        memcpy(names[i], oc.artefact, 65);
        assert_int_equal(strlen(names[i]), 64);
    }
    for (int i = 0; i < 5; i++) {
        struct ask a;
        struct assay_box_mount m = {.artefact = assay_str(names[i]), .path = ASSAY_STR("m")};
        ask_words(&a, "cat m/x");
        a.spec.mounts = &m;
        a.spec.n_mounts = 1;
        run(&a);
        assert_int_equal(oc.end, i == 0 ? ASSAY_BOX_FAILED : ASSAY_BOX_EXITED);
        if (i > 0)
            assert_int_equal(out.p[0], '0' + i);
    }
}
