/*
 * Serving the stream: one poll loop, in which a box runs or none does.
 *
 * While nothing runs, the next box's init is made ahead, so that a RUN finds namespaces and mounts
 * ready.  While one runs, the loop moves its output and input without ever blocking on either, and
 * wakes for the limits: the wall limit when it is due, the CPU limit no later than the program could
 * reach it on all processors (and no less often than every 50 ms, for the OOM counter).  The clock
 * starts when the program is about to be executed; init notes that and the end in shared memory.
 * Over its CPU limit a run has lost, but it is only killed at the hard limit: so the result can say
 * that a program needed 1.04 of its time, and not merely too much.
 *
 * Flow control: a full writer means that the runner is slow; then the program's pipes are left
 * alone, the program waits in its write, and the limits go on.
 *
 * Which end is reported, when several apply: a cancel; output over its cap, also when the program
 * then ran on into a time limit (or a flood's end would depend on the machine's load); what else killed it; an OOM kill;
 * CPU or wall time over the limit though it ended by itself (the check comes between two looks);
 * else its own exit.
 */
#include "warden.h"

#include "sys.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#define MS INT64_C(1000000)
#define SETUP_NS (20000 * MS)   /* most that filling a scratch may take */
#define COLLECT_NS (60000 * MS) /* and collecting from it */
#define LEAF_WAIT_MS 2000
#define KEPT_BYTES ((size_t)1 << 20)

struct run {
    struct warden *w;
    struct box *b;
    const struct assay_warden_run *head;
    int64_t go_ns, out_bytes, err_bytes;
    int64_t peak_seen; /* without a leaf: of memory that is not shared */
    int64_t own_seen;  /* in the leaf, at the looks */
    long cpus;         /* that it may run on */
    uint64_t in_sent;
    uint32_t killed; /* enum box_end we killed it for, or 0 */
    bool over, empty, dead, reaped;
    bool warm; /* it is to be forked */
    /* of a run that converses: input that waits for the pipe, in a ring, and what is to be told */
    size_t in_at, in_n;
    uint32_t taken;
    bool in_end, closed, closed_told, out_ended, hang;
    struct rusage ru;
    struct note note;
};

/* ---- limits ---- */

static void end_run(struct run *r, uint32_t end)
{
    if (r->killed || r->empty || r->dead)
        return;
    r->killed = end;
    box_kill(r->b);
}

/* What a forked program was spared is counted as if it were not (nursery.c). */
static int64_t credit(const struct run *r, int64_t spared)
{
    return atomic_load(&r->b->slot->warm) ? spared : 0;
}

static int64_t cpu_ns(const struct run *r)
{
    int64_t leaf = leaf_cpu_ns(&r->w->leaf);
    return credit(r, r->head->warm_cpu_us) * 1000 + (leaf >= 0 ? leaf : atomic_load(&r->b->slot->seen_cpu_ns));
}

/* Over cpu_ms the run is lost, but goes on to here, so that one sees by how much. */
static int64_t hard_cpu_ms(const struct assay_warden_run *h)
{
    return h->cpu_hard_ms ? h->cpu_hard_ms : h->cpu_ms;
}

/* Ends the run when a limit is reached; else the time until the next look. */
static int64_t check_limits(struct run *r)
{
    const struct slot *s = r->b->slot;
    int64_t now = now_ns(), started = atomic_load(&s->started_ns), ended = atomic_load(&s->ended_ns), next = 50 * MS;
    if (r->killed || r->empty || r->dead)
        return 1000 * MS;
    if (started == 0) {
        if (now - r->go_ns > SETUP_NS) {
            (void)note_set(&r->note, "setting the box up took too long");
            end_run(r, END_FAILED);
        }
        return 5 * MS;
    }
    if (ended != 0) {
        if (now - ended > COLLECT_NS) {
            (void)note_set(&r->note, "emptying the box took too long");
            end_run(r, END_FAILED);
        }
        return 50 * MS;
    }
    if (r->head->wall_ms) {
        int64_t left = started + r->head->wall_ms * MS - now;
        if (left <= 0) {
            end_run(r, END_WALL);
            return 0;
        }
        next = left < next ? left : next;
    }
    int64_t cpu = cpu_ns(r);
    if (r->head->cpu_ms) {
        int64_t left = hard_cpu_ms(r->head) * MS - cpu;
        if (left <= 0) {
            end_run(r, END_CPU);
            return 0;
        }
        left /= r->cpus;
        left = left < 1 * MS ? 1 * MS : left;
        next = left < next ? left : next;
    }
    int64_t own = leaf_own_now(&r->w->leaf);
    r->own_seen = own > r->own_seen ? own : r->own_seen;
    if (r->head->memory_bytes) {
        int64_t seen = atomic_load(&s->seen_memory);
        r->peak_seen = seen > r->peak_seen ? seen : r->peak_seen;
        if (leaf_oom_kills(&r->w->leaf) > 0 || seen + credit(r, r->head->warm_memory_bytes) > r->head->memory_bytes) {
            end_run(r, END_MEMORY);
            return 0;
        }
        if (!(leaf_precision(&r->w->leaf) & PRECISE_MEMORY) && next > 5 * MS)
            next = 5 * MS;
    }
    return next;
}

