/*
 * Frames in and out.
 *
 * Nothing here allocates: the reader fills two fixed buffers, the writer one, and a request is a set
 * of pointers into the payload it was parsed from.  The payload is written by the runner, which is
 * trusted more than a program but not believed: every count and length is checked against its bound
 * and against the bytes that are really there before it is used.
 */
#include "warden.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* ---- in ---- */

void reader_space(struct reader *r, uint8_t **p, size_t *n)
{
    if (r->big_want > 0) {
        *p = r->big + r->big_have;
        *n = r->big_want - r->big_have;
    } else {
        *p = r->small + r->n;
        *n = sizeof r->small - r->n;
    }
}

void reader_added(struct reader *r, size_t n)
{
    if (r->big_want > 0)
        r->big_have += n;
    else
        r->n += n;
}

static void small_drop(struct reader *r, size_t n)
{
    r->n -= n;
    memmove(r->small, r->small + n, r->n);
}

int reader_next(struct reader *r, struct frame *ret, struct note *why)
{
    if (r->big_want > 0) {
        if (r->big_have < r->big_want)
            return 0;
        *ret = (struct frame){r->big_type, r->big, r->big_want};
        r->big_want = r->big_have = 0;
        return 1;
    }
    struct assay_warden_frame h;
    if (r->n < sizeof h)
        return 0;
    memcpy(&h, r->small, sizeof h);
    if (h.zero != 0)
        return note_set(why, "a frame's reserved field is %u", h.zero);
    size_t have = r->n - sizeof h;
    switch (h.type) {
    case ASSAY_WARDEN_RUN:
    case ASSAY_WARDEN_PUT:
    case ASSAY_WARDEN_PRESTART:
    case ASSAY_WARDEN_FIND: {
        size_t least = h.type == ASSAY_WARDEN_RUN   ? sizeof(struct assay_warden_run)
                       : h.type == ASSAY_WARDEN_PUT ? sizeof ASSAY_ARTEFACT_MAGIC - 1
                       : h.type == ASSAY_WARDEN_PRESTART ? sizeof(struct assay_warden_prestart)
                                                    : sizeof(uint32_t);
        size_t most = h.type == ASSAY_WARDEN_FIND && r->big_cap > ASSAY_WARDEN_FIND_BYTES ? ASSAY_WARDEN_FIND_BYTES : r->big_cap;
        if (h.type == ASSAY_WARDEN_PRESTART && most > ASSAY_WARDEN_PRESTART_MAX)
            most = ASSAY_WARDEN_PRESTART_MAX;
        if (h.length < least || h.length > most)
            return note_set(why, "a frame of type %u with %u bytes (at most %zu)", h.type, h.length, most);
        if (have >= h.length) {
            memcpy(r->big, r->small + sizeof h, h.length);
            small_drop(r, sizeof h + h.length);
            *ret = (struct frame){h.type, r->big, h.length};
            return 1;
        }
        memcpy(r->big, r->small + sizeof h, have);
        r->big_have = have;
        r->big_want = h.length;
        r->big_type = h.type;
        r->n = 0;
        return 0;
    }
    case ASSAY_WARDEN_CANCEL:
    case ASSAY_WARDEN_DROP:
    case ASSAY_WARDEN_GET: {
        size_t want = h.type == ASSAY_WARDEN_CANCEL ? sizeof(uint64_t) : ASSAY_WARDEN_ARTEFACT_HEX;
        if (h.length != want)
            return note_set(why, "a frame of type %u with %u bytes", h.type, h.length);
        if (have < want)
            return 0;
        /* copied out, since dropping them moves what follows over them */
        static uint8_t payload[ASSAY_WARDEN_ARTEFACT_HEX];
        memcpy(payload, r->small + sizeof h, want);
        small_drop(r, sizeof h + want);
        *ret = (struct frame){h.type, payload, want};
        return 1;
    }
    case ASSAY_WARDEN_INPUT:
    case ASSAY_WARDEN_HANGUP: {
        size_t most = sizeof(uint64_t) + (h.type == ASSAY_WARDEN_INPUT ? ASSAY_WARDEN_INPUT_MAX : 0);
        if (h.length < sizeof(uint64_t) || h.length > most)
            return note_set(why, "a frame of type %u with %u bytes", h.type, h.length);
        if (have < h.length)
            return 0;
        static uint8_t input[sizeof(uint64_t) + ASSAY_WARDEN_INPUT_MAX];
        memcpy(input, r->small + sizeof h, h.length);
        small_drop(r, sizeof h + h.length);
        *ret = (struct frame){h.type, input, h.length};
        return 1;
    }
    default:
        return note_set(why, "a frame of unknown type %u", h.type);
    }
}

