/*
 * Partitions come and go.
 *
 * Coming: the committed offset is read together with the mark that a former owner left (ledger.c), and reading begins there.
 * Going: what the receiver is about to answer may finish, for a short while, since the next owner would else judge it
 * again; then its tags are taken back, what is settled is committed, and only then is the partition given up. When it
 * is lost already (the session has expired) nothing of this is of use, and the tags are taken back at once.
 *
 * Runs inside rd_kafka_consumer_poll, on the consumer's thread; eager and cooperative assignment both.
 */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>

#define COMMITTED_MS 5000
#define COMMIT_MS 3000

static void names(const rd_kafka_topic_partition_list_t *list, struct assay_buf *out)
{
    for (int i = 0; i < list->cnt && i < 100; i++)
        assay_buf_fmt(out, "%s%d", i ? "," : "", (int)list->elems[i].partition);
    if (list->cnt > 100)
        assay_buf_puts(out, ",...");
}

static bool cooperative(rd_kafka_t *rk)
{
    const char *protocol = rd_kafka_rebalance_protocol(rk);
    return protocol && strcmp(protocol, "COOPERATIVE") == 0;
}

static void assigned(struct bk_consumer *c, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_resp_err_t code = list->cnt > 0 ? rd_kafka_committed(c->rk, list, COMMITTED_MS) : RD_KAFKA_RESP_ERR_NO_ERROR;
    if (code)
        assay_log(c->d->host, ASSAY_LOG_WARN, "kafka_committed_unknown", ASSAY_KZ("handle", c->state.word),
                  ASSAY_KZ("reason", rd_kafka_err2str(code)));
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *t = &list->elems[i];
        struct bk_part *p = bk_part_find(c, t->topic, t->partition);
        if (p) { /* it was never given up: begin anew */
            bk_part_lose(c, p);
            bk_part_empty(c, p);
            p->paused = p->dirty = false;
        } else {
            p = bk_part_new(t->topic, t->partition);
            if (!p)
                abort(); /* without its ledger its messages would pass unseen: the supervisor starts anew */
            p->next_part = c->parts;
            c->parts = p;
        }
        bool known = !code && !t->err && t->offset >= 0;
        p->committed = known ? t->offset : -1;
        bk_part_recall(p, known ? t->offset : -1, known && t->metadata ? (struct assay_str){t->metadata, t->metadata_size} : ASSAY_STR_NULL);
        if (!known)
            t->offset = RD_KAFKA_OFFSET_INVALID; /* librdkafka asks again, then auto.offset.reset */
    }
    rd_kafka_error_t *e = NULL;
    code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (cooperative(c->rk))
        e = rd_kafka_incremental_assign(c->rk, list);
    else
        code = rd_kafka_assign(c->rk, list);
    if (e || code)
        assay_log(c->d->host, ASSAY_LOG_ERROR, "kafka_assign", ASSAY_KZ("handle", c->state.word),
                  ASSAY_KZ("reason", e ? rd_kafka_error_string(e) : rd_kafka_err2str(code)));
    if (e)
        rd_kafka_error_destroy(e);
    else if (!code && list->cnt > 0)
        bk_state_trouble(&c->state, "%s", "");
}

/* Whether an answer to a message of these partitions is on its way, or there and not settled yet. */
static bool answering(struct bk_consumer *c, const rd_kafka_topic_partition_list_t *list)
{
    bool any = false;
    for (int i = 0; !any && i < list->cnt; i++) {
        struct bk_part *p = bk_part_find(c, list->elems[i].topic, list->elems[i].partition);
        pthread_mutex_lock(&c->lock);
        for (const struct bk_entry *e = p ? p->first : NULL; !any && e; e = e->next)
            any = (e->at == BK_GIVEN && (e->publishing > 0 || e->published)) || e->burial;
        pthread_mutex_unlock(&c->lock);
    }
    return any;
}

