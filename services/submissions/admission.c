/*
 * How much may wait: the counts of the queue in memory, the bounds, and what a refused client is told.
 *
 * A submission takes its place before it is written (admission_enter), keeps it while it waits, and leaves it when it
 * is leased, cancelled or could not be written (admission_leave), so the bounds hold for what is being written too and
 * a request costs three look-ups, never a count of rows.  What comes back into the queue (a retry, a rejudge) takes its
 * place without being asked: it was accepted once.
 *
 * At start, and every few seconds, the rows are counted by the second index of migration 2 (jobs.c).  Such a count
 * replaces what memory says of the rows when nothing was under way meanwhile, and always when other processes
 * write to the same database, which shows in there being more events of new submissions than this process has made:
 * then the bounds are kept up to what the others take between two counts.
 *
 * Retry-After is how long the queue needs, at the rate at which submissions have ended in the last minute, until there
 * is room again for the hundredth part of the bound, or for as many as were refused in the last second if those are
 * more, since all of them will be back.
 *
 * One lock guards everything.
 */
#include "local.h"

#include <stdio.h>

#define BUCKETS_FIRST 256
#define RATE_S 60 /* the window of the drain rate */
#define RETRY_MAX_S 120
#define RETRY_UNKNOWN_S 5 /* before anything has ended */

enum scope { SCOPE_SUBMITTER, SCOPE_BENCHMARK };

/* What waits of one submitter or benchmark. It is there while it counts something. */
struct tally {
    struct tally *next;
    enum scope scope;
    uint32_t hash;
    int64_t n, pending; /* rows; of which being written, so no count can have seen them */
    size_t key_n;
    char key[];
};

struct admission {
    pthread_mutex_t lock;
    struct admission_bounds bounds;
    struct tally **bucket;
    size_t n_buckets, n_tallies;
    int64_t n, pending, bytes, pending_bytes, submitters;
    int64_t oldest_ms;  /* as of the last count; 0: none */
    int64_t made, seen; /* submissions that this process has written, and events of new ones */
    uint64_t changes;
    int under_way; /* changes of the rows that memory does not show yet */
    int64_t ended[RATE_S], refused[2], second; /* per second of the monotonic clock */
    int64_t begun_s;
};

const char *const admission_bound_names[ADMISSION_BOUNDS] = {"queue_max", "queue_max_bytes", "queue_max_per_user",
                                                             "queue_max_per_benchmark"};

struct admission *admission_new(const struct admission_bounds *bounds, int64_t mono_ms)
{
    struct admission *a = calloc(1, sizeof *a);
    if (a == NULL)
        return NULL;
    a->bucket = calloc(BUCKETS_FIRST, sizeof *a->bucket);
    if (a->bucket == NULL) {
        free(a);
        return NULL;
    }
    a->n_buckets = BUCKETS_FIRST;
    a->bounds = *bounds;
    a->begun_s = a->second = mono_ms / 1000;
    pthread_mutex_init(&a->lock, NULL);
    return a;
}

void admission_free(struct admission *a)
{
    if (a == NULL)
        return;
    for (size_t b = 0; b < a->n_buckets; b++) {
        while (a->bucket[b] != NULL) {
            struct tally *t = a->bucket[b];
            a->bucket[b] = t->next;
            free(t);
        }
    }
    free(a->bucket);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* ---- the table; under the lock ---------------------------------------------------------------------- */

static uint32_t hash_of(enum scope scope, struct assay_str key)
{
    uint32_t h = 2166136261u ^ (uint32_t)scope;
    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (unsigned char)key.p[i]) * 16777619u;
    return h;
}

static struct tally **find(struct admission *a, enum scope scope, struct assay_str key, uint32_t hash)
{
    struct tally **at = &a->bucket[hash & (a->n_buckets - 1)];
    while (*at != NULL && ((*at)->hash != hash || (*at)->scope != scope || !assay_str_eq((struct assay_str){(*at)->key, (*at)->key_n}, key)))
        at = &(*at)->next;
    return at;
}

static void grow(struct admission *a)
{
    size_t n = a->n_buckets * 2;
    struct tally **bucket = calloc(n, sizeof *bucket);
    if (bucket == NULL) /* longer chains are slower, and nothing else */
        return;
    for (size_t b = 0; b < a->n_buckets; b++) {
        while (a->bucket[b] != NULL) {
            struct tally *t = a->bucket[b];
            a->bucket[b] = t->next;
            t->next = bucket[t->hash & (n - 1)];
            bucket[t->hash & (n - 1)] = t;
        }
    }
    free(a->bucket);
    a->bucket = bucket;
    a->n_buckets = n;
}

/* NULL: no memory */
static struct tally *find_or_add(struct admission *a, enum scope scope, struct assay_str key)
{
    uint32_t hash = hash_of(scope, key);
    struct tally **at = find(a, scope, key, hash);
    if (*at != NULL)
        return *at;
    struct tally *t = calloc(1, sizeof *t + key.n);
    if (t == NULL)
        return NULL;
    t->scope = scope;
    t->hash = hash;
    t->key_n = key.n;
    if (key.n != 0)
        memcpy(t->key, key.p, key.n);
    *at = t;
    a->submitters += scope == SCOPE_SUBMITTER;
    if (++a->n_tallies > 2 * a->n_buckets)
        grow(a);
    return t;
}

