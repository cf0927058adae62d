/*
 * The ledger of a partition.
 *
 * Kafka knows one number per partition and group: all below it is done.  Messages end in any order, so the ledger keeps
 * what was taken, in order of offsets, and the number moves to the lowest that is not settled.  What is settled above it
 * would be judged again by the partition's next owner; so that it is not, a commit carries in its metadata which
 * those are: "assay1:" and a base64 bitmap whose bit i stands for offset + i.  An owner that does not know the mark, or a
 * group whose offsets were reset by hand, sees a plain offset and gets the messages again, which is allowed.
 *
 * The consumer's thread alone.
 */
#include "local.h"

#include <stdlib.h>

#define MARK "assay1:"

struct bk_part *bk_part_new(const char *topic, int32_t number)
{
    struct bk_part *p = calloc(1, sizeof *p);
    if (p)
        *p = (struct bk_part){.topic = strdup(topic), .number = number, .next = -1, .committed = -1};
    if (p && !p->topic) {
        free(p);
        return NULL;
    }
    return p;
}

void bk_entry_free(struct bk_entry *e)
{
    if (!e)
        return;
    free(e->bytes);
    free(e->reason);
    free(e);
}

void bk_part_free(struct bk_part *p)
{
    if (!p)
        return;
    while (p->first) {
        struct bk_entry *e = p->first;
        p->first = e->next;
        bk_entry_free(e);
    }
    free(p->skip);
    free(p->topic);
    free(p);
}

bool bk_part_add(struct bk_part *p, struct bk_entry *e)
{
    if (e->offset < 0 || (p->last ? e->offset <= p->last->offset : e->offset < p->next))
        return false; /* fetched again: it is under way or over */
    e->part = p;
    e->next = NULL;
    if (p->last)
        p->last->next = e;
    else
        p->first = e;
    p->last = e;
    p->n++;
    return true;
}

void bk_part_settle(struct bk_part *p, struct bk_entry *e)
{
    e->at = BK_SETTLED;
    free(e->bytes);
    free(e->reason);
    e->bytes = e->reason = NULL;
    e->key = e->body = e->traceparent = ASSAY_STR_NULL;
    p->dirty = true;
    while (p->first && p->first->at == BK_SETTLED) {
        struct bk_entry *gone = p->first;
        p->first = gone->next;
        if (!p->first)
            p->last = NULL;
        p->next = gone->offset + 1;
        p->n--;
        bk_entry_free(gone);
    }
}

bool bk_part_room(const struct bk_part *p)
{
    return !p->first || p->last->offset - p->first->offset + 1 < BK_WINDOW;
}

int64_t bk_part_offset(const struct bk_part *p)
{
    return p->first ? p->first->offset : p->next;
}

int bk_part_mark(const struct bk_part *p, struct assay_buf *out, struct assay_err *err)
{
    unsigned char bits[BK_WINDOW / 8] = {0};
    size_t n = 0;
    for (const struct bk_entry *e = p->first; e; e = e->next) {
        int64_t i = e->offset - p->first->offset;
        if (i >= BK_WINDOW)
            break;
        if (e->at != BK_SETTLED)
            continue;
        bits[i / 8] = (unsigned char)(bits[i / 8] | 1u << (i % 8));
        n = (size_t)i / 8 + 1;
    }
    if (n > 0) {
        assay_buf_puts(out, MARK);
        assay_buf_base64(out, (struct assay_str){(const char *)bits, n});
    }
    return out->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory for a commit") : 0;
}

void bk_part_recall(struct bk_part *p, int64_t offset, struct assay_str mark)
{
    ASSAY_CLEANUP_BUF struct assay_buf bits = ASSAY_BUF_INIT;
    free(p->skip);
    p->skip = NULL;
    p->skip_n = 0;
    p->skip_base = offset;
    if (offset < 0 || !assay_str_starts(mark, MARK) || mark.n > 2 * BK_WINDOW)
        return;
    mark.p += sizeof MARK - 1;
    mark.n -= sizeof MARK - 1;
    if (assay_base64_decode(mark, &bits, NULL) != 0 || bits.n == 0 || bits.n > BK_WINDOW / 8)
        return;
    size_t n = 0;
    p->skip = (unsigned char *)assay_buf_steal(&bits, &n);
    p->skip_n = p->skip ? n * 8 : 0;
}

bool bk_part_known(const struct bk_part *p, int64_t offset)
{
    if (offset < p->skip_base || (uint64_t)(offset - p->skip_base) >= p->skip_n)
        return false;
    size_t i = (size_t)(offset - p->skip_base);
    return (p->skip[i / 8] >> (i % 8) & 1) != 0;
}
