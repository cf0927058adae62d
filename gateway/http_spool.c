/*
 * Bodies that are too long for memory go to a file.
 *
 * Theory of operation.  The loop collects a piece of SPOOL_PIECE bytes, stops reading the connection, and lends the
 * exchange to a worker, which appends the piece to a file that has no name (so nothing of it outlives us, however
 * we end).  With its last piece the worker maps the whole file read-only, and the handler finds its body as ever,
 * as one view of bytes.  The loop itself touches no disk.
 *
 * Bounds: a piece for each connection (counted as a body in memory), the route's own limit, and spool_max for all files
 * together (503); a disk that is full is 507.
 */
#include "http_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- on a worker ---------------------------------------------------------------------------------- */

static int nameless_file(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    char path[4096];
    if (snprintf(path, sizeof path, "%s/body-XXXXXX", dir) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        (void)unlink(path);
    return fd;
}

static int write_piece(struct exchange *x)
{
    size_t done = 0;
    if (x->rq.body_fd < 0)
        x->rq.body_fd = nameless_file(x->loop->front->cfg.spool_dir);
    if (x->rq.body_fd < 0)
        return errno;
    while (done < x->body.n) {
        ssize_t n = pwrite(x->rq.body_fd, x->body.p + done, x->body.n - done, (off_t)(x->spooled + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : ENOSPC;
        done += (size_t)n;
    }
    x->spooled += done;
    if (!x->spool_last || x->spooled == 0)
        return 0;
    void *map = mmap(NULL, (size_t)x->spooled, PROT_READ, MAP_SHARED, x->rq.body_fd, 0);
    if (map == MAP_FAILED)
        return errno;
    x->map = map;
    return 0;
}

static void spool(void *arg)
{
    struct exchange *x = exchange_check(arg);
    x->rc = write_piece(x); /* an errno here, not a status */
    /* only a front that is being freed closes its boxes, and by its contract nobody works for it then */
    int rc = assay_mailbox_post(x->loop->box, &x->mail);
    assert(rc == 0);
}

/* ---- on the loop ---------------------------------------------------------------------------------- */

static void failed(struct exchange *x, int errnum)
{
    const struct assay_kv kv[] = {ASSAY_KS("request_id", x->rq.request_id), ASSAY_KI("errno", errnum),
                                  ASSAY_KZ("folder", x->loop->front->cfg.spool_dir)};
    assay_loop_log(x->loop, ASSAY_LOG_ERROR, "spool_failed", kv, sizeof kv / sizeof kv[0]);
    if (errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG)
        assay_conn_refuse(x->conn, 507, ASSAY_STR("there is no room on the disk for this body"));
    else
        assay_conn_refuse(x->conn, 500, ASSAY_STR("the body could not be stored"));
}

static void spooled(struct assay_mail *m)
{
    struct exchange *x = exchange_check((char *)m - offsetof(struct exchange, mail));
    struct loop *l = x->loop;
    loop_own(l);
    x->away = false;
    count(&l->waiting, -1);
    l->body_bytes -= x->body_counted;
    x->body_counted = 0;
    assay_buf_reset(&x->body);
    struct conn *c = x->conn;
    if (!c) {
        assay_exchange_free(x);
        return;
    }
    assay_conn_begin(c);
    if (x->rc != 0) {
        failed(x, x->rc);
    } else if (x->spool_last) {
        assay_buf_free(&x->body);
        x->rq.body = (struct assay_str){x->map, (size_t)x->spooled};
        assay_exchange_dispatch(x);
    } else {
        c->phase = PHASE_BODY;
        assay_conn_body_deadline(c);
    }
    assay_conn_consume(c);
    assay_conn_end(c);
}

void assay_spool_out(struct exchange *x, bool last)
{
    struct conn *c = x->conn;
    struct assay_front *f = x->loop->front;
    const struct assay_front_config *cfg = &f->cfg;
    uint64_t before = atomic_fetch_add_explicit(&f->spooled, x->body.n, memory_order_relaxed);
    x->spool_counted += x->body.n;
    if (before + x->body.n > cfg->spool_max) {
        assay_conn_refuse(c, 503, ASSAY_STR("too many large bodies are under way"));
        return;
    }
    x->spool_last = last;
    c->phase = PHASE_SPOOL;
    c->deadline_ns = x->loop->now_ns + cfg->answer_deadline_ms * MS_NS; /* the disk's, not the client's */
    x->mail.run = spooled;
    x->away = true;
    count(&x->loop->waiting, 1);
    if (cfg->offload(cfg->ctx, spool, x) != 0) {
        x->away = false;
        count(&x->loop->waiting, -1);
        assay_conn_refuse(c, 503, ASSAY_STR("the server is busy"));
    }
}

void assay_spool_free(struct exchange *x)
{
    if (x->map)
        (void)munmap(x->map, (size_t)x->spooled);
    if (x->rq.body_fd >= 0)
        (void)close(x->rq.body_fd);
    if (x->spool_counted)
        atomic_fetch_sub_explicit(&x->loop->front->spooled, x->spool_counted, memory_order_relaxed);
}
