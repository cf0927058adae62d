/*
 * The client's side of a warden's stream (assay/warden_wire.h).
 *
 * States: waiting for the hello -> idle -> busy (a RUN, PUT, GET, FIND or PRESTART is out, its end is not in) -> idle.
 * What is to be sent waits in `out`; what came waits in `in` until a whole frame is there.  Both are
 * bounded: out by one request and a few small frames, in by the largest frame that a warden may send.
 *
 * A callback may start the next run or free nothing: the client must outlive on_ready.
 */
#include <assay/box.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <assay/warden_wire.h>

#define CLIENT_MAGIC 0x77c1137eu
#define IN_ROOM (2 * (sizeof(struct assay_warden_frame) + sizeof(uint32_t) + ASSAY_WARDEN_OUTPUT_MAX))
#define READS_PER_CALL 16 /* then the owner's loop gets a turn */

struct assay_box_client {
    uint32_t magic;
    int fd;
    struct assay_box_events ev;
    void *arg;
    bool greeted, busy, cancelled, dead, worn;
    uint16_t doing; /* the frame type that made it busy */
    size_t asked;   /* tools of the FIND under way */
    uint64_t serial;
    struct assay_box_hello hello;
    struct assay_buf out;
    size_t out_sent;
    size_t in_have;
    uint8_t in[IN_ROOM];
};

static struct assay_box_client *check(struct assay_box_client *c)
{
    if (!c || c->magic != CLIENT_MAGIC)
        abort();
    return c;
}

struct assay_box_client *assay_box_client_new(int fd, const struct assay_box_events *ev, void *arg)
{
    struct assay_box_client *c = calloc(1, sizeof *c);
    int flags = fcntl(fd, F_GETFL);
    if (!c || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        free(c);
        return NULL;
    }
    c->magic = CLIENT_MAGIC;
    c->fd = fd;
    c->ev = *ev;
    c->arg = arg;
    /* one request, and room for the small frames beside it */
    assay_buf_init(&c->out, (size_t)ASSAY_WARDEN_RUN_MAX + 65536);
    return c;
}

void assay_box_client_events(struct assay_box_client *c, const struct assay_box_events *ev, void *arg)
{
    (void)check(c);
    c->ev = *ev;
    c->arg = arg;
}

void assay_box_client_free(struct assay_box_client *c)
{
    if (!c)
        return;
    (void)check(c);
    c->magic = 0;
    (void)close(c->fd);
    assay_buf_free(&c->out);
    free(c);
}

int assay_box_client_fd(const struct assay_box_client *c)
{
    return c->fd;
}

bool assay_box_client_wants_write(const struct assay_box_client *c)
{
    return !c->dead && c->out_sent < c->out.n;
}

const struct assay_box_hello *assay_box_client_hello(const struct assay_box_client *c)
{
    return c->greeted ? &c->hello : NULL;
}

bool assay_box_client_busy(const struct assay_box_client *c)
{
    return c->busy;
}

bool assay_box_client_worn(const struct assay_box_client *c)
{
    return c->worn;
}

/* ---- out ---- */

static void put_frame(struct assay_buf *b, uint16_t type, const void *p, size_t n)
{
    struct assay_warden_frame h = {.length = (uint32_t)n, .type = type};
    assay_buf_add(b, &h, sizeof h);
    if (n > 0)
        assay_buf_add(b, p, n);
}

static void put_string(struct assay_buf *b, struct assay_str s)
{
    uint32_t n = (uint32_t)s.n;
    assay_buf_add(b, &n, sizeof n);
    if (s.n > 0)
        assay_buf_add(b, s.p, s.n);
    assay_buf_putc(b, 0);
}

static bool path_ok(struct assay_str s)
{
    size_t part = 0;
    if (s.n == 0 || s.n > ASSAY_WARDEN_PATH_MAX || assay_str_has_nul(s))
        return false;
    for (size_t i = 0; i <= s.n; i++) {
        if (i < s.n && s.p[i] != '/')
            continue;
        size_t n = i - part;
        if (n == 0 || n > 255 || (n == 1 && s.p[part] == '.') || (n == 2 && s.p[part] == '.' && s.p[part + 1] == '.'))
            return false;
        part = i + 1;
    }
    return true;
}