/* ---- a request ---- */

struct cursor {
    const uint8_t *p;
    size_t n;
};

static bool take(struct cursor *c, void *to, size_t n)
{
    if (c->n < n)
        return false;
    if (to)
        memcpy(to, c->p, n);
    c->p += n;
    c->n -= n;
    return true;
}

static bool take_string(struct cursor *c, const char **ret, size_t max)
{
    uint32_t n;
    if (!take(c, &n, sizeof n) || n > max || c->n < (size_t)n + 1 || c->p[n] != 0 || memchr(c->p, 0, n))
        return false;
    *ret = (const char *)c->p;
    return take(c, NULL, (size_t)n + 1);
}

bool path_ok(const char *path)
{
    size_t n = strlen(path), part = 0;
    if (n == 0 || n > ASSAY_WARDEN_PATH_MAX)
        return false;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && path[i] != '/')
            continue;
        size_t len = i - part;
        if (len == 0 || len > 255 || (len == 1 && path[part] == '.') ||
            (len == 2 && path[part] == '.' && path[part + 1] == '.'))
            return false;
        part = i + 1;
    }
    return true;
}

bool hex_ok(const char *hex)
{
    size_t n = 0;
    for (; hex[n]; n++)
        if (n >= ASSAY_WARDEN_ARTEFACT_HEX || !((hex[n] >= '0' && hex[n] <= '9') || (hex[n] >= 'a' && hex[n] <= 'f')))
            return false;
    return n == ASSAY_WARDEN_ARTEFACT_HEX;
}

/* These three walk what request_parse has checked. */
const uint8_t *request_string_next(const uint8_t *p, const char **ret)
{
    uint32_t n;
    memcpy(&n, p, sizeof n);
    *ret = (const char *)(p + sizeof n);
    return p + sizeof n + n + 1;
}

const uint8_t *request_file_next(const uint8_t *p, struct request_file *ret)
{
    p = request_string_next(p, &ret->path);
    memcpy(&ret->mode, p, sizeof ret->mode);
    p += sizeof ret->mode;
    memcpy(&ret->size, p, sizeof ret->size);
    p += sizeof ret->size;
    ret->data = p;
    return p + ret->size;
}

const char *request_workdir(const struct request *q)
{
    const uint8_t *p = q->mounts;
    struct request_mount m = {NULL, NULL};
    for (uint32_t i = 0; i < q->head.n_mounts; i++)
        p = request_mount_next(p, &m);
    return m.artefact && strcmp(m.artefact, ASSAY_WARDEN_SELF) == 0 ? m.path : NULL;
}

const uint8_t *request_mount_next(const uint8_t *p, struct request_mount *ret)
{
    p = request_string_next(p, &ret->artefact);
    return request_string_next(p, &ret->path);
}

static int parse_strings(struct cursor *c, uint32_t count, char **to, const char *what, struct note *why)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *z;
        if (!take_string(c, &z, ASSAY_WARDEN_STRING_MAX))
            return note_set(why, "%s[%u] is malformed", what, i);
        /* execve takes char *const * for history's sake and changes nothing */
        memcpy(&to[i], &z, sizeof z);
    }
    to[count] = NULL;
    return 0;
}

static int limits_ok(const struct assay_warden_run *h, struct note *why)
{
    const struct {
        const char *name;
        int64_t value, max;
    } bound[] = {
        {"cpu_ms", h->cpu_ms, INT64_C(86400000)},
        {"cpu_hard_ms", h->cpu_hard_ms, INT64_C(86400000)},
        {"wall_ms", h->wall_ms, INT64_C(86400000)},
        {"memory_bytes", h->memory_bytes, INT64_C(1) << 46},
        {"stdout_bytes", h->stdout_bytes, INT64_C(1) << 40},
        {"stderr_bytes", h->stderr_bytes, INT64_C(1) << 40},
        {"processes", h->processes, 32768},
        {"open_files", h->open_files, 65536},
        {"file_bytes", h->file_bytes, INT64_C(1) << 46},
        {"stack_bytes", h->stack_bytes, INT64_C(1) << 46},
        {"scratch_bytes", h->scratch_bytes, INT64_C(1) << 46},
        {"scratch_files", h->scratch_files, INT64_C(1) << 24},
        {"collect_bytes", h->collect_bytes, INT64_C(1) << 46},
        {"warm_cpu_us", h->warm_cpu_us, INT64_C(60000000)},
        {"warm_memory_bytes", h->warm_memory_bytes, INT64_C(1) << 30},
    };
    for (size_t i = 0; i < sizeof bound / sizeof *bound; i++)
        if (bound[i].value < 0 || bound[i].value > bound[i].max)
            return note_set(why, "%s is %lld", bound[i].name, (long long)bound[i].value);
    if (h->cpu_hard_ms != 0 && h->cpu_hard_ms < h->cpu_ms)
        return note_set(why, "cpu_hard_ms is below cpu_ms");
    return 0;
}

