/*
 * Both ends of a warden's stream against arbitrary bytes.
 *
 * The lowest bits of an input's first byte choose.  00: the rest goes to the warden's reader and request
 * parser in pieces whose size the next byte gives, and whatever is accepted is walked.  10: it is an
 * artefact's encoding.  1: it is what a client of ours gets from a warden gone mad, with a run (1), a
 * get (2) or a find (3) under way as the next two bits say.
 */
#include "fuzz.h"
#include "plugins/warden/warden.h"

#include <assay/box.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BIG 65536

static void walk(const struct request *q)
{
    const uint8_t *p = q->files;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < q->head.n_files; i++) {
        struct request_file f;
        p = request_file_next(p, &f);
        FUZZ_CHECK(path_ok(f.path));
        for (uint64_t k = 0; k < f.size; k++)
            sum += f.data[k];
    }
    p = q->mounts;
    for (uint32_t i = 0; i < q->head.n_mounts; i++) {
        struct request_mount m;
        p = request_mount_next(p, &m);
        FUZZ_CHECK(hex_ok(m.artefact) && path_ok(m.path));
    }
    p = q->collect;
    for (uint32_t i = 0; i < q->head.n_collect; i++) {
        const char *z;
        p = request_string_next(p, &z);
        FUZZ_CHECK(path_ok(z));
    }
    for (uint32_t i = 0; i < q->head.n_argv; i++)
        sum += strlen(q->argv[i]);
    for (uint32_t i = 0; i < q->head.n_env; i++)
        sum += strlen(q->env[i]);
    for (uint64_t k = 0; k < q->head.stdin_bytes; k++)
        sum += q->stdin_data[k];
    for (uint32_t k = 0; k < q->head.seccomp_bytes; k++)
        sum += q->seccomp[k];
    FUZZ_CHECK(!q->argv[q->head.n_argv] && !q->env[q->head.n_env]);
    if (sum == UINT64_MAX) /* so that reading it all is not optimised away */
        (void)fputs("", stderr);
}

static void to_warden(const uint8_t *p, size_t n)
{
    static struct reader r;
    static char *pointers[2 * (ASSAY_WARDEN_ARGV_MAX + 1)];
    size_t step = n > 0 ? (size_t)p[0] + 1 : 1, at = n > 0 ? 1 : 0;
    memset(&r, 0, sizeof r);
    r.big = malloc(BIG);
    r.big_cap = BIG;
    if (!r.big)
        return;
    int rc = 0;
    while (rc >= 0 && at < n) {
        uint8_t *to;
        size_t room;
        reader_space(&r, &to, &room);
        size_t k = step < room ? step : room;
        k = k < n - at ? k : n - at;
        FUZZ_CHECK(k > 0); /* a reader that wants more and has no room would hang the warden */
        memcpy(to, p + at, k);
        reader_added(&r, k);
        at += k;
        struct frame f;
        struct note why;
        while ((rc = reader_next(&r, &f, &why)) == 1) {
            struct request q;
            if (f.type == ASSAY_WARDEN_FIND) {
                const char *tool[ASSAY_WARDEN_FIND_MAX];
                size_t count = 0;
                uint8_t *copy = malloc(f.n);
                if (copy) {
                    memcpy(copy, f.p, f.n);
                    if (find_parse(copy, f.n, tool, &count, &why) == 0)
                        for (size_t i = 0; i < count; i++)
                            FUZZ_CHECK(tool[i][0] && strlen(tool[i]) <= ASSAY_WARDEN_PATH_MAX);
                }
                free(copy);
            }
            if (f.type == ASSAY_WARDEN_PRESTART) {
                uint8_t *copy = malloc(f.n);
                struct assay_warden_prestart h;
                if (copy) {
                    memcpy(copy, f.p, f.n);
                    memcpy(&h, copy, sizeof h);
                    const uint8_t *at_string = copy + sizeof h;
                    if (prestart_check(copy, f.n, &why) == 0)
                        for (uint32_t i = 0; i < h.n_argv + h.n_env; i++) {
                            const char *text;
                            at_string = request_string_next(at_string, &text);
                            FUZZ_CHECK(at_string <= copy + f.n && text[strlen(text)] == 0);
                        }
                }
                free(copy);
            }
            if (f.type != ASSAY_WARDEN_RUN)
                continue;
            /* a copy of the exact size, for the sanitizer */
            uint8_t *exact = malloc(f.n);
            if (exact) {
                memcpy(exact, f.p, f.n);
                if (request_parse(exact, f.n, pointers, &q, &why) == 0)
                    walk(&q);
                else
                    FUZZ_CHECK(memchr(why.text, 0, sizeof why.text));
            }
            free(exact);
        }
    }
    free(r.big);
}