/* ---- the program's pipes ---- */

/* true while there may be more. */
static bool drain(struct run *r, int *fd, uint32_t stream)
{
    static uint8_t discard[65536];
    int64_t cap = stream == 1 ? r->head->stdout_bytes : r->head->stderr_bytes;
    int64_t *count = stream == 1 ? &r->out_bytes : &r->err_bytes;
    int64_t left = *count < cap ? cap - *count : 0;
    size_t room = sizeof discard;
    uint8_t *to = left > 0 ? writer_output_space(&r->w->writer, &room) : discard;
    if (!to)
        return true;
    ssize_t n = read(*fd, to, room);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (n == 0) {
        close_fd(fd);
        return false;
    }
    *count += n;
    if (left > 0)
        writer_output_commit(&r->w->writer, stream, (size_t)(n < left ? n : left));
    if (stream == 1 && *count > cap) {
        r->over = true;
        if (r->head->flags & FLAG_STRICT_OUTPUT)
            end_run(r, END_OUTPUT);
    }
    return true;
}

/* Over its cap a pipe is read without room in the writer, since what comes is thrown away. */
static bool drainable(const struct run *r, uint32_t stream)
{
    size_t room;
    int64_t cap = stream == 1 ? r->head->stdout_bytes : r->head->stderr_bytes;
    return (stream == 1 ? r->out_bytes : r->err_bytes) >= cap || writer_output_space(&r->w->writer, &room) != NULL;
}

static uint8_t ring[ASSAY_WARDEN_INPUT_WINDOW]; /* of the one box that runs */

static bool converses(const struct run *r)
{
    return (r->head->flags & FLAG_CONVERSE) != 0;
}

/* Nobody reads what the program would get: what is on its way to it is taken, and gone. */
static void shut(struct run *r)
{
    close_fd(&r->b->in);
    r->taken += (uint32_t)r->in_n;
    r->in_n = 0;
    r->closed = true;
}

static void feed_ring(struct run *r)
{
    while (r->in_n > 0 && r->b->in >= 0) {
        size_t run = sizeof ring - r->in_at < r->in_n ? sizeof ring - r->in_at : r->in_n;
        ssize_t n = write(r->b->in, ring + r->in_at, run);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            shut(r);
            return;
        }
        r->in_at = (r->in_at + (size_t)n) % sizeof ring;
        r->in_n -= (size_t)n;
        r->taken += (uint32_t)n;
    }
    if (r->in_n == 0 && r->in_end)
        close_fd(&r->b->in);
}

/* An INPUT or HANGUP of the run under way. -1: it breaks the rules. */
static int converse(struct run *r, const struct frame *f, struct note *why)
{
    const uint8_t *p = f->p + sizeof(uint64_t);
    size_t n = f->n - sizeof(uint64_t);
    if (!converses(r))
        return note_set(why, "a frame of type %u for a run that does not converse", f->type);
    if (f->type == ASSAY_WARDEN_HANGUP) {
        r->hang = true;
        return 0;
    }
    if (n > sizeof ring - r->in_n || (n > 0 && r->in_end))
        return note_set(why, "more input than was taken, or behind its end");
    if (r->closed || r->b->in < 0) {
        r->taken += (uint32_t)n;
        return 0;
    }
    r->in_end = r->in_end || n == 0;
    for (size_t i = 0; i < n; i++)
        ring[(r->in_at + r->in_n + i) % sizeof ring] = p[i];
    r->in_n += n;
    if (r->in_sent == r->head->stdin_bytes)
        feed_ring(r);
    return 0;
}

/* What the client is to know, as far as there is room. */
static void tell(struct run *r)
{
    struct writer *w = &r->w->writer;
    uint64_t serial = r->head->serial;
    struct assay_warden_taken t = {.serial = serial, .bytes = r->taken, .closed = r->closed};
    if ((r->taken > 0 || (r->closed && !r->closed_told)) && writer_aside(w, ASSAY_WARDEN_TAKEN, &t, sizeof t)) {
        r->taken = 0;
        r->closed_told = r->closed;
    }
    if (!r->out_ended && r->b->out < 0 && writer_aside(w, ASSAY_WARDEN_ENDED, &serial, sizeof serial))
        r->out_ended = true;
}