/* A commit whose answer is waited for, but not for ever. */
static void commit_now(struct bk_consumer *c, const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_queue_t *q = rd_kafka_queue_new(c->rk);
    rd_kafka_resp_err_t code = rd_kafka_commit_queue(c->rk, list, q, NULL, NULL);
    if (!code) {
        rd_kafka_event_t *ev = rd_kafka_queue_poll(q, COMMIT_MS);
        code = RD_KAFKA_RESP_ERR__TIMED_OUT;
        if (ev && rd_kafka_event_type(ev) == RD_KAFKA_EVENT_OFFSET_COMMIT) {
            code = rd_kafka_event_error(ev);
            bk_committed(c, code, rd_kafka_event_topic_partition_list(ev));
        } else {
            bk_committed(c, code, list);
        }
        if (ev)
            rd_kafka_event_destroy(ev);
    } else {
        bk_committed(c, code, list);
    }
    rd_kafka_queue_destroy(q);
}

static void revoked(struct bk_consumer *c, rd_kafka_topic_partition_list_t *list, bool lost)
{
    int64_t deadline = assay_mono_ns() + c->d->revoke_wait_ms * BK_NS_MS;
    while (!lost && assay_mono_ns() < deadline) {
        bk_ends_process(c);
        if (!answering(c, list))
            break;
        (void)bk_wait(c->wake_fd, 20);
    }
    for (int i = 0; i < list->cnt; i++) {
        struct bk_part *p = bk_part_find(c, list->elems[i].topic, list->elems[i].partition);
        if (p)
            bk_part_lose(c, p);
    }
    bk_ends_process(c); /* nothing can be settled any more: this is the last word */
    rd_kafka_topic_partition_list_t *commit = lost ? NULL : bk_commit_list(c, list);
    if (commit) {
        commit_now(c, commit);
        rd_kafka_topic_partition_list_destroy(commit);
    }
    for (int i = 0; i < list->cnt; i++)
        for (struct bk_part **at = &c->parts; *at; at = &(*at)->next_part) {
            struct bk_part *p = *at;
            char number[16];
            if (p->number != list->elems[i].partition || strcmp(p->topic, list->elems[i].topic) != 0)
                continue;
            *at = p->next_part;
            snprintf(number, sizeof number, "%d", (int)p->number);
            bk_gauge(c->d, BK_METRIC_LAG, p->topic, number, 0);
            bk_part_empty(c, p);
            bk_part_free(p);
            break;
        }
    rd_kafka_error_t *e = NULL;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (cooperative(c->rk))
        e = rd_kafka_incremental_unassign(c->rk, list);
    else
        code = rd_kafka_assign(c->rk, NULL);
    if (e || code)
        assay_log(c->d->host, ASSAY_LOG_WARN, "kafka_unassign", ASSAY_KZ("handle", c->state.word),
                  ASSAY_KZ("reason", e ? rd_kafka_error_string(e) : rd_kafka_err2str(code)));
    if (e)
        rd_kafka_error_destroy(e);
}

void bk_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct bk_consumer *c = (struct bk_consumer *)(void *)((char *)opaque - offsetof(struct bk_consumer, state));
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    bool lost = code != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && rd_kafka_assignment_lost(rk);
    const char *word = code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS ? "assigned" : lost ? "lost" : "revoked";
    names(list, &text);
    assay_log(c->d->host, ASSAY_LOG_INFO, "kafka_partitions", ASSAY_KZ("handle", c->state.word), ASSAY_KZ("what", word),
              ASSAY_KZ("topic", c->topic), ASSAY_KS("partitions", assay_buf_view(&text)));
    bk_count(c->d, BK_METRIC_REBALANCES, c->state.word, word, 1);
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        assigned(c, list);
    } else if (code == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
        revoked(c, list, lost);
    } else {
        bk_state_trouble(&c->state, "%s", rd_kafka_err2str(code));
        (void)rd_kafka_assign(rk, NULL);
    }
    int64_t n = 0;
    for (const struct bk_part *p = c->parts; p; p = p->next_part)
        n++;
    atomic_store(&c->parts_n, n);
    bk_gauge(c->d, BK_METRIC_PARTITIONS, c->state.word, NULL, (double)n);
}