static bool hex_ok(struct assay_str s)
{
    if (s.n != ASSAY_WARDEN_ARTEFACT_HEX)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    return true;
}

static bool strings_ok(const struct assay_str *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i].n > ASSAY_WARDEN_STRING_MAX || assay_str_has_nul(s[i]))
            return false;
    return true;
}

/* As the warden has it: relative, the place of warm material, or, for the working directory itself, absolute and last. */
static bool mount_path_ok(const struct assay_box_spec *s, size_t i)
{
    struct assay_str path = s->mounts[i].path;
    if (assay_str_is(s->mounts[i].artefact, ASSAY_WARDEN_SELF))
        return i + 1 == s->n_mounts && path.n > 1 && path.p[0] == '/' && path_ok((struct assay_str){path.p + 1, path.n - 1});
    return path_ok(path) || assay_str_is(path, ASSAY_WARDEN_WARM);
}

/* What the warden would end the stream for is refused here, where it is one run's trouble only. */
static int spec_check(const struct assay_box_spec *s, struct assay_err *err)
{
    if (s->n_argv < 1 || s->n_argv > ASSAY_WARDEN_ARGV_MAX || s->argv[0].n == 0 || !strings_ok(s->argv, s->n_argv))
        return assay_err_set(err, ASSAY_E_INVALID, "box: argv is empty, too long, or has a NUL in it");
    if (s->n_env > ASSAY_WARDEN_ARGV_MAX || !strings_ok(s->env, s->n_env))
        return assay_err_set(err, ASSAY_E_INVALID, "box: env is too long, or has a NUL in it");
    if (s->n_files > ASSAY_WARDEN_FILES_MAX || s->n_mounts > ASSAY_WARDEN_MOUNTS_MAX || s->n_collect > ASSAY_WARDEN_COLLECT_MAX)
        return assay_err_set(err, ASSAY_E_INVALID, "box: too many files, mounts or names to collect");
    for (size_t i = 0; i < s->n_files; i++)
        if (!path_ok(s->files[i].path) || (s->files[i].mode != 0644 && s->files[i].mode != 0755))
            return assay_err_set(err, ASSAY_E_INVALID, "box: file %zu has a bad path or mode", i);
    for (size_t i = 0; i < s->n_mounts; i++)
        if (!hex_ok(s->mounts[i].artefact) || !mount_path_ok(s, i))
            return assay_err_set(err, ASSAY_E_INVALID, "box: mount %zu has a bad path or artefact", i);
    for (size_t i = 0; i < s->n_collect; i++)
        if (!path_ok(s->collect[i]))
            return assay_err_set(err, ASSAY_E_INVALID, "box: name %zu to collect is a bad path", i);
    if (s->seccomp.n % 8 != 0 || s->seccomp.n > (size_t)ASSAY_WARDEN_SECCOMP_MAX * 8)
        return assay_err_set(err, ASSAY_E_INVALID, "box: a seccomp filter of %zu bytes", s->seccomp.n);
    const struct {
        int64_t value, max;
    } bound[] = {
        {s->limits.cpu_ms, INT64_C(86400000)},         {s->limits.wall_ms, INT64_C(86400000)},
        {s->limits.cpu_hard_ms, INT64_C(86400000)},
        {s->limits.memory_bytes, INT64_C(1) << 46},    {s->limits.stdout_bytes, INT64_C(1) << 40},
        {s->limits.stderr_bytes, INT64_C(1) << 40},    {s->limits.processes, 32768},
        {s->limits.open_files, 65536},                 {s->limits.file_bytes, INT64_C(1) << 46},
        {s->limits.stack_bytes, INT64_C(1) << 46},     {s->limits.scratch_bytes, INT64_C(1) << 46},
        {s->limits.scratch_files, INT64_C(1) << 24},   {s->collect_bytes, INT64_C(1) << 46},
        {s->warm_cpu_us, INT64_C(60000000)},           {s->warm_memory_bytes, INT64_C(1) << 30},
    };
    for (size_t i = 0; i < sizeof bound / sizeof *bound; i++)
        if (bound[i].value < 0 || bound[i].value > bound[i].max)
            return assay_err_set(err, ASSAY_E_INVALID, "box: limit %zu is %lld", i, (long long)bound[i].value);
    if (s->limits.cpu_hard_ms != 0 && s->limits.cpu_hard_ms < s->limits.cpu_ms)
        return assay_err_set(err, ASSAY_E_INVALID, "box: the hard limit of CPU time is below the limit");
    if (s->flags & ~(uint32_t)(ASSAY_BOX_STDERR_TO_STDOUT | ASSAY_BOX_STRICT_OUTPUT | ASSAY_BOX_WARM | ASSAY_BOX_COLLECT_ALWAYS | ASSAY_BOX_CONVERSE))
        return assay_err_set(err, ASSAY_E_INVALID, "box: unknown flags %#x", s->flags);
    return 0;
}

