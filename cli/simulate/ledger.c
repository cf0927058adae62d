/*
 * The ledger: every message that was made, and what became of it.
 *
 * Entries stand in an array, in the order in which they were made, and never move to another place; ids are found through
 * a table of places with open addressing.  Over HTTP an entry has an id only when the server has
 * given one.  Each change is a line of the log, written at once, so that the log of a run that was killed is whole up to there.
 */
#include "simulate.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

struct ledger {
    pthread_mutex_t lock;    /* guards all below */
    pthread_cond_t changed;  /* a result, or an entry that has to be sent again */
    struct ledger_rules rules;
    struct sim_entry *entry;
    size_t n, room;
    size_t *table; /* place + 1; 0: free */
    size_t table_n, table_used;
    size_t first_waiting, first_open; /* no entry below is waiting; open */
    struct ledger_totals totals;
    struct timespec start;
    FILE *log;
    bool log_failed;
};

static void out_of_memory(void)
{
    term_error("no memory for the ledger");
    exit(CLI_LOCAL);
}

static double seconds_since(const struct timespec *start)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)(t.tv_sec - start->tv_sec) + (double)(t.tv_nsec - start->tv_nsec) / 1e9;
}

double ledger_now(const struct ledger *l)
{
    return seconds_since(&l->start);
}

struct ledger *ledger_new(const struct ledger_rules *rules, const char *log_path)
{
    struct ledger *l = calloc(1, sizeof(*l));
    pthread_condattr_t attr;

    if (l == NULL || pthread_mutex_init(&l->lock, NULL) != 0 || pthread_condattr_init(&attr) != 0)
        out_of_memory();
    if (pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0 || pthread_cond_init(&l->changed, &attr) != 0)
        out_of_memory();
    pthread_condattr_destroy(&attr);
    l->rules = *rules;
    l->table_n = 1024;
    l->table = calloc(l->table_n, sizeof(*l->table));
    if (l->table == NULL)
        out_of_memory();
    clock_gettime(CLOCK_MONOTONIC, &l->start);
    l->totals.first_s = -1;
    if (log_path != NULL && (l->log = fopen(log_path, "ae")) == NULL) {
        term_error("cannot write %s: %s", log_path, strerror(errno));
        ledger_free(l);
        return NULL;
    }
    return l;
}

void ledger_free(struct ledger *l)
{
    if (l == NULL)
        return;
    if (l->log != NULL && (fclose(l->log) != 0 || l->log_failed))
        term_error("the log could not be written to its end: %s", strerror(errno));
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l->entry);
    free(l->table);
    free(l);
}

/* ---- the log; under the lock ---- */

static void write_line(struct ledger *l, json_t *line)
{
    char at[40], text[64];
    struct timespec t;
    struct tm tm;

    if (l->log == NULL || line == NULL) {
        json_decref(line);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, sizeof(text), "%s.%03dZ", at, (int)(t.tv_nsec / 1000000) % 1000);
    if (json_object_set_new(line, "at", json_string(text)) != 0 ||
        json_dumpf(line, l->log, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0 || fputc('\n', l->log) == EOF || fflush(l->log) != 0)
        l->log_failed = true;
    json_decref(line);
}

static const char *expected(const struct ledger *l, const struct sim_entry *e)
{
    const struct sim_outcome *o = &sim_outcomes[e->outcome];

    return l->rules.strict ? o->strict : o->verdict;
}

const char *ledger_expected(const struct ledger *l, const struct sim_entry *e)
{
    return expected(l, e);
}

static json_t *line_of(const struct ledger *l, const char *event, const struct sim_entry *e)
{
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:s}", "event", event, "n", (json_int_t)(e - l->entry), "id", e->id, "language",
                     sim_languages[e->language], "outcome", sim_outcomes[e->outcome].name, "expected", expected(l, e));
}

static void put(json_t *line, const char *key, json_t *value)
{
    if (line == NULL || json_object_set_new(line, key, value) != 0)
        out_of_memory();
}

void ledger_note(struct ledger *l, json_t *line)
{
    pthread_mutex_lock(&l->lock);
    write_line(l, line);
    pthread_mutex_unlock(&l->lock);
}

/* ---- ids ---- */