static void feed(struct run *r)
{
    uint64_t total = r->head->stdin_bytes;
    while (r->in_sent < total) {
        ssize_t n = write(r->b->in, r->w->request->stdin_data + r->in_sent, (size_t)(total - r->in_sent));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            break; /* EPIPE: it does not want more, and that is its right */
        r->in_sent += (uint64_t)n;
    }
    if (converses(r)) {
        if (r->in_sent < total)
            shut(r);
        else
            feed_ring(r);
        return;
    }
    close_fd(&r->b->in);
}

/* ---- the stream ---- */

/* Frames that may come at any time. 1: one that may not is in *ret; 0: no more for now; -1: the stream is broken. */
static int next_frame(struct warden *w, struct run *r, struct frame *ret, struct note *why)
{
    int rc;
    while ((rc = reader_next(&w->reader, ret, why)) == 1) {
        if (ret->type == ASSAY_WARDEN_INPUT || ret->type == ASSAY_WARDEN_HANGUP) {
            uint64_t serial;
            memcpy(&serial, ret->p, sizeof serial);
            if (r && serial == r->head->serial && converse(r, ret, why) < 0)
                return -1;
            continue;
        }
        if (ret->type != ASSAY_WARDEN_CANCEL && ret->type != ASSAY_WARDEN_DROP)
            return 1;
        if (ret->type == ASSAY_WARDEN_CANCEL) {
            uint64_t serial;
            memcpy(&serial, ret->p, sizeof serial);
            if (r && serial == r->head->serial && atomic_load(&r->b->slot->ended_ns) == 0)
                end_run(r, END_CANCELLED);
        } else {
            char hex[ASSAY_WARDEN_ARTEFACT_HEX + 1] = {0};
            memcpy(hex, ret->p, ASSAY_WARDEN_ARTEFACT_HEX);
            if (!hex_ok(hex))
                return note_set(why, "DROP of something that is no artefact");
            if (!r) /* a running box may have it mounted; it is bounded anyway */
                store_drop(&w->store, hex);
        }
    }
    return rc;
}