static void drop_if_empty(struct admission *a, enum scope scope, struct assay_str key)
{
    struct tally **at = find(a, scope, key, hash_of(scope, key)), *t = *at;
    if (t == NULL || t->n != 0 || t->pending != 0)
        return;
    *at = t->next;
    a->submitters -= scope == SCOPE_SUBMITTER;
    a->n_tallies--;
    free(t);
}

static struct assay_str key_of(const struct place *p, enum scope scope)
{
    return scope == SCOPE_SUBMITTER ? p->submitter : p->benchmark_id;
}

/* A task has no benchmark. No memory for a tally: the place counts in all, and not in its own; the next count mends that. */
static void count(struct admission *a, const struct place *p, int64_t n, int64_t pending)
{
    a->n += n;
    a->pending += pending;
    a->bytes += n * p->bytes;
    a->pending_bytes += pending * p->bytes;
    a->changes++;
    for (enum scope scope = SCOPE_SUBMITTER; scope <= SCOPE_BENCHMARK; scope++) {
        struct assay_str key = key_of(p, scope);
        if (key.n == 0)
            continue;
        struct tally *t = find_or_add(a, scope, key);
        if (t == NULL)
            continue;
        t->n += n;
        t->pending += pending;
        drop_if_empty(a, scope, key);
    }
}

/* ---- the clock; under the lock ------------------------------------------------------------------------ */

static void to_second(struct admission *a, int64_t mono_ms)
{
    int64_t now = mono_ms / 1000;
    if (now - a->second >= RATE_S) {
        memset(a->ended, 0, sizeof a->ended);
        memset(a->refused, 0, sizeof a->refused);
        a->second = now;
    }
    while (a->second < now) {
        a->second++;
        a->ended[a->second % RATE_S] = 0;
        a->refused[a->second % 2] = 0;
    }
}

static double rate(struct admission *a)
{
    int64_t n = 0, s = a->second - a->begun_s + 1;
    for (int i = 0; i < RATE_S; i++)
        n += a->ended[i];
    return (double)n / (double)(s > RATE_S ? RATE_S : s);
}

static int64_t retry_after(struct admission *a, enum admission_bound bound, int64_t limit)
{
    double per_s = rate(a);
    if (per_s <= 0)
        return a->second - a->begun_s < RATE_S ? RETRY_UNKNOWN_S : RETRY_MAX_S;
    int64_t places = limit / 100, back = a->refused[(a->second + 1) % 2];
    if (bound == BOUND_USER && a->submitters > 1) /* who waits in a queue of turns gets his share */
        per_s /= (double)a->submitters;
    else if (bound == BOUND_BYTES)
        places = a->n / 100;
    if (bound != BOUND_USER && places < back)
        places = back;
    double s = (double)(places > 1 ? places : 1) / per_s;
    return s <= 1 ? 1 : s >= RETRY_MAX_S ? RETRY_MAX_S : (int64_t)(s + 0.999);
}

/* ---- entering and leaving ------------------------------------------------------------------------------- */

static int64_t waiting(struct admission *a, enum scope scope, struct assay_str key)
{
    const struct tally *t = key.n != 0 ? *find(a, scope, key, hash_of(scope, key)) : NULL;
    return t != NULL ? t->n + t->pending : 0;
}

bool admission_enter(struct admission *a, const struct place *p, int64_t mono_ms, struct admission_refusal *why)
{
    pthread_mutex_lock(&a->lock);
    int64_t all = a->n + a->pending, bytes = a->bytes + a->pending_bytes;
    const struct {
        enum admission_bound bound;
        int64_t limit, is;
        bool full;
    } row[] = {
        /* one's own first: it says what the client can do about it */
        {BOUND_USER, a->bounds.per_user, waiting(a, SCOPE_SUBMITTER, p->submitter), false},
        {BOUND_BENCHMARK, p->benchmark_id.n != 0 ? a->bounds.per_benchmark : 0, waiting(a, SCOPE_BENCHMARK, p->benchmark_id), false},
        {BOUND_ALL, a->bounds.all, all, false},
        /* one that is larger than the bound is taken when nothing else waits */
        {BOUND_BYTES, a->bounds.bytes, bytes, bytes > 0 && bytes + p->bytes > a->bounds.bytes},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        bool full = row[i].bound == BOUND_BYTES ? row[i].full : row[i].is >= row[i].limit;
        if (row[i].limit <= 0 || !full)
            continue;
        to_second(a, mono_ms);
        a->refused[a->second % 2]++;
        *why = (struct admission_refusal){.bound = row[i].bound,
                                          .limit = row[i].limit,
                                          .is = row[i].is,
                                          .retry_after_s = retry_after(a, row[i].bound, row[i].limit)};
        pthread_mutex_unlock(&a->lock);
        return false;
    }
    count(a, p, 0, 1);
    pthread_mutex_unlock(&a->lock);
    return true;
}