_Static_assert(ASSAY_BOX_CPU_WORDS == ASSAY_WARDEN_CPU_WORDS, "one mask");

static void put_run(struct assay_buf *b, uint64_t serial, const struct assay_box_spec *s)
{
    const struct assay_box_limits *l = &s->limits;
    struct assay_warden_run h = {
        .serial = serial,
        .cpu_ms = l->cpu_ms,
        .wall_ms = l->wall_ms,
        .memory_bytes = l->memory_bytes,
        .stdout_bytes = l->stdout_bytes,
        .stderr_bytes = l->stderr_bytes,
        .processes = l->processes,
        .open_files = l->open_files,
        .file_bytes = l->file_bytes,
        .stack_bytes = l->stack_bytes,
        .scratch_bytes = l->scratch_bytes,
        .scratch_files = l->scratch_files,
        .cpu_hard_ms = l->cpu_hard_ms,
        .collect_bytes = s->collect_bytes,
        .warm_cpu_us = s->warm_cpu_us,
        .warm_memory_bytes = s->warm_memory_bytes,
        .stdin_bytes = s->stdin_bytes.n,
        .seccomp_bytes = (uint32_t)s->seccomp.n,
        .flags = s->flags,
        .n_argv = (uint32_t)s->n_argv,
        .n_env = (uint32_t)s->n_env,
        .n_files = (uint32_t)s->n_files,
        .n_mounts = (uint32_t)s->n_mounts,
        .n_collect = (uint32_t)s->n_collect,
    };
    memcpy(h.cpus, s->cpus, sizeof h.cpus);
    assay_buf_add(b, &h, sizeof h);
    for (size_t i = 0; i < s->n_argv; i++)
        put_string(b, s->argv[i]);
    for (size_t i = 0; i < s->n_env; i++)
        put_string(b, s->env[i]);
    for (size_t i = 0; i < s->n_files; i++) {
        const struct assay_box_file *f = &s->files[i];
        uint64_t size = f->bytes.n;
        put_string(b, f->path);
        assay_buf_add(b, &f->mode, sizeof f->mode);
        assay_buf_add(b, &size, sizeof size);
        if (size > 0)
            assay_buf_add(b, f->bytes.p, f->bytes.n);
    }
    for (size_t i = 0; i < s->n_mounts; i++) {
        put_string(b, s->mounts[i].artefact);
        put_string(b, s->mounts[i].path);
    }
    for (size_t i = 0; i < s->n_collect; i++)
        put_string(b, s->collect[i]);
    if (s->seccomp.n > 0)
        assay_buf_add(b, s->seccomp.p, s->seccomp.n);
    if (s->stdin_bytes.n > 0)
        assay_buf_add(b, s->stdin_bytes.p, s->stdin_bytes.n);
}

static int dead(struct assay_box_client *c, int code)
{
    c->dead = true;
    return code;
}

static int flush(struct assay_box_client *c, struct assay_err *err)
{
    while (c->out_sent < c->out.n) {
        ssize_t n = send(c->fd, c->out.p + c->out_sent, c->out.n - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0)
            return dead(c, assay_err_errno(err, ASSAY_E_IO, errno, "warden stream"));
        c->out_sent += (size_t)n;
    }
    /* a large request's memory is not kept for the small ones after it */
    if (c->out.room > ((size_t)1 << 20)) {
        size_t cap = c->out.cap;
        assay_buf_free(&c->out);
        assay_buf_init(&c->out, cap);
    } else {
        assay_buf_reset(&c->out);
    }
    c->out_sent = 0;
    return 0;
}