static size_t hash(const char *s)
{
    uint64_t h = 1469598103934665603u; /* FNV-1a */

    for (; *s != '\0'; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return (size_t)h;
}

static size_t *slot_of(struct ledger *l, const char *id)
{
    size_t at = hash(id) & (l->table_n - 1);

    while (l->table[at] != 0 && strcmp(l->entry[l->table[at] - 1].id, id) != 0)
        at = (at + 1) & (l->table_n - 1);
    return &l->table[at];
}

static void id_set(struct ledger *l, size_t i, const char *id)
{
    struct sim_entry *e = &l->entry[i];

    if (l->table_used * 2 >= l->table_n) { /* names that were replaced stay in the old table */
        free(l->table);
        l->table_n *= 2;
        l->table = calloc(l->table_n, sizeof(*l->table));
        if (l->table == NULL)
            out_of_memory();
        l->table_used = 0;
        for (size_t k = 0; k < l->n; k++)
            if (l->entry[k].id[0] != '\0' && k != i) {
                *slot_of(l, l->entry[k].id) = k + 1;
                l->table_used++;
            }
    }
    snprintf(e->id, sizeof(e->id), "%s", id);
    *slot_of(l, e->id) = i + 1;
    l->table_used++;
}

static struct sim_entry *entry_of(struct ledger *l, const char *id)
{
    size_t at = *slot_of(l, id);

    return at == 0 ? NULL : &l->entry[at - 1];
}

/* ---- changes ---- */

static void progress(struct ledger *l)
{
    l->totals.progress_s = seconds_since(&l->start);
}

size_t ledger_make(struct ledger *l, const char *id, size_t combo)
{
    struct sim_entry e = {.language = (unsigned char)(combo / SIM_OUTCOMES), .outcome = (unsigned char)(combo % SIM_OUTCOMES),
                          .sent_s = -1, .latency_ms = -1};
    size_t i;

    pthread_mutex_lock(&l->lock);
    if (l->n == l->room) {
        size_t room = l->room == 0 ? 1024 : l->room * 2;
        struct sim_entry *p = realloc(l->entry, room * sizeof(*p));

        if (p == NULL)
            out_of_memory();
        l->entry = p;
        l->room = room;
    }
    i = l->n++;
    l->entry[i] = e;
    if (id != NULL)
        id_set(l, i, id);
    l->totals.made++;
    l->totals.open++;
    pthread_mutex_unlock(&l->lock);
    return i;
}

void ledger_sent(struct ledger *l, size_t i)
{
    pthread_mutex_lock(&l->lock);
    struct sim_entry *e = &l->entry[i];

    if (e->sent_s < 0) {
        e->sent_s = seconds_since(&l->start);
        if (l->totals.first_s < 0)
            l->totals.first_s = e->sent_s;
    }
    if (e->state == SIM_WAITING)
        e->state = SIM_SENT;
    pthread_mutex_unlock(&l->lock);
}

void ledger_accepted(struct ledger *l, size_t i, const char *id)
{
    pthread_mutex_lock(&l->lock);
    struct sim_entry *e = &l->entry[i];

    if (id != NULL)
        id_set(l, i, id);
    l->totals.accepted++;
    progress(l);
    if (e->state == SIM_WAITING || e->state == SIM_SENT) /* its result may have been faster */
        e->state = SIM_ACCEPTED;
    write_line(l, line_of(l, "produced", e));
    pthread_mutex_unlock(&l->lock);
}

/* Waiting again, first in line. */
static void back(struct ledger *l, size_t i, bool resent)
{
    pthread_mutex_lock(&l->lock);
    struct sim_entry *e = &l->entry[i];

    e->resent = e->resent || resent;
    if (e->state == SIM_SENT) {
        e->state = SIM_WAITING;
        if (i < l->first_waiting)
            l->first_waiting = i;
    }
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

void ledger_again(struct ledger *l, size_t i)
{
    back(l, i, true);
}

void ledger_unsent(struct ledger *l, size_t i)
{
    back(l, i, false);
}

void ledger_refused(struct ledger *l, size_t i, const char *why)
{
    pthread_mutex_lock(&l->lock);
    struct sim_entry *e = &l->entry[i];
    json_t *line = line_of(l, "refused", e);

    e->state = SIM_REFUSED;
    l->totals.refused++;
    l->totals.open--;
    progress(l);
    put(line, "detail", json_string(why));
    write_line(l, line);
    pthread_mutex_unlock(&l->lock);
}

/* A second result. The same again after a message that had to be sent twice, or where the rules let it, is only counted. */
static void second(struct ledger *l, struct sim_entry *e, const char *status, uint32_t event)
{
    bool same = strcmp(e->status, status) == 0;
    bool fine = same && ((l->rules.allow_repeats && e->event == event) || e->resent);
    json_t *line = line_of(l, fine ? "repeated" : "doubled", e);

    put(line, "actual", json_string(status));
    put(line, "before", json_string(e->status));
    write_line(l, line);
    if (fine && !e->repeated) {
        e->repeated = true;
        l->totals.repeated++;
    }
    if (!fine && !e->doubled) {
        e->doubled = true;
        l->totals.doubled++;
    }
}

static void first(struct ledger *l, struct sim_entry *e, const char *status, double latency_ms, uint32_t event, const char *detail)
{
    json_t *line;
    char differs[40] = "";

    e->event = event;
    e->seen_s = seconds_since(&l->start);
    e->latency_ms = latency_ms >= 0 ? latency_ms : (e->seen_s - e->sent_s) * 1000;
    snprintf(e->status, sizeof(e->status), "%s", status);
    e->wrong = strcmp(status, expected(l, e)) != 0;
    e->late = l->rules.late_s > 0 && e->latency_ms > l->rules.late_s * 1000;
    e->state = SIM_DONE;
    l->totals.done++;
    l->totals.open--;
    l->totals.wrong += e->wrong;
    l->totals.late += e->late;
    l->totals.last_s = e->seen_s;
    progress(l);
    line = line_of(l, "consumed", e);
    put(line, "actual", json_string(status));
    put(line, "latency_ms", json_real(e->latency_ms));
    if (detail != NULL && detail[0] != '\0' && e->wrong)
        put(line, "detail", json_string(detail));
    if (e->wrong || e->late) {
        snprintf(differs, sizeof(differs), "%s%s%s", e->wrong ? "wrong" : "", e->wrong && e->late ? " " : "", e->late ? "late" : "");
        put(line, "difference", json_string(differs));
    }
    write_line(l, line);
}

bool ledger_result(struct ledger *l, const char *id, const char *status, double latency_ms, const char *event_id, const char *detail)
{
    uint32_t event = event_id != NULL && event_id[0] != '\0' ? (uint32_t)hash(event_id) | 1 : 0;
    struct sim_entry *e;

    pthread_mutex_lock(&l->lock);
    e = entry_of(l, id);
    if (e == NULL)
        l->totals.foreign++;
    else if (e->state == SIM_DONE)
        second(l, e, status, event);
    else
        first(l, e, status, latency_ms, event, detail);
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    return e != NULL;
}

void ledger_doubled(struct ledger *l, const char *id, const char *what)
{
    struct sim_entry *e;

    pthread_mutex_lock(&l->lock);
    e = entry_of(l, id);
    if (e == NULL || !e->doubled)
        l->totals.doubled++;
    if (e != NULL)
        e->doubled = true;
    write_line(l, json_pack("{s:s, s:s, s:s}", "event", "doubled", "id", id, "detail", what));
    pthread_mutex_unlock(&l->lock);
}

void ledger_close(struct ledger *l)
{
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < l->n; i++) {
        struct sim_entry *e = &l->entry[i];

        if (e->state == SIM_DONE || e->state == SIM_REFUSED || e->lost)
            continue;
        e->lost = true;
        l->totals.lost++;
        write_line(l, line_of(l, e->state == SIM_ACCEPTED ? "lost" : "never accepted", e));
    }
    pthread_mutex_unlock(&l->lock);
}

/* ---- reading ---- */

size_t ledger_waiting(struct ledger *l, size_t *at, size_t n)
{
    size_t found = 0;

    pthread_mutex_lock(&l->lock);
    while (l->first_waiting < l->n && l->entry[l->first_waiting].state != SIM_WAITING)
        l->first_waiting++;
    for (size_t i = l->first_waiting; i < l->n && found < n; i++)
        if (l->entry[i].state == SIM_WAITING)
            at[found++] = i;
    pthread_mutex_unlock(&l->lock);
    return found;
}

void ledger_totals(struct ledger *l, struct ledger_totals *out)
{
    pthread_mutex_lock(&l->lock);
    *out = l->totals;
    pthread_mutex_unlock(&l->lock);
}

size_t ledger_differences(const struct ledger_totals *t)
{
    return t->wrong + t->lost + t->doubled + t->late + t->refused;
}

struct sim_entry ledger_entry(struct ledger *l, size_t i)
{
    struct sim_entry e;

    pthread_mutex_lock(&l->lock);
    e = l->entry[i];
    pthread_mutex_unlock(&l->lock);
    return e;
}

bool ledger_find(struct ledger *l, const char *id, struct sim_entry *out)
{
    const struct sim_entry *e;

    pthread_mutex_lock(&l->lock);
    e = entry_of(l, id);
    if (e != NULL)
        *out = *e;
    pthread_mutex_unlock(&l->lock);
    return e != NULL;
}

void ledger_wait(struct ledger *l, double s)
{
    struct timespec end;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += (time_t)s;
    end.tv_nsec += (long)((s - (double)(time_t)s) * 1e9);
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&l->lock);
    (void)pthread_cond_timedwait(&l->changed, &l->lock, &end); /* the caller looks again whatever woke it */
    pthread_mutex_unlock(&l->lock);
}

const struct sim_entry *ledger_entries(struct ledger *l, size_t *n)
{
    *n = l->n;
    return l->entry;
}

/* The smallest id among those accepted and still open, "" without any. */
void ledger_oldest_open(struct ledger *l, char out[64])
{
    out[0] = '\0';
    pthread_mutex_lock(&l->lock);
    while (l->first_open < l->n && (l->entry[l->first_open].state == SIM_DONE || l->entry[l->first_open].state == SIM_REFUSED))
        l->first_open++;
    for (size_t i = l->first_open; i < l->n; i++) {
        const struct sim_entry *e = &l->entry[i];

        if (e->state == SIM_ACCEPTED && (out[0] == '\0' || strcmp(e->id, out) < 0))
            snprintf(out, 64, "%s", e->id);
    }
    pthread_mutex_unlock(&l->lock);
}