static void on_output(void *arg, int stream, struct assay_str bytes)
{
    size_t *sum = arg;
    FUZZ_CHECK(stream == 1 || stream == 2);
    for (size_t i = 0; i < bytes.n; i++)
        *sum += (unsigned char)bytes.p[i];
}

static void on_done(void *arg, const struct assay_box_outcome *o)
{
    size_t *sum = arg;
    *sum += strlen(o->message) + strlen(o->artefact);
    FUZZ_CHECK(o->end >= ASSAY_BOX_EXITED && o->end <= ASSAY_BOX_FAILED);
}

static void on_content(void *arg, struct assay_str bytes)
{
    on_output(arg, 1, bytes);
}

static void on_stored(void *arg, struct assay_str artefact, struct assay_str message)
{
    FUZZ_CHECK(artefact.n == 0 || artefact.n == ASSAY_WARDEN_ARTEFACT_HEX);
    on_output(arg, 1, message);
}

static void on_found(void *arg, const struct assay_box_found *list, size_t n)
{
    FUZZ_CHECK(n == 2);
    for (size_t i = 0; i < n; i++) {
        FUZZ_CHECK((list[i].path.n == 0) != (list[i].why.n == 0) && (list[i].path.n == 0 || list[i].path.p[0] == '/'));
        on_output(arg, 1, list[i].path);
        on_output(arg, 1, list[i].why);
    }
}

static void on_warmed(void *arg, struct assay_str message)
{
    on_output(arg, 1, message);
}

static void on_taken(void *arg, size_t bytes, bool closed)
{
    (void)arg;
    (void)closed;
    FUZZ_CHECK(bytes <= ASSAY_WARDEN_INPUT_WINDOW);
}

static void on_ended(void *arg)
{
    on_output(arg, 1, ASSAY_STR(""));
}

static void to_store(const uint8_t *p, size_t n)
{
    struct note why;
    int64_t bytes;
    size_t count;
    if (files_measure(p, n, &bytes, &count, &why) == 0)
        FUZZ_CHECK(bytes >= 0 && (uint64_t)bytes <= n && count <= ASSAY_WARDEN_FILES_MAX);
    else
        FUZZ_CHECK(memchr(why.text, 0, sizeof why.text));
}

static void to_client(const uint8_t *p, size_t n, unsigned doing)
{
    static const struct assay_box_events ev = {on_output, on_done, on_content, on_stored,
                                               on_found,  on_warmed, on_taken, on_ended};
    size_t sum = 0;
    int fd[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) < 0)
        return;
    struct assay_box_client *c = assay_box_client_new(fd[0], &ev, &sum);
    struct assay_err err;
    int rc = c ? 0 : -1;
    struct assay_str argv = ASSAY_STR("/bin/true");
    struct assay_box_spec spec = {.argv = &argv, .n_argv = 1};
    if (rc == 0 && doing == 1)
        rc = assay_box_client_run(c, &spec, &err);
    else if (rc == 0 && doing == 2)
        rc = assay_box_client_get(c, ASSAY_STR("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), &err);
    const struct assay_str tools[] = {ASSAY_STR("cc gcc"), ASSAY_STR("/opt/x")};
    if (rc == 0 && doing == 3)
        rc = assay_box_client_find(c, tools, 2, &err);
    if (rc == 0 && doing == 4)
        rc = assay_box_client_warm(c, tools, 2, tools, 1, &err);
    while (rc == 0 && n > 0) {
        ssize_t k = send(fd[1], p, n < 32768 ? n : 32768, MSG_NOSIGNAL);
        if (k <= 0)
            break;
        p += k;
        n -= (size_t)k;
        rc = assay_box_client_on_ready(c, &err);
    }
    assay_box_client_free(c);
    (void)close(fd[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (data[0] & 1)
        to_client(data + 1, size - 1, data[0] >> 1 & 7);
    else if (data[0] & 2)
        to_store(data + 1, size - 1);
    else
        to_warden(data + 1, size - 1);
    return 0;
}
