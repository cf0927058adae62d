/* The rules of traces. No I/O. */
#include "local.h"

struct tr_viewer tr_viewer_of(const struct assay_principal *who)
{
    return (struct tr_viewer){
        .user_id = who->user_id.p ? who->user_id : ASSAY_STR(""),
        .agent_id = who->agent_id.p ? who->agent_id : ASSAY_STR(""),
        .staff = assay_is_staff(who),
    };
}

static void add_child(struct tr_span *span, int parent, int child)
{
    if (span[parent].first < 0)
        span[parent].first = child;
    else
        span[span[parent].last].next = child;
    span[parent].last = child;
}

void tr_link(struct tr_span *span, size_t from, size_t n)
{
    int depth[1 + TRACES_NOTE_SPANS_MAX] = {0}; /* of the spans that can still be a parent: the last ones */
    for (size_t i = from; i < n; i++) {
        span[i].first = span[i].last = span[i].next = -1;
        int parent = 0, d = 1;
        size_t oldest = i - from > TRACES_NOTE_SPANS_MAX ? i - TRACES_NOTE_SPANS_MAX : from;
        for (size_t k = i; span[i].parent.n && k > oldest; k--)
            if (assay_str_eq(span[k - 1].name, span[i].parent)) {
                int deep = depth[(k - 1) % (1 + TRACES_NOTE_SPANS_MAX)] + 1;
                if (deep <= TRACES_DEPTH_MAX) {
                    parent = (int)(k - 1);
                    d = deep;
                }
                break;
            }
        depth[i % (1 + TRACES_NOTE_SPANS_MAX)] = d;
        add_child(span, parent, (int)i);
    }
}

size_t tr_stages(const struct tr_event *ev, size_t n, struct tr_span *out)
{
    size_t made = 0;
    bool open = false;
    for (size_t i = 0; i < n; i++) {
        struct assay_str stage = ASSAY_STR("");
        if (assay_str_is(ev[i].name, "submission.created") || assay_str_is(ev[i].name, "submission.queued"))
            stage = ASSAY_STR("queued");
        else if (assay_str_is(ev[i].name, "submission.running"))
            stage = ASSAY_STR("judging");
        if (open)
            out[made - 1].end_ms = ev[i].at_ms;
        open = stage.n > 0;
        if (open)
            out[made++] = (struct tr_span){.name = stage, .start_ms = ev[i].at_ms, .first = -1, .last = -1, .next = -1};
    }
    return made;
}

bool tr_verdict_visible(const struct tr_submission *s)
{
    return s->level >= ASSAY_FEEDBACK_VERDICT;
}

bool tr_span_visible(const struct tr_submission *s, struct assay_str name)
{
    return s->level >= ASSAY_FEEDBACK_SAMPLES || !assay_str_starts(name, "test");
}