int request_parse(const uint8_t *p, size_t n, char **pointers, struct request *ret, struct note *why)
{
    struct cursor c = {p, n};
    struct request q = {.argv = pointers, .env = pointers + ASSAY_WARDEN_ARGV_MAX + 1};
    struct assay_warden_run *h = &q.head;
    if (!take(&c, h, sizeof *h))
        return note_set(why, "a RUN of %zu bytes", n);
    if (h->zero != 0 || (h->flags & ~(uint32_t)(FLAG_STDERR_TO_STDOUT | FLAG_STRICT_OUTPUT | FLAG_WARM | FLAG_COLLECT_ALWAYS | FLAG_CONVERSE)))
        return note_set(why, "unknown flags %#x", h->flags);
    if (limits_ok(h, why) < 0)
        return -1;
    if (h->n_argv < 1 || h->n_argv > ASSAY_WARDEN_ARGV_MAX || h->n_env > ASSAY_WARDEN_ARGV_MAX ||
        h->n_files > ASSAY_WARDEN_FILES_MAX || h->n_mounts > ASSAY_WARDEN_MOUNTS_MAX ||
        h->n_collect > ASSAY_WARDEN_COLLECT_MAX)
        return note_set(why, "a count is out of its bounds (argv %u, env %u, files %u, mounts %u, collect %u)", h->n_argv,
                        h->n_env, h->n_files, h->n_mounts, h->n_collect);
    if (parse_strings(&c, h->n_argv, q.argv, "argv", why) < 0 || parse_strings(&c, h->n_env, q.env, "env", why) < 0)
        return -1;
    if (!q.argv[0][0])
        return note_set(why, "argv[0] is empty");
    q.files = c.p;
    for (uint32_t i = 0; i < h->n_files; i++) {
        const char *path;
        uint32_t mode;
        uint64_t size;
        if (!take_string(&c, &path, ASSAY_WARDEN_PATH_MAX) || !path_ok(path))
            return note_set(why, "files[%u] has a bad path", i);
        if (!take(&c, &mode, sizeof mode) || (mode != 0644 && mode != 0755))
            return note_set(why, "files[%u] has a bad mode", i);
        if (!take(&c, &size, sizeof size) || size > c.n || !take(&c, NULL, (size_t)size))
            return note_set(why, "files[%u] is cut short", i);
    }
    q.mounts = c.p;
    for (uint32_t i = 0; i < h->n_mounts; i++) {
        const char *hex, *path;
        if (!take_string(&c, &hex, ASSAY_WARDEN_ARTEFACT_HEX) || !hex_ok(hex) || !take_string(&c, &path, ASSAY_WARDEN_PATH_MAX))
            return note_set(why, "mounts[%u] is malformed", i);
        bool self = strcmp(hex, ASSAY_WARDEN_SELF) == 0;
        if (self ? path[0] != '/' || !path_ok(path + 1) || i + 1 != h->n_mounts : !path_ok(path) && strcmp(path, ASSAY_WARDEN_WARM) != 0)
            return note_set(why, "mounts[%u] is at a place where none may be", i);
    }
    q.collect = c.p;
    for (uint32_t i = 0; i < h->n_collect; i++) {
        const char *path;
        if (!take_string(&c, &path, ASSAY_WARDEN_PATH_MAX) || !path_ok(path))
            return note_set(why, "collect[%u] is malformed", i);
    }
    q.seccomp = c.p;
    if (h->seccomp_bytes % 8 != 0 || h->seccomp_bytes > ASSAY_WARDEN_SECCOMP_MAX * 8 || !take(&c, NULL, h->seccomp_bytes))
        return note_set(why, "the seccomp filter has %u bytes", h->seccomp_bytes);
    q.seccomp_count = h->seccomp_bytes / 8;
    q.stdin_data = c.p;
    if (h->stdin_bytes != c.n)
        return note_set(why, "%llu bytes of stdin announced, %zu there", (unsigned long long)h->stdin_bytes, c.n);
    *ret = q;
    return 0;
}