void admission_come(struct admission *a, const struct place *p)
{
    pthread_mutex_lock(&a->lock);
    count(a, p, 0, 1);
    pthread_mutex_unlock(&a->lock);
}

void admission_written(struct admission *a, const struct place *p, bool there)
{
    pthread_mutex_lock(&a->lock);
    count(a, p, there ? 1 : 0, -1);
    a->made += there;
    pthread_mutex_unlock(&a->lock);
}

void admission_back(struct admission *a, const struct place *p)
{
    pthread_mutex_lock(&a->lock);
    count(a, p, 1, 0);
    pthread_mutex_unlock(&a->lock);
}

void admission_leave(struct admission *a, const struct place *p)
{
    pthread_mutex_lock(&a->lock);
    count(a, p, -1, 0);
    pthread_mutex_unlock(&a->lock);
}

void admission_begin(struct admission *a)
{
    pthread_mutex_lock(&a->lock);
    a->under_way++;
    pthread_mutex_unlock(&a->lock);
}

void admission_end(struct admission *a)
{
    pthread_mutex_lock(&a->lock);
    a->under_way--;
    a->changes++;
    pthread_mutex_unlock(&a->lock);
}

void admission_ended(struct admission *a, int64_t mono_ms)
{
    pthread_mutex_lock(&a->lock);
    to_second(a, mono_ms);
    a->ended[a->second % RATE_S]++;
    pthread_mutex_unlock(&a->lock);
}

void admission_seen(struct admission *a)
{
    pthread_mutex_lock(&a->lock);
    a->seen++;
    pthread_mutex_unlock(&a->lock);
}

/* ---- counts of the rows ------------------------------------------------------------------------------------ */

uint64_t admission_count_begin(struct admission *a)
{
    pthread_mutex_lock(&a->lock);
    uint64_t at = a->under_way == 0 && a->pending == 0 ? a->changes : UINT64_MAX;
    pthread_mutex_unlock(&a->lock);
    return at;
}

/* All that rows say is taken back, and what is being written stays. */
static void forget_rows(struct admission *a)
{
    a->n = a->bytes = 0;
    for (size_t b = 0; b < a->n_buckets; b++) {
        for (struct tally **at = &a->bucket[b]; *at != NULL;) {
            struct tally *t = *at;
            t->n = 0;
            if (t->pending != 0) {
                at = &t->next;
                continue;
            }
            *at = t->next;
            a->submitters -= t->scope == SCOPE_SUBMITTER;
            a->n_tallies--;
            free(t);
        }
    }
}

bool admission_count_end(struct admission *a, uint64_t begun, const struct admission_row *row, size_t n, int64_t *off_by)
{
    int64_t total = 0, bytes = 0, oldest = 0;
    for (size_t i = 0; i < n; i++) {
        total += row[i].n;
        bytes += row[i].bytes;
        if (oldest == 0 || row[i].oldest_ms < oldest)
            oldest = row[i].oldest_ms;
    }
    pthread_mutex_lock(&a->lock);
    a->oldest_ms = oldest;
    bool shared = a->seen > a->made + a->pending, quiet = begun == a->changes && a->under_way == 0;
    bool taken = shared || quiet;
    *off_by = taken ? total - a->n : 0;
    if (taken) {
        uint64_t changes = a->changes;
        forget_rows(a);
        for (size_t i = 0; i < n; i++) {
            struct place p = {.submitter = row[i].submitter, .benchmark_id = row[i].benchmark_id, .bytes = 0};
            count(a, &p, row[i].n, 0);
        }
        a->bytes = bytes;
        a->changes = changes + 1;
    }
    pthread_mutex_unlock(&a->lock);
    return taken && !shared;
}

struct admission_state admission_state(struct admission *a, int64_t mono_ms)
{
    pthread_mutex_lock(&a->lock);
    to_second(a, mono_ms);
    struct admission_state st = {.queued = a->n + a->pending,
                                 .bytes = a->bytes + a->pending_bytes,
                                 .submitters = a->submitters,
                                 .oldest_ms = a->n > 0 ? a->oldest_ms : 0,
                                 .drain_per_s = rate(a)};
    pthread_mutex_unlock(&a->lock);
    return st;
}

/* ---- what a refused client is told ---------------------------------------------------------------------------- */

int admission_refusal_code(const struct admission_refusal *why)
{
    return why->bound == BOUND_USER ? ASSAY_E_RATE : ASSAY_E_BUSY;
}

void admission_refusal_text(const struct admission_refusal *why, char *out, size_t room)
{
    static const char *const text[ADMISSION_BOUNDS] = {
        [BOUND_ALL] = "submissions wait, as many as this server takes",
        [BOUND_BYTES] = "bytes of submissions wait, as many as this server keeps",
        [BOUND_USER] = "of your submissions wait, as many as one submitter may have",
        [BOUND_BENCHMARK] = "submissions to this benchmark wait, as many as one benchmark may have",
    };
    (void)snprintf(out, room, "%lld %s (%s = %lld); send it again in %lld s", (long long)why->is, text[why->bound],
                   admission_bound_names[why->bound], (long long)why->limit, (long long)why->retry_after_s);
}
