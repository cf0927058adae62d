/*
 * One task in the server's process instead of serving: the supervisor holds the data directory's lock and has
 * chosen the user, so what is written here belongs to whom the server will find it by.  No service is
 * initialised, nothing is delivered and nothing listens.
 */
#include "server_impl.h"

#include <stdio.h>
#include <string.h>

#include "cursors.h"

static void nothing_to_ring(void *arg, int64_t last_seq, const struct assay_event *ev, size_t n)
{
    (void)arg, (void)last_seq, (void)ev, (void)n;
}

/* The plugin that has a durable group of this name, or NULL. Each group that there is goes to `names`. */
static const char *owner_of(const struct assay_server *s, struct assay_str group, struct assay_buf *names)
{
    const struct assay_plugins *ps = &s->setup.plugins;
    const char *found = NULL;
    for (size_t i = 0; i < ps->n_order; i++) {
        const struct assay_plugin *p = ps->entry[ps->order[i]]->p;
        for (uint32_t k = 0; p->kind == ASSAY_PLUGIN_SERVICE && k < p->subscriptions.count; k++) {
            const struct assay_subscription *row = assay_table_row(&p->subscriptions, k);
            if (row->kind != ASSAY_SUB_DURABLE || row->group == NULL)
                continue;
            assay_buf_fmt(names, "%s%s", names->n != 0 ? ", " : "", row->group);
            if (assay_str_is(group, row->group))
                found = p->name;
        }
    }
    return found;
}

int assay_server_reset_cursor(struct assay_server *s, struct assay_str group)
{
    struct assay_err err = {0, ""};
    struct assay_cursor_place was;
    ASSAY_CLEANUP_BUF struct assay_buf names = ASSAY_BUF_INIT;
    const char *plugin = owner_of(s, group, &names);
    if (plugin == NULL) {
        (void)fprintf(stderr, "assayd: no plugin has a durable event group \"%.*s\"; there are: %.*s\n", ASSAY_FMT(group),
                      ASSAY_FMT(assay_buf_view(&names)));
        return 64;
    }
    int rc = assay_server_base(s, &err);
    if (rc == 0)
        rc = assay_server_drivers(s, &err);
    if (rc == 0)
        rc = s->store.ops->start(s->store.self, nothing_to_ring, NULL, &err);
    if (rc == 0) {
        s->store_started = true;
        rc = assay_cursor_reset(&s->store, group, &was, &err);
    }
    if (rc != 0) {
        (void)fprintf(stderr, "assayd: %s\n", err.msg);
        return rc == ASSAY_E_CONFLICT ? 1 : ASSAY_EXIT_CONFIG;
    }
    ASSAY_LOG(s->log, ASSAY_LOG_WARN, "server", "cursor_reset", ASSAY_KZ("plugin", plugin), ASSAY_KS("group", group),
              ASSAY_KI("from", was.at), ASSAY_KI("to", was.oldest));
    return printf("The cursor of %.*s (plugin %s) was at event %lld and is at %lld now: up to %lld events that it had not taken are\n"
                  "no longer kept, and what they told is missing from its tables. The next start goes on with event %lld of %lld.\n",
                  ASSAY_FMT(group), plugin, (long long)was.at, (long long)was.oldest, (long long)(was.oldest - was.at),
                  (long long)was.oldest + 1, (long long)was.head) > 0 && fflush(stdout) == 0
               ? 0
               : 71;
}