/* 1: bytes came; 0: none there; -1: the end, with why empty when it is an orderly one. */
static int receive(struct warden *w, struct note *why)
{
    uint8_t *p;
    size_t n;
    reader_space(&w->reader, &p, &n);
    if (n == 0)
        return note_set(why, "frames pile up");
    ssize_t k = recv(w->stream, p, n, MSG_DONTWAIT);
    if (k < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (k < 0)
        return note_errno(why, "stream");
    if (k == 0)
        return -1;
    reader_added(&w->reader, (size_t)k);
    return 1;
}

/* ---- one run ---- */

/* leaf.c says how and why. */
static int64_t own_memory(const struct run *r, const struct leaf_figures *f)
{
    int64_t seen = r->own_seen > r->peak_seen ? r->own_seen : r->peak_seen;
    int64_t lingers = r->empty ? atomic_load(&r->b->slot->lingers) : leaf_usage(&r->w->leaf);
    int64_t own = f->raw_peak >= 0 && lingers >= 0 ? f->raw_peak - lingers : -1;
    if (own < 0 && f->raw_peak < 0 && seen == 0)
        return -1;
    return own > seen ? own : seen;
}

static void report(struct run *r)
{
    struct warden *w = r->w;
    struct slot *s = r->b->slot;
    struct assay_warden_done d = {.serial = r->head->serial, .precision = leaf_precision(&w->leaf)};
    struct leaf_figures f;
    leaf_read(&w->leaf, &f);
    int64_t started = atomic_load(&s->started_ns), ended = atomic_load(&s->ended_ns);
    bool failed = atomic_load(&s->failed) != 0;
    const struct rusage *all = r->empty && !failed ? &s->reaped : &r->ru;
    int64_t user = (int64_t)all->ru_utime.tv_sec * 1000000 + all->ru_utime.tv_usec;
    int64_t system = (int64_t)all->ru_stime.tv_sec * 1000000 + all->ru_stime.tv_usec;
    int64_t waited = user + system, seen = atomic_load(&s->seen_cpu_ns) / 1000;
    d.cpu_us = f.cpu_ns >= 0 ? f.cpu_ns / 1000 : waited > seen ? waited : seen;
    if (f.user_us + f.system_us > 0 && (w->leaf.version == 2 || d.cpu_us > 100000)) {
        user = f.user_us; /* version 1 counts these in ticks: too coarse for short runs */
        system = f.system_us;
    }
    d.cpu_user_us = user + system > 0 ? (int64_t)((double)d.cpu_us * (double)user / (double)(user + system)) : d.cpu_us;
    d.cpu_system_us = d.cpu_us - d.cpu_user_us;
    d.wall_us = started ? ((ended ? ended : now_ns()) - started) / 1000 : 0;
    const struct rusage *main_ru = ended ? &s->usage : &r->ru;
    d.max_rss_bytes = (int64_t)main_ru->ru_maxrss * 1024;
    d.voluntary_switches = main_ru->ru_nvcsw;
    d.forced_switches = main_ru->ru_nivcsw;
    d.memory_peak_bytes = f.peak >= 0 ? f.peak : d.max_rss_bytes > r->peak_seen ? d.max_rss_bytes : r->peak_seen;
    d.memory_own_bytes = own_memory(r, &f);
    if (d.memory_peak_bytes < d.memory_own_bytes) /* what lingered from earlier boxes was given back meanwhile */
        d.memory_peak_bytes = d.memory_own_bytes;
    d.finished = ended != 0;
    d.precision |= s->pinned ? PINNED : 0u;
    d.oom_kills = f.oom_kills;
    d.stdout_bytes = r->out_bytes;
    d.stderr_bytes = r->err_bytes;
    d.warm = atomic_load(&s->warm);
    d.cpu_us += credit(r, r->head->warm_cpu_us);
    d.cpu_user_us += credit(r, r->head->warm_cpu_us);
    d.memory_peak_bytes += d.memory_peak_bytes >= 0 ? credit(r, r->head->warm_memory_bytes) : 0;
    d.memory_own_bytes += d.memory_own_bytes >= 0 ? credit(r, r->head->warm_memory_bytes) : 0;
    if (started == 0)
        d.precision = 0;

    if (r->killed == END_FAILED || failed) {
        d.end = END_FAILED;
        memcpy(d.message, failed ? s->note.text : r->note.text, sizeof d.message);
    } else if (!ended && !r->killed && f.oom_kills > 0) {
        /* Until it has executed, the program's child shares init's memory, and the OOM killer kills
         * all who share it: a limit too small to start under. */
        d.end = END_MEMORY;
    } else if (!ended && !r->killed) {
        /* Init died and nobody here killed it.  In a user namespace a program of the same user can do that
         * (prlimit on pid 1): its own end, then.  Otherwise something is wrong with us. */
        bool theirs = !w->facts.own_uid && started != 0;
        d.end = theirs ? END_SIGNALLED : END_FAILED;
        d.signal = theirs ? SIGKILL : 0;
        (void)snprintf(d.message, sizeof d.message, "the box's init died");
    } else {
        int status = s->status;
        if (ended && WIFSIGNALED(status)) {
            d.end = END_SIGNALLED;
            d.signal = WTERMSIG(status);
        } else if (ended) {
            d.end = END_EXITED;
            d.exit_code = WEXITSTATUS(status);
        }
        if (ended) {
            memcpy(d.message, s->note.text, sizeof d.message);
            memcpy(d.artefact, s->artefact, sizeof d.artefact);
        }
        if (r->head->wall_ms && d.wall_us > r->head->wall_ms * 1000)
            d.end = END_WALL;
        /* The backstop's signal (init.c) counts by the clock's ticks, so it may come early by some; sent long before
         * the limit it was the program's own doing. */
        bool backstop = d.end == END_SIGNALLED && d.signal == SIGXCPU && d.cpu_us >= r->head->cpu_ms * 500;
        if (r->head->cpu_ms && (d.cpu_us > r->head->cpu_ms * 1000 || backstop))
            d.end = END_CPU;
        if (d.oom_kills > 0 || s->starved)
            d.end = END_MEMORY;
        if (r->over)
            d.end = END_OUTPUT;
        if (r->killed && !(r->over && (r->killed == END_CPU || r->killed == END_WALL)))
            d.end = r->killed;
    }
    if (d.artefact[0] && d.end == END_EXITED)
        store_keep(&w->store, d.artefact, s->artefact_bytes);
    else if (d.artefact[0]) {
        tree_remove(w->store.dir, d.artefact);
        memset(d.artefact, 0, sizeof d.artefact);
    }
    /* the names in it may be the program's */
    for (size_t i = 0; i < sizeof d.message; i++)
        if (d.message[i] && (d.message[i] < ' ' || d.message[i] > '~'))
            d.message[i] = '?';
    d.message[sizeof d.message - 1] = 0;
    /* writer_output_space always leaves room for this one */
    if (!writer_frame(&w->writer, ASSAY_WARDEN_DONE, &d, sizeof d))
        abort();
}

/* Does what the client says while the run is under way. false: it breaks the rules. */
static bool obey(struct run *r, struct note *why)
{
    struct frame f;
    int rc = next_frame(r->w, r, &f, why);
    if (rc == 1)
        rc = note_set(why, "a frame of type %u while a box is running", f.type);
    return rc >= 0;
}

static bool pump(struct run *r, struct note *why)
{
    struct warden *w = r->w;
    struct box *b = r->b;
    if (!obey(r, why)) /* what came in one piece with the RUN: no poll tells of it */
        return false;
    enum { EVENT, INIT, STREAM, OUT, ERR, IN, COUNT };
    while (!((r->empty || r->dead) && b->out < 0 && b->err < 0)) {
        int64_t wait = check_limits(r);
        struct pollfd p[COUNT] = {
            [EVENT] = {.fd = r->empty || r->dead ? -1 : w->world.event, .events = POLLIN},
            [INIT] = {.fd = r->dead || r->empty ? -1 : b->pidfd, .events = POLLIN},
            [STREAM] = {.fd = w->stream, .events = (short)(POLLIN | (w->writer.end > w->writer.start ? POLLOUT : 0))},
            [OUT] = {.fd = drainable(r, 1) ? b->out : -1, .events = POLLIN},
            [ERR] = {.fd = drainable(r, 2) ? b->err : -1, .events = POLLIN},
            [IN] = {.fd = r->empty || r->dead ? -1 : b->in,
                    .events = converses(r) && r->in_n == 0 && r->in_sent == r->head->stdin_bytes ? 0 : POLLOUT},
        };
        struct timespec t = {wait / 1000000000, wait % 1000000000};
        if (ppoll(p, COUNT, &t, NULL) < 0 && errno != EINTR) {
            (void)note_errno(why, "poll");
            return false;
        }
        if (converses(r) && (p[IN].revents & POLLERR) && b->in >= 0)
            shut(r); /* it has closed its stdin, or has ended */
        else if (p[IN].revents)
            feed(r);
        if (p[OUT].revents)
            (void)drain(r, &b->out, 1);
        if (p[ERR].revents)
            (void)drain(r, &b->err, 2);
        if (p[EVENT].revents || p[INIT].revents) {
            /* The event only wakes; a box that was killed may have left one for its successor. */
            uint64_t count;
            (void)!read(w->world.event, &count, sizeof count);
            r->dead = p[INIT].revents != 0;
            r->empty = atomic_load(&b->slot->phase) == PHASE_EMPTY || atomic_load(&b->slot->failed) != 0;
        }
        if (p[STREAM].revents & (POLLIN | POLLHUP | POLLERR)) {
            int rc = receive(w, why);
            if (rc < 0 || (rc > 0 && !obey(r, why)))
                return false;
        }
        if (converses(r)) {
            /* not before it has begun: until then its init takes a closed pipe for the warden's death */
            if (r->hang && b->out >= 0 && atomic_load(&b->slot->started_ns) != 0)
                close_fd(&b->out);
            tell(r);
        }
        /* While more may come at once, output waits to be sent in one piece with the DONE. */
        bool much = w->writer.end - w->writer.start >= ASSAY_WARDEN_OUTPUT_MAX;
        bool ending = r->empty || r->dead || atomic_load(&b->slot->ended_ns) != 0;
        if ((much || !ending || (p[STREAM].revents & POLLOUT)) && writer_flush(&w->writer, w->stream) < 0)
            return false;
    }
    return true;
}

static int ensure_leaf(struct warden *w, struct note *why)
{
    if (w->options.leaf == LEAF_NONE || w->control < 0) {
        if (w->options.leaf == LEAF_REQUIRED)
            return note_set(why, "a leaf is demanded and there is no control socket");
        return 0;
    }
    int64_t until = now_ns() + LEAF_WAIT_MS * MS;
    for (;;) {
        int rc = leaf_receive(&w->leaf, w->control, why);
        if (rc > 0)
            return 0;
        if (rc < 0)
            return -1;
        if (w->options.leaf == LEAF_OPTIONAL)
            return 0;
        int left = (int)((until - now_ns()) / MS);
        struct pollfd p = {.fd = w->control, .events = POLLIN};
        if (left <= 0 || poll(&p, 1, left) == 0)
            return note_set(why, "a leaf is demanded and none came");
    }
}

/* What must hold before an init is let go. -1: this run fails, and the note says why. */
static int admit(struct warden *w, bool warm, struct note *why)
{
    struct request *q = w->request;
    const uint8_t *p = q->mounts;
    struct request_mount m;
    for (uint32_t i = 0; i < q->head.n_mounts; i++) {
        p = request_mount_next(p, &m);
        char path[STORE_PATH];
        if (strcmp(m.artefact, ASSAY_WARDEN_SELF) != 0 && !store_touch(&w->store, m.artefact) && !store_path(m.artefact, path))
            return note_set(why, "artefact %s is not here (any more)", m.artefact);
    }
    if (q->head.n_collect > 0 && store_reserve(&w->store, q->head.collect_bytes, q, why) < 0)
        return -1;
    if (ensure_leaf(w, why) < 0)
        return -1;
    int64_t memory = q->head.memory_bytes > 0 && warm ? q->head.memory_bytes - q->head.warm_memory_bytes : q->head.memory_bytes;
    if (w->leaf.held && leaf_prepare(&w->leaf, memory, q->head.processes ? q->head.processes : 64, why) < 0) {
        leaf_finish(&w->leaf, w->control, true);
        return -1;
    }
    return 0;
}

static bool refuse(struct warden *w, uint64_t serial, const struct note *why)
{
    struct assay_warden_done d = {.serial = serial, .end = END_FAILED, .memory_peak_bytes = -1, .memory_own_bytes = -1, .oom_kills = -1};
    memcpy(d.message, why->text, sizeof d.message);
    return writer_frame(&w->writer, ASSAY_WARDEN_DONE, &d, sizeof d);
}

/* An init that has the descriptors of the leaf that we hold: the one made ahead, or a new one. */
static int fresh_box(struct warden *w, struct box *b, struct note *why)
{
    if (b->pidfd >= 0) {
        if (b->leaf_generation == w->leaf.generation && b->zygote_generation == w->zygote.generation)
            return 0;
        box_kill(b);
        (void)box_reap(b, true, NULL);
        w->turn--; /* its slot is free again */
    }
    /* the two slots alternate: the box before the last one has gone (warden_serve) */
    return box_prepare(b, &w->world, &w->slots[w->turn++ % 2], why);
}

/* false: the stream is dead. */
static bool run_box(struct warden *w, struct box *b, struct note *why)
{
    struct run r = {.w = w, .b = b, .head = &w->request->head, .cpus = 0};
    for (size_t i = 0; i < ASSAY_WARDEN_CPU_WORDS; i++)
        r.cpus += __builtin_popcountll(r.head->cpus[i]);
    r.cpus = r.cpus > 0 && r.cpus < w->cpus ? r.cpus : w->cpus;
    r.warm = zygote_fits(&w->zygote, w->request);
    *w->warm = r.warm;
    if (admit(w, r.warm, &r.note) < 0 || fresh_box(w, b, &r.note) < 0) {
        (void)refuse(w, r.head->serial, &r.note);
        return true;
    }
    if ((r.head->stdin_bytes > 0 || converses(&r)) && fcntl(b->in, F_SETFL, O_NONBLOCK) < 0) {
        (void)note_errno(why, "stdin");
        return false;
    }
    feed(&r); /* a short input fits the pipe before the program exists */
    r.go_ns = now_ns();
    box_go(b);
    bool alive = pump(&r, why);
    if (!alive)
        box_kill(b);
    if (!r.empty || r.killed)
        r.reaped = box_reap(b, true, &r.ru);
    bool dirty = false;
    for (int i = 0; w->leaf.held && !leaf_empty(&w->leaf); i++) {
        if (i == 100) {
            dirty = true;
            r.killed = END_FAILED;
            (void)note_set(&r.note, "something survived in the leaf");
            break;
        }
        struct timespec pause = {0, MS};
        (void)nanosleep(&pause, NULL);
    }
    if (r.warm) {
        bool forked = atomic_load(&b->slot->warm) != 0;
        w->zygote.forks++;
        w->zygote.suspect = !forked;
        if (!forked)
            w->leaf.set_memory = -2; /* init may have changed it */
    }
    report(&r);
    w->boxes++;
    if (!w->worn && (dirty || (w->options.boxes > 0 && w->boxes >= w->options.boxes)))
        w->worn = writer_frame(&w->writer, ASSAY_WARDEN_WORN, "", 0); /* no room: after the next one, then */
    leaf_finish(&w->leaf, w->control, dirty);
    store_clean(&w->store);
    return alive;
}

/* ---- between runs ---- */

/* ---- artefacts to and fro ---- */

static bool stored(struct warden *w, const char *hex, const struct note *why)
{
    struct assay_warden_stored s = {.artefact = ""};
    (void)snprintf(s.artefact, sizeof s.artefact, "%s", hex);
    if (!hex[0])
        memcpy(s.message, why->text, sizeof s.message);
    return writer_frame(&w->writer, ASSAY_WARDEN_STORED, &s, sizeof s);
}

static bool take_artefact(struct warden *w, const struct frame *f)
{
    static const struct request nothing_mounted;
    struct note why = {""};
    char hex[65] = "";
    int64_t bytes;
    size_t count;
    if (files_measure(f->p, f->n, &bytes, &count, &why) < 0)
        return stored(w, "", &why);
    bytes += (int64_t)count * 4096; /* the store's tmpfs counts whole pages */
    if (store_reserve(&w->store, bytes, &nothing_mounted, &why) < 0 || files_unpack(f->p, f->n, hex, &why) < 0)
        hex[0] = 0;
    else
        store_keep(&w->store, hex, bytes);
    store_clean(&w->store);
    return stored(w, hex, &why);
}

/* Nothing runs, so this may wait for a slow runner. -1: the stream is dead. */
static int give_piece(void *arg, const void *p, size_t n)
{
    struct warden *w = arg;
    const uint8_t *from = p;
    while (n > 0) {
        size_t room;
        uint8_t *to = writer_content_space(&w->writer, &room);
        if (!to) {
            struct pollfd ready = {.fd = w->stream, .events = POLLOUT};
            if ((poll(&ready, 1, -1) < 0 && errno != EINTR) || writer_flush(&w->writer, w->stream) < 0)
                return -1;
            continue;
        }
        size_t k = n < room ? n : room;
        memcpy(to, from, k);
        writer_content_commit(&w->writer, k);
        from += k;
        n -= k;
    }
    return 0;
}

static bool give_artefact(struct warden *w, const struct frame *f)
{
    struct note why = {""};
    char hex[ASSAY_WARDEN_ARTEFACT_HEX + 1] = {0};
    memcpy(hex, f->p, ASSAY_WARDEN_ARTEFACT_HEX);
    if (!hex_ok(hex) || !store_touch(&w->store, hex)) {
        (void)note_set(&why, "the artefact is not here (any more)");
        hex[0] = 0;
    } else if (files_pack(hex, give_piece, w, &why) < 0) {
        if (!why.text[0])
            return false;
        hex[0] = 0;
    }
    return stored(w, hex, &why);
}

static bool find_tools(struct warden *w, const struct frame *f, struct note *why)
{
    const char *tool[ASSAY_WARDEN_FIND_MAX];
    size_t n;
    uint8_t answer[sizeof(uint32_t) + ASSAY_WARDEN_FIND_MAX * (2 * sizeof(uint32_t) + FIND_TEXT)];
    if (find_parse(f->p, f->n, tool, &n, why) < 0)
        return false;
    bool reduced = w->options.mode == MODE_REDUCED;
    CLEANUP_FD int root = open(reduced ? "/" : ROOT_BOX, O_PATH | O_DIRECTORY | O_CLOEXEC);
    uint32_t count = (uint32_t)n;
    size_t at = sizeof count;
    memcpy(answer, &count, sizeof count);
    for (size_t i = 0; i < n; i++) {
        char text[FIND_TEXT] = "the root of boxes cannot be opened";
        uint32_t head[2] = {root >= 0 && find_tool(root, tool[i], text), 0};
        if (head[0] && reduced && reduced_hides(text)) {
            head[0] = 0;
            (void)snprintf(text, sizeof text, "%.200s leads to something that boxes do not see", tool[i]);
        }
        head[1] = (uint32_t)strlen(text);
        memcpy(answer + at, head, sizeof head);
        at += sizeof head;
        memcpy(answer + at, text, head[1] + 1);
        at += head[1] + 1;
    }
    return writer_frame(&w->writer, ASSAY_WARDEN_FOUND, answer, at);
}

static bool warm_up(struct warden *w, const struct frame *f, struct note *why)
{
    struct assay_warden_prestarted answer = {.message = ""};
    struct note trouble = {""};
    if (prestart_check(f->p, f->n, why) < 0)
        return false;
    if (zygote_start(&w->zygote, f->p, f->n, &trouble) < 0)
        memcpy(answer.message, trouble.text, sizeof answer.message);
    return writer_frame(&w->writer, ASSAY_WARDEN_PRESTARTED, &answer, sizeof answer);
}

/* A large request's pages are given back; a small one's stay for the next. */
static void release(struct warden *w, size_t used)
{
    if (used > KEPT_BYTES)
        (void)madvise(w->reader.big + KEPT_BYTES, used - KEPT_BYTES, MADV_REMOVE);
}

/*
 * Waits for a whole RUN. 1: it is parsed; 0: the stream ended; -1: it broke.
 * Nothing is taken before all that was said has gone out, so that every answer finds an empty writer.
 */
static int await_run(struct warden *w, struct note *why)
{
    for (;;) {
        struct frame f;
        int flushed = writer_flush(&w->writer, w->stream);
        if (flushed < 0)
            return 0;
        int rc = flushed == 0 ? next_frame(w, NULL, &f, why) : 0;
        if (rc < 0)
            return -1;
        if (rc == 1 && (f.type == ASSAY_WARDEN_FIND || f.type == ASSAY_WARDEN_PRESTART)) {
            if (!(f.type == ASSAY_WARDEN_FIND ? find_tools(w, &f, why) : warm_up(w, &f, why)))
                return why->text[0] ? -1 : 0;
            continue;
        }
        if (rc == 1 && f.type != ASSAY_WARDEN_RUN) {
            if (!(f.type == ASSAY_WARDEN_PUT ? take_artefact(w, &f) : give_artefact(w, &f)))
                return 0;
            if (f.type == ASSAY_WARDEN_PUT)
                release(w, f.n);
            continue;
        }
        if (rc == 1) {
            w->request_bytes = f.n;
            return request_parse(f.p, f.n, w->pointers, w->request, why) < 0 ? -1 : 1;
        }
        struct pollfd p[2] = {{.fd = w->stream, .events = flushed ? POLLOUT : POLLIN}, {.fd = w->control, .events = 0}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return note_errno(why, "poll");
        if (p[1].revents & (POLLHUP | POLLERR))
            return 0; /* the boxkeeper has gone, and nobody else may be answerable for boxes */
        if (p[0].revents & (POLLIN | POLLHUP | POLLERR)) {
            why->text[0] = 0;
            rc = receive(w, why);
            if (rc < 0)
                return why->text[0] ? -1 : 0;
        }
    }
}

static void say_hello(struct warden *w)
{
    static const char *const mode[] = {[MODE_NATIVE] = "native", [MODE_USERNS] = "native-userns", [MODE_DOCKER] = "docker",
                                       [MODE_REDUCED] = "reduced"};
    struct assay_warden_hello h = {.protocol = ASSAY_WARDEN_PROTOCOL, .version = WARDEN_VERSION, .features = FEATURE_SECCOMP};
    uint32_t bits = leaf_precision(&w->leaf);
    h.features |= (bits & PRECISE_CPU ? FEATURE_LEAF_CPU : 0u) | (bits & PRECISE_MEMORY ? FEATURE_LEAF_MEMORY : 0u) |
                  (bits & PRECISE_PIDS ? FEATURE_LEAF_PIDS : 0u) | (w->facts.userns ? FEATURE_USERNS : 0u) |
                  (w->facts.netns ? FEATURE_NETNS : 0u) | (w->facts.own_uid ? FEATURE_ROOT : 0u) |
                  (w->facts.shared ? FEATURE_SHARED : 0u) | (w->facts.landlock ? FEATURE_LANDLOCK : 0u) |
                  (w->options.one_job ? FEATURE_ONE_JOB : 0u);
    (void)snprintf(h.mode, sizeof h.mode, "%s", mode[w->options.mode]);
    (void)writer_frame(&w->writer, ASSAY_WARDEN_HELLO, &h, sizeof h);
}

/* No hello before it is known that boxes can be made here: a driver takes the hello for that. */
static int first_box_stands(const struct box *b, struct note *why)
{
    for (int64_t until = now_ns() + SETUP_NS; now_ns() < until;) {
        struct timespec pause = {0, MS / 5};
        if (atomic_load(&b->slot->failed)) {
            *why = b->slot->note;
            return -1;
        }
        if (atomic_load(&b->slot->phase) == PHASE_READY)
            return 0;
        (void)nanosleep(&pause, NULL);
    }
    return note_set(why, "the first box was not ready in time");
}

int warden_serve(struct warden *w, struct note *why)
{
    static const struct box none = {.pidfd = -1, .in = -1, .out = -1, .err = -1};
    struct box now = none, before = none;
    int rc = ensure_leaf(w, why) < 0 || fresh_box(w, &now, why) < 0 || first_box_stands(&now, why) < 0 ? -1 : 1;
    if (rc == 1)
        say_hello(w);
    while (rc == 1) {
        if (w->options.leaf != LEAF_NONE && w->control >= 0 && leaf_receive(&w->leaf, w->control, why) < 0)
            rc = -1;
        else {
            zygote_look_after(&w->zygote);
            rc = fresh_box(w, &now, why) < 0 ? -1 : await_run(w, why);
        }
        (void)box_reap(&before, true, NULL);
        if (rc != 1)
            break;
        bool alive = run_box(w, &now, why);
        if (w->options.mode == MODE_REDUCED)
            reduced_sweep(now.pid); /* what an init that was killed could not end */
        if (!alive || writer_flush(&w->writer, w->stream) < 0)
            rc = why->text[0] ? -1 : 0;
        release(w, w->request_bytes);
        if (now.slot && atomic_load(&now.slot->go)) {
            before = now;
            now = none;
        }
    }
    box_kill(&now);
    (void)box_reap(&now, true, NULL);
    box_kill(&before);
    (void)box_reap(&before, true, NULL);
    leaf_finish(&w->leaf, w->control, false);
    zygote_stop(&w->zygote);
    return rc < 0 ? -1 : 0;
}