int find_parse(const uint8_t *p, size_t n, const char **tool, size_t *count, struct note *why)
{
    struct cursor c = {p, n};
    uint32_t asked;
    if (!take(&c, &asked, sizeof asked) || asked < 1 || asked > ASSAY_WARDEN_FIND_MAX)
        return note_set(why, "a FIND of no tool or of too many");
    for (uint32_t i = 0; i < asked; i++)
        if (!take_string(&c, &tool[i], ASSAY_WARDEN_PATH_MAX) || !tool[i][0])
            return note_set(why, "a FIND's tool %u is malformed", i);
    if (c.n != 0)
        return note_set(why, "a FIND with %zu bytes too many", c.n);
    *count = asked;
    return 0;
}

int prestart_check(const uint8_t *p, size_t n, struct note *why)
{
    struct cursor c = {p, n};
    struct assay_warden_prestart h;
    if (!take(&c, &h, sizeof h) || h.n_argv < 1 || h.n_argv > ASSAY_WARDEN_PRESTART_STRINGS || h.n_env > ASSAY_WARDEN_PRESTART_STRINGS)
        return note_set(why, "a PRESTART with a count out of its bounds");
    for (uint32_t i = 0; i < h.n_argv + h.n_env; i++) {
        const char *text;
        if (!take_string(&c, &text, ASSAY_WARDEN_PRESTART_MAX) || (i == 0 && !text[0]))
            return note_set(why, "string %u of a PRESTART is malformed", i);
    }
    return c.n != 0 ? note_set(why, "a PRESTART with %zu bytes too many", c.n) : 0;
}

/* ---- out ---- */

size_t writer_room(const struct writer *w)
{
    return sizeof w->bytes - w->end;
}

bool writer_frame(struct writer *w, uint16_t type, const void *p, size_t n)
{
    struct assay_warden_frame h = {.length = (uint32_t)n, .type = type};
    if (writer_room(w) < sizeof h + n)
        return false;
    memcpy(w->bytes + w->end, &h, sizeof h);
    memcpy(w->bytes + w->end + sizeof h, p, n);
    w->end += sizeof h + n;
    return true;
}

uint8_t *writer_content_space(struct writer *w, size_t *n)
{
    size_t head = sizeof(struct assay_warden_frame), room = writer_room(w);
    if (room < head + sizeof(struct assay_warden_frame) + sizeof(struct assay_warden_stored) + 4096)
        return NULL;
    room -= 2 * head + sizeof(struct assay_warden_stored);
    *n = room < ASSAY_WARDEN_OUTPUT_MAX ? room : ASSAY_WARDEN_OUTPUT_MAX;
    return w->bytes + w->end + head;
}

void writer_content_commit(struct writer *w, size_t n)
{
    struct assay_warden_frame h = {.length = (uint32_t)n, .type = ASSAY_WARDEN_CONTENT};
    memcpy(w->bytes + w->end, &h, sizeof h);
    w->end += sizeof h + n;
}

/* A DONE must always find room, whatever the program has printed. */
#define WRITER_RESERVE (sizeof(struct assay_warden_frame) + sizeof(struct assay_warden_done))
bool writer_aside(struct writer *w, uint16_t type, const void *p, size_t n)
{
    return writer_room(w) >= WRITER_RESERVE + sizeof(struct assay_warden_frame) + n && writer_frame(w, type, p, n);
}

#define OUTPUT_HEAD (sizeof(struct assay_warden_frame) + sizeof(uint32_t))

uint8_t *writer_output_space(struct writer *w, size_t *n)
{
    size_t room = writer_room(w);
    if (room < WRITER_RESERVE + OUTPUT_HEAD + 4096)
        return NULL;
    room -= WRITER_RESERVE + OUTPUT_HEAD;
    *n = room < ASSAY_WARDEN_OUTPUT_MAX ? room : ASSAY_WARDEN_OUTPUT_MAX;
    return w->bytes + w->end + OUTPUT_HEAD;
}

void writer_output_commit(struct writer *w, uint32_t stream, size_t n)
{
    struct assay_warden_frame h = {.length = (uint32_t)(n + sizeof stream), .type = ASSAY_WARDEN_OUTPUT};
    memcpy(w->bytes + w->end, &h, sizeof h);
    memcpy(w->bytes + w->end + sizeof h, &stream, sizeof stream);
    w->end += OUTPUT_HEAD + n;
}

int writer_flush(struct writer *w, int fd)
{
    while (w->start < w->end) {
        ssize_t k = send(fd, w->bytes + w->start, w->end - w->start, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (k < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN)
                return -1;
            /* room is only reckoned behind `end`, so what is left moves to the front once half is gone */
            if (w->start > sizeof w->bytes / 2) {
                memmove(w->bytes, w->bytes + w->start, w->end - w->start);
                w->end -= w->start;
                w->start = 0;
            }
            return 1;
        }
        w->start += (size_t)k;
    }
    w->start = w->end = 0;
    return 0;
}