/* Drops half-built bytes after a failed append; what was queued before stays whole. */
static int undo(struct assay_box_client *c, size_t mark, struct assay_err *err)
{
    c->out.n = mark;
    c->out.failed = false;
    return assay_err_set(err, ASSAY_E_TOO_LARGE, "box: the request is too large, or memory is short");
}

int assay_box_client_run(struct assay_box_client *c, const struct assay_box_spec *spec, struct assay_err *err)
{
    (void)check(c);
    if (c->dead)
        return assay_err_set(err, ASSAY_E_IO, "warden stream is dead");
    if (c->busy)
        return assay_err_set(err, ASSAY_E_BUSY, "a box is running on this warden");
    int rc = spec_check(spec, err);
    if (rc < 0)
        return rc;
    size_t mark = c->out.n;
    put_frame(&c->out, ASSAY_WARDEN_RUN, NULL, 0);
    put_run(&c->out, c->serial + 1, spec);
    if (c->out.failed || c->out.n - mark - sizeof(struct assay_warden_frame) > ASSAY_WARDEN_RUN_MAX)
        return undo(c, mark, err);
    uint32_t length = (uint32_t)(c->out.n - mark - sizeof(struct assay_warden_frame));
    memcpy(c->out.p + mark, &length, sizeof length);
    c->serial++;
    c->busy = true;
    c->doing = ASSAY_WARDEN_RUN;
    c->cancelled = false;
    return flush(c, err);
}

int assay_box_client_cancel(struct assay_box_client *c, struct assay_err *err)
{
    (void)check(c);
    if (c->dead)
        return assay_err_set(err, ASSAY_E_IO, "warden stream is dead");
    if (!c->busy || c->cancelled || c->doing != ASSAY_WARDEN_RUN)
        return 0;
    size_t mark = c->out.n;
    put_frame(&c->out, ASSAY_WARDEN_CANCEL, &c->serial, sizeof c->serial);
    if (c->out.failed)
        return undo(c, mark, err);
    c->cancelled = true;
    return flush(c, err);
}

static int send_store(struct assay_box_client *c, uint16_t type, struct assay_str bytes, struct assay_err *err)
{
    if (c->dead)
        return assay_err_set(err, ASSAY_E_IO, "warden stream is dead");
    if (c->busy)
        return assay_err_set(err, ASSAY_E_BUSY, "the warden is busy");
    size_t mark = c->out.n;
    put_frame(&c->out, type, bytes.p, bytes.n);
    if (c->out.failed)
        return undo(c, mark, err);
    c->busy = true;
    c->doing = type;
    return flush(c, err);
}

int assay_box_client_put(struct assay_box_client *c, struct assay_str encoding, struct assay_err *err)
{
    (void)check(c);
    if (encoding.n < sizeof ASSAY_ARTEFACT_MAGIC - 1 || encoding.n > ASSAY_WARDEN_RUN_MAX)
        return assay_err_set(err, ASSAY_E_INVALID, "box: an artefact of %zu bytes", encoding.n);
    return send_store(c, ASSAY_WARDEN_PUT, encoding, err);
}

int assay_box_client_get(struct assay_box_client *c, struct assay_str artefact, struct assay_err *err)
{
    (void)check(c);
    if (!hex_ok(artefact))
        return assay_err_set(err, ASSAY_E_INVALID, "box: get of something that is no artefact");
    return send_store(c, ASSAY_WARDEN_GET, artefact, err);
}

int assay_box_client_find(struct assay_box_client *c, const struct assay_str *tool, size_t n, struct assay_err *err)
{
    (void)check(c);
    bool ok = n >= 1 && n <= ASSAY_WARDEN_FIND_MAX && strings_ok(tool, n);
    for (size_t i = 0; ok && i < n; i++)
        ok = tool[i].n >= 1 && tool[i].n <= ASSAY_WARDEN_PATH_MAX;
    if (!ok)
        return assay_err_set(err, ASSAY_E_INVALID, "box: find of no tool, too many, or one whose name is too long");
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    uint32_t count = (uint32_t)n;
    assay_buf_add(&b, &count, sizeof count);
    for (size_t i = 0; i < n; i++)
        put_string(&b, tool[i]);
    if (b.failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int rc = send_store(c, ASSAY_WARDEN_FIND, assay_buf_view(&b), err);
    if (rc >= 0)
        c->asked = n;
    return rc;
}

int assay_box_client_warm(struct assay_box_client *c, const struct assay_str *argv, size_t n_argv, const struct assay_str *env,
                          size_t n_env, struct assay_err *err)
{
    (void)check(c);
    if (n_argv < 1 || n_argv > ASSAY_WARDEN_PRESTART_STRINGS || n_env > ASSAY_WARDEN_PRESTART_STRINGS || argv[0].n == 0 ||
        !strings_ok(argv, n_argv) || !strings_ok(env, n_env))
        return assay_err_set(err, ASSAY_E_INVALID, "box: argv or env of a warm start is empty, too long, or has a NUL in it");
    const struct assay_warden_prestart h = {.n_argv = (uint32_t)n_argv, .n_env = (uint32_t)n_env};
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_add(&b, &h, sizeof h);
    for (size_t i = 0; i < n_argv; i++)
        put_string(&b, argv[i]);
    for (size_t i = 0; i < n_env; i++)
        put_string(&b, env[i]);
    if (b.failed || b.n > ASSAY_WARDEN_PRESTART_MAX)
        return assay_err_set(err, ASSAY_E_TOO_LARGE, "box: argv and env of a warm start are too long");
    return send_store(c, ASSAY_WARDEN_PRESTART, assay_buf_view(&b), err);
}

int assay_box_client_drop(struct assay_box_client *c, struct assay_str artefact, struct assay_err *err)
{
    (void)check(c);
    if (c->dead)
        return assay_err_set(err, ASSAY_E_IO, "warden stream is dead");
    if (!hex_ok(artefact))
        return assay_err_set(err, ASSAY_E_INVALID, "box: drop of something that is no artefact");
    size_t mark = c->out.n;
    put_frame(&c->out, ASSAY_WARDEN_DROP, artefact.p, artefact.n);
    if (c->out.failed)
        return undo(c, mark, err);
    return flush(c, err);
}

static int talk(struct assay_box_client *c, uint16_t type, struct assay_str bytes, struct assay_err *err)
{
    if (c->dead)
        return assay_err_set(err, ASSAY_E_IO, "warden stream is dead");
    if (!c->busy || c->doing != ASSAY_WARDEN_RUN)
        return assay_err_set(err, ASSAY_E_GONE, "no box is running");
    size_t mark = c->out.n;
    put_frame(&c->out, type, &c->serial, sizeof c->serial);
    if (bytes.n > 0) {
        uint32_t length = (uint32_t)(sizeof c->serial + bytes.n);
        assay_buf_add(&c->out, bytes.p, bytes.n);
        if (!c->out.failed)
            memcpy(c->out.p + mark, &length, sizeof length);
    }
    return c->out.failed ? undo(c, mark, err) : flush(c, err);
}

int assay_box_client_input(struct assay_box_client *c, struct assay_str bytes, struct assay_err *err)
{
    (void)check(c);
    if (bytes.n == 0)
        return talk(c, ASSAY_WARDEN_INPUT, bytes, err);
    int rc = 0;
    while (rc == 0 && bytes.n > 0) {
        struct assay_str part = {bytes.p, bytes.n < ASSAY_WARDEN_INPUT_MAX ? bytes.n : ASSAY_WARDEN_INPUT_MAX};
        rc = talk(c, ASSAY_WARDEN_INPUT, part, err);
        bytes.p += part.n;
        bytes.n -= part.n;
    }
    return rc;
}

int assay_box_client_hangup(struct assay_box_client *c, struct assay_err *err)
{
    return talk(check(c), ASSAY_WARDEN_HANGUP, ASSAY_STR(""), err);
}

/* ---- in ---- */

static bool text_ok(const char *p, size_t n)
{
    return memchr(p, 0, n) != NULL;
}

static int corrupt(struct assay_box_client *c, struct assay_err *err, const char *what)
{
    return dead(c, assay_err_set(err, ASSAY_E_CORRUPT, "warden stream: %s", what));
}

static int take_hello(struct assay_box_client *c, const uint8_t *p, size_t n, struct assay_err *err)
{
    struct assay_warden_hello h;
    if (c->greeted || n != sizeof h)
        return corrupt(c, err, "a misplaced or malformed hello");
    memcpy(&h, p, sizeof h);
    if (h.protocol != ASSAY_WARDEN_PROTOCOL)
        return corrupt(c, err, "another version of the protocol");
    if (!text_ok(h.version, sizeof h.version) || !text_ok(h.mode, sizeof h.mode))
        return corrupt(c, err, "a malformed hello");
    c->hello.protocol = h.protocol;
    c->hello.features = h.features;
    memcpy(c->hello.version, h.version, sizeof h.version);
    memcpy(c->hello.mode, h.mode, sizeof h.mode);
    c->greeted = true;
    return 0;
}

static int take_output(struct assay_box_client *c, const uint8_t *p, size_t n, struct assay_err *err)
{
    uint32_t stream;
    if (!c->busy || c->doing != ASSAY_WARDEN_RUN || n <= sizeof stream)
        return corrupt(c, err, "misplaced or empty output");
    memcpy(&stream, p, sizeof stream);
    if (stream != 1 && stream != 2)
        return corrupt(c, err, "output of an unknown stream");
    if (c->ev.output)
        c->ev.output(c->arg, (int)stream, (struct assay_str){(const char *)p + sizeof stream, n - sizeof stream});
    return 0;
}

static int take_done(struct assay_box_client *c, const uint8_t *p, size_t n, struct assay_err *err)
{
    struct assay_warden_done d;
    if (!c->busy || c->doing != ASSAY_WARDEN_RUN || n != sizeof d)
        return corrupt(c, err, "a misplaced or malformed result");
    memcpy(&d, p, sizeof d);
    if (d.serial != c->serial || d.end < ASSAY_BOX_EXITED || d.end > ASSAY_BOX_FAILED ||
        d.finished > 1 || !text_ok(d.message, sizeof d.message) || !text_ok(d.artefact, sizeof d.artefact) || d.cpu_us < 0 || d.wall_us < 0)
        return corrupt(c, err, "a malformed result");
    struct assay_str artefact = assay_str(d.artefact);
    if (artefact.n > 0 && !hex_ok(artefact))
        return corrupt(c, err, "a malformed artefact");
    struct assay_box_outcome o = {
        .end = (enum assay_box_end)d.end,
        .exit_code = d.exit_code,
        .signal = d.signal,
        .cpu_us = d.cpu_us,
        .cpu_user_us = d.cpu_user_us,
        .cpu_system_us = d.cpu_system_us,
        .wall_us = d.wall_us,
        .memory_peak_bytes = d.memory_peak_bytes,
        .memory_own_bytes = d.memory_own_bytes,
        .max_rss_bytes = d.max_rss_bytes,
        .oom_kills = d.oom_kills,
        .stdout_bytes = d.stdout_bytes,
        .stderr_bytes = d.stderr_bytes,
        .voluntary_switches = d.voluntary_switches,
        .forced_switches = d.forced_switches,
        .precision = d.precision,
        .finished = d.finished != 0,
        .warm = d.warm == 1,
    };
    memcpy(o.artefact, d.artefact, sizeof o.artefact);
    memcpy(o.message, d.message, sizeof o.message);
    c->busy = false;
    if (c->ev.done)
        c->ev.done(c->arg, &o);
    return 0;
}

static int take_content(struct assay_box_client *c, const uint8_t *p, size_t n, struct assay_err *err)
{
    if (!c->busy || c->doing != ASSAY_WARDEN_GET || n == 0)
        return corrupt(c, err, "misplaced or empty content");
    if (c->ev.content)
        c->ev.content(c->arg, (struct assay_str){(const char *)p, n});
    return 0;
}

static int take_stored(struct assay_box_client *c, const uint8_t *p, size_t n, struct assay_err *err)
{
    struct assay_warden_stored s;
    if (!c->busy || (c->doing != ASSAY_WARDEN_PUT && c->doing != ASSAY_WARDEN_GET) || n != sizeof s)
        return corrupt(c, err, "a misplaced or malformed end of a transfer");
    memcpy(&s, p, sizeof s);
    if (!text_ok(s.artefact, sizeof s.artefact) || !text_ok(s.message, sizeof s.message))
        return corrupt(c, err, "a malformed end of a transfer");
    struct assay_str artefact = assay_str(s.artefact);
    if (artefact.n > 0 && !hex_ok(artefact))
        return corrupt(c, err, "a malformed artefact");
    c->busy = false;
    if (c->ev.stored)
        c->ev.stored(c->arg, artefact, assay_str(s.message));
    return 0;
}

static int take_found(struct assay_box_client *c, const uint8_t *p, size_t n, struct assay_err *err)
{
    struct assay_box_found list[ASSAY_WARDEN_FIND_MAX];
    uint32_t count;
    if (!c->busy || c->doing != ASSAY_WARDEN_FIND || n < sizeof count)
        return corrupt(c, err, "a misplaced or malformed answer to a find");
    memcpy(&count, p, sizeof count);
    size_t at = sizeof count;
    if (count != c->asked)
        return corrupt(c, err, "as many answers as questions were expected");
    for (uint32_t i = 0; i < count; i++) {
        uint32_t head[2]; /* found, length of the text */
        if (n - at < sizeof head)
            return corrupt(c, err, "an answer to a find is cut short");
        memcpy(head, p + at, sizeof head);
        at += sizeof head;
        struct assay_str text = {(const char *)p + at, head[1]};
        if (head[0] > 1 || text.n == 0 || text.n > ASSAY_WARDEN_PATH_MAX || text.n >= n - at || p[at + text.n] != 0 ||
            assay_str_has_nul(text) || !assay_utf8_valid(text) || (head[0] == 1 && text.p[0] != '/'))
            return corrupt(c, err, "a malformed answer to a find");
        at += text.n + 1;
        list[i] = head[0] == 1 ? (struct assay_box_found){text, ASSAY_STR("")} : (struct assay_box_found){ASSAY_STR(""), text};
    }
    if (at != n)
        return corrupt(c, err, "an answer to a find is too long");
    c->busy = false;
    if (c->ev.found)
        c->ev.found(c->arg, list, count);
    return 0;
}

static int take_warmed(struct assay_box_client *c, const uint8_t *p, size_t n, struct assay_err *err)
{
    struct assay_warden_prestarted w;
    if (!c->busy || c->doing != ASSAY_WARDEN_PRESTART || n != sizeof w)
        return corrupt(c, err, "a misplaced or malformed end of a warm start");
    memcpy(&w, p, sizeof w);
    if (!text_ok(w.message, sizeof w.message))
        return corrupt(c, err, "a malformed end of a warm start");
    c->busy = false;
    if (c->ev.warmed)
        c->ev.warmed(c->arg, assay_str(w.message));
    return 0;
}

static int take_taken(struct assay_box_client *c, const uint8_t *p, size_t n, struct assay_err *err)
{
    struct assay_warden_taken t;
    if (!c->busy || c->doing != ASSAY_WARDEN_RUN || n != sizeof t)
        return corrupt(c, err, "a misplaced or malformed word on input");
    memcpy(&t, p, sizeof t);
    if (t.serial != c->serial || t.bytes > ASSAY_WARDEN_INPUT_WINDOW || t.closed > 1)
        return corrupt(c, err, "a malformed word on input");
    if (c->ev.taken)
        c->ev.taken(c->arg, t.bytes, t.closed == 1);
    return 0;
}

static int take_ended(struct assay_box_client *c, const uint8_t *p, size_t n, struct assay_err *err)
{
    if (!c->busy || c->doing != ASSAY_WARDEN_RUN || n != sizeof c->serial || memcmp(p, &c->serial, n) != 0)
        return corrupt(c, err, "a misplaced or malformed end of output");
    if (c->ev.ended)
        c->ev.ended(c->arg);
    return 0;
}

/* Length bounds come first: a frame is only waited for when its whole can ever fit. */
static int take_frames(struct assay_box_client *c, struct assay_err *err)
{
    size_t at = 0;
    while (c->in_have - at >= sizeof(struct assay_warden_frame)) {
        struct assay_warden_frame h;
        memcpy(&h, c->in + at, sizeof h);
        if (h.zero != 0 || h.length > sizeof(uint32_t) + ASSAY_WARDEN_OUTPUT_MAX)
            return corrupt(c, err, "a frame out of bounds");
        if (!c->greeted && h.type != ASSAY_WARDEN_HELLO)
            return corrupt(c, err, "no hello");
        if (c->in_have - at < sizeof h + h.length)
            break;
        const uint8_t *p = c->in + at + sizeof h;
        at += sizeof h + h.length;
        int rc;
        switch (h.type) {
        case ASSAY_WARDEN_HELLO:
            rc = take_hello(c, p, h.length, err);
            break;
        case ASSAY_WARDEN_OUTPUT:
            rc = take_output(c, p, h.length, err);
            break;
        case ASSAY_WARDEN_DONE:
            rc = take_done(c, p, h.length, err);
            break;
        case ASSAY_WARDEN_CONTENT:
            rc = take_content(c, p, h.length, err);
            break;
        case ASSAY_WARDEN_STORED:
            rc = take_stored(c, p, h.length, err);
            break;
        case ASSAY_WARDEN_WORN:
            rc = c->worn || h.length != 0 ? corrupt(c, err, "a second or malformed wish to be replaced") : 0;
            c->worn = true;
            break;
        case ASSAY_WARDEN_PRESTARTED:
            rc = take_warmed(c, p, h.length, err);
            break;
        case ASSAY_WARDEN_TAKEN:
            rc = take_taken(c, p, h.length, err);
            break;
        case ASSAY_WARDEN_ENDED:
            rc = take_ended(c, p, h.length, err);
            break;
        case ASSAY_WARDEN_FOUND:
            rc = take_found(c, p, h.length, err);
            break;
        default:
            rc = corrupt(c, err, "a frame of unknown type");
        }
        if (rc < 0)
            return rc;
    }
    c->in_have -= at;
    memmove(c->in, c->in + at, c->in_have);
    return 0;
}

int assay_box_client_on_ready(struct assay_box_client *c, struct assay_err *err)
{
    (void)check(c);
    if (c->dead)
        return assay_err_set(err, ASSAY_E_IO, "warden stream is dead");
    int rc = flush(c, err);
    for (int i = 0; rc == 0 && i < READS_PER_CALL; i++) {
        size_t room = sizeof c->in - c->in_have;
        ssize_t n = recv(c->fd, c->in + c->in_have, room, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0)
            return dead(c, assay_err_errno(err, ASSAY_E_IO, errno, "warden stream"));
        if (n == 0)
            return dead(c, assay_err_set(err, ASSAY_E_IO, "warden stream: the warden has gone"));
        c->in_have += (size_t)n;
        rc = take_frames(c, err);
        if ((size_t)n < room)
            break; /* that was all */
    }
    return rc;
}

/* ---- one box, waited for ---- */

struct sync {
    struct assay_buf *out, *err;
    struct assay_box_outcome *outcome;
    bool done;
};

static void sync_output(void *arg, int stream, struct assay_str bytes)
{
    struct sync *s = arg;
    struct assay_buf *b = stream == 1 ? s->out : s->err;
    if (b)
        assay_buf_str(b, bytes);
}

static void sync_done(void *arg, const struct assay_box_outcome *o)
{
    struct sync *s = arg;
    *s->outcome = *o;
    s->done = true;
}

int assay_box_client_run_sync(struct assay_box_client *c, const struct assay_box_spec *spec, struct assay_buf *out,
                              struct assay_buf *errout, struct assay_box_outcome *o, struct assay_err *err)
{
    struct sync s = {.out = out, .err = errout, .outcome = o};
    struct assay_box_events saved = check(c)->ev;
    void *saved_arg = c->arg;
    c->ev = (struct assay_box_events){.output = sync_output, .done = sync_done};
    c->arg = &s;
    int rc = assay_box_client_run(c, spec, err);
    while (rc == 0 && !s.done) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        if (assay_box_client_wants_write(c))
            p.events |= POLLOUT;
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            rc = dead(c, assay_err_errno(err, ASSAY_E_IO, errno, "poll"));
        else
            rc = assay_box_client_on_ready(c, err);
    }
    c->ev = saved;
    c->arg = saved_arg;
    return rc;
}
