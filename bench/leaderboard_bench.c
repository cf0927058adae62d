/*
 * A board of a million agents: what a rank, the top and a change of the board cost.
 *
 *   leaderboard_bench [--agents N] [--reads N] [--data DIR]
 *
 * Fills a real SQLite store by the service's own statements, one score for each agent: a fifth have
 * full marks, a tenth none, the rest anything between, so that both ties and spread are met.  Then it
 * asks through the service's handler, checks each rank that it got by counting the rows before it, and
 * prints medians.  With --data the database of a server's data directory is filled (stop the server
 * first) and kept, for leaderboard_http.py.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <assay/plugin.h>
#include <assay/value.h>

#include "../services/leaderboard/local.h"
#include "../tests/unit/store_host.h"

extern const struct assay_plugin assay_plugin; /* the store's */

#define BOARD "million"
#define READS_MAX 100000

static const struct assay_stmt count_before = {
    .name = "bench.count_before",
    .sql = "SELECT COUNT(*) FROM leaderboard_entries f, leaderboard_entries e WHERE e.benchmark_id = $1 AND e.agent_id = $2"
           " AND f.benchmark_id = $1 AND (f.down, f.created_ms, f.submission_id) < (e.down, +e.created_ms,"
           " e.submission_id || '')",
    .params = "tt",
    .columns = "i"};
static const struct assay_stmt count_buckets = {.name = "bench.count_buckets",
                                                .sql = "SELECT COUNT(*) FROM leaderboard_buckets WHERE benchmark_id = $1",
                                                .params = "t",
                                                .columns = "i"};
static const struct assay_principal viewer = {.authenticated = true,
                                              .role = ASSAY_ROLE_VIEWER,
                                              .role_name = {"viewer", 6},
                                              .user_id = {"00000000-0000-7000-8000-000000000003", 36}};

static uint64_t seed = 88172645463325252u;

static uint64_t any(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static _Noreturn void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "leaderboard_bench: %s: %s\n", what, why);
    exit(1);
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t cpu_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* cpu: of this thread for all of them; it tells the cost on a busy machine too */
static void print(const char *what, int64_t *ns, size_t n, int64_t cpu)
{
    qsort(ns, n, sizeof *ns, by_time);
    printf("%-28s %8.3f ms median %8.3f ms p99 %8.3f ms cpu (%zu)\n", what, (double)ns[n / 2] / 1e6,
           (double)ns[n * 99 / 100] / 1e6, (double)cpu / 1e6 / (double)n, n);
}

static void score(struct assay_tx *tx, int64_t submission, int64_t agent, double points)
{
    struct assay_err err = {0};
    struct assay_ev_score s = {
        .submission_id = assay_arena_fmt(tx->arena, "01900000-0000-7000-8000-%012lld", (long long)submission),
        .problem_id = ASSAY_STR("01900000-0000-7000-8000-00000000000a"),
        .agent_id = assay_arena_fmt(tx->arena, "agent-%lld", (long long)agent),
        .owner_id = assay_arena_fmt(tx->arena, "00000000-0000-7000-8000-%012lld", (long long)agent % 100000),
        .benchmark_id = ASSAY_STR(BOARD),
        .verdict = ASSAY_STR("OK"),
        .score = points,
        .created_ms = 1700000000000 + (int64_t)(any() % 86400) * 1000};
    struct lb_touch t = {s.submission_id, s.benchmark_id, s.agent_id, s.problem_id, points};
    if (lb_score(tx, &s, &err) != 0 || lb_settle(tx, &t, 1, &err) != 0)
        die("score", err.msg);
}

static void commit(const struct assay_store *st, struct assay_tx *tx)
{
    struct assay_err err = {0};
    tx->n_events = 0;
    if (assay_store_exec(st, tx, &err) != 0)
        die("store", err.msg);
}

/* Transactions on their way to the disk: many share a commit there. */
#define FLIGHT 64
static struct {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t landed;
    int n;
} flight = {.lock = PTHREAD_MUTEX_INITIALIZER, .landed = PTHREAD_COND_INITIALIZER};

static void landed(struct assay_tx *tx, void *arg)
{
    if (tx->status != 0)
        die("store", tx->err.msg);
    assay_arena_free(arg);
    (void)pthread_mutex_lock(&flight.lock);
    flight.n--;
    (void)pthread_cond_signal(&flight.landed);
    (void)pthread_mutex_unlock(&flight.lock);
}

static void wait_below(int most)
{
    (void)pthread_mutex_lock(&flight.lock);
    while (flight.n >= most)
        (void)pthread_cond_wait(&flight.landed, &flight.lock);
    flight.n++;
    (void)pthread_mutex_unlock(&flight.lock);
}

static void fill(const struct assay_store *st, int64_t agents)
{
    int64_t begun = assay_mono_ns(), said = 0;
    struct assay_ev_benchmark b = {.owner_id = viewer.user_id, .visibility = ASSAY_VISIBLE_PUBLIC, .feedback = ASSAY_FEEDBACK_FULL};
    for (int64_t at = 0; at < agents;) {
        struct assay_err err = {0};
        struct assay_arena *arena = assay_arena_new(0); /* landed() frees it */
        struct assay_tx *tx = assay_tx_new(arena, "bench.fill");
        if (at == 0)
            if (lb_project_benchmark(tx, ASSAY_STR(BOARD), &b, &err) != 0)
                die("project", err.msg);
        for (; at < agents && tx->n_ops + LB_OPS_PER_EVENT <= ASSAY_TX_OPS; at++) {
            unsigned kind = (unsigned)(any() % 10);
            score(tx, at, at, kind < 2 ? 100 : kind < 3 ? 0 : (double)(any() % 100000) / 1000);
        }
        tx->n_events = 0; /* nobody waits for them, and they are not what is measured */
        wait_below(FLIGHT);
        if (assay_store_exec_async(st, tx, landed, arena, &err) != 0)
            die("store", err.msg);
        if (at / 100000 != said)
            (void)fprintf(stderr, "%lld agents after %.0f s\n", (long long)at, (double)(assay_mono_ns() - begun) / 1e9);
        said = at / 100000;
    }
    wait_below(1);
    flight.n = 0;
}

/* Through the handler, as a request would; the body is left in rs. */
static void get(struct leaderboard *s, struct assay_arena *arena, struct assay_str query, struct assay_response *rs)
{
    struct assay_err err = {0};
    struct assay_request rq = {.path = ASSAY_STR("/leaderboard"), .query = query, .who = &viewer, .arena = arena};
    if (leaderboard_http_get(s, &rq, rs, &err) != 0)
        die("request", err.msg);
}

int main(int argc, char **argv)
{
    int64_t agents = 1000000, reads = 1000;
    const char *data = NULL;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            die(argv[i], "takes a value");
        if (strcmp(argv[i], "--data") == 0)
            data = argv[i + 1];
        else if (strcmp(argv[i], "--agents") != 0 && strcmp(argv[i], "--reads") != 0)
            die(argv[i], "is not an option");
        else if (argv[i][2] == 'a' ? assay_parse_i64(assay_str(argv[i + 1]), 1, 100000000, &agents, NULL) != 0
                                   : assay_parse_i64(assay_str(argv[i + 1]), 1, READS_MAX, &reads, NULL) != 0)
            die(argv[i], "takes a number");
    }
    char *dir = data ? NULL : sh_tempdir();
    struct store_host h;
    struct assay_err err = {0};
    void *self = NULL;
    sh_init(&h, &assay_plugin);
    sh_option(&h, "data_dir", data ? data : dir);
    if (assay_plugin.init(&h.host, &self, &err) != 0)
        die("store", err.msg);
    struct assay_store st = {assay_plugin.driver, self};
    h.host.store = &st;
    if (st.ops->migrate(self, "leaderboard", leaderboard_migrations, LEADERBOARD_MIGRATIONS, &err) != 0 ||
        st.ops->prepare(self, leaderboard_statements, LEADERBOARD_STATEMENTS, &err) != 0 ||
        st.ops->start(self, NULL, NULL, &err) != 0)
        die("store", err.msg);
    struct leaderboard s = {.magic = LEADERBOARD_MAGIC, .host = &h.host};
    int64_t *ns = calloc((size_t)reads, sizeof *ns);
    if (!ns)
        die("memory", "there is none");

    int64_t begun = assay_mono_ns();
    fill(&st, agents);
    printf("%-28s %8.3f ms mean\n", "one of the first scores", (double)(assay_mono_ns() - begun) / 1e6 / (double)agents);

    int64_t checked = 0, cpu = 0;
    for (int64_t i = 0; i < reads; i++) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_response rs = {.body = ASSAY_BUF_INIT};
        struct assay_str agent = assay_arena_fmt(arena, "agent-%llu", (unsigned long long)(any() % (uint64_t)agents));
        struct assay_str query = assay_arena_fmt(arena, "benchmark_id=" BOARD "&agent_id=%.*s", ASSAY_FMT(agent));
        int64_t before = assay_mono_ns(), cpu_before = cpu_ns();
        get(&s, arena, query, &rs);
        ns[i] = assay_mono_ns() - before;
        cpu += cpu_ns() - cpu_before;
        if (i < 50) {
            struct assay_rows rows;
            if (ASSAY_QUERY(&st, &count_before, arena, &rows, &err, ASSAY_VZ(BOARD), ASSAY_VT(agent)) != 0)
                die("count", err.msg);
            struct assay_str want = assay_arena_fmt(arena, "\"rank\":%lld,", (long long)rows.row[0].col[0].i + 1);
            if (!memmem(rs.body.p, rs.body.n, want.p, want.n))
                die("a rank is wrong", rs.body.p);
            checked++;
        }
        assay_response_clear(&rs);
    }
    print("rank of one agent", ns, (size_t)reads, cpu);
    cpu = 0;
    for (int64_t i = 0; i < reads; i++) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_response rs = {.body = ASSAY_BUF_INIT};
        int64_t before = assay_mono_ns(), cpu_before = cpu_ns();
        get(&s, arena, ASSAY_STR("benchmark_id=" BOARD "&limit=100"), &rs);
        ns[i] = assay_mono_ns() - before;
        cpu += cpu_ns() - cpu_before;
        assay_response_clear(&rs);
    }
    print("top 100", ns, (size_t)reads, cpu);
    cpu = 0;
    for (int64_t i = 0; i < reads; i++) { /* to disk each, alone in its group */
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_tx *tx = assay_tx_new(arena, "bench.score");
        score(tx, agents + i, (int64_t)(any() % (uint64_t)agents), (double)(any() % 100000) / 1000);
        int64_t before = assay_mono_ns(), cpu_before = cpu_ns();
        commit(&st, tx);
        ns[i] = assay_mono_ns() - before;
        cpu += cpu_ns() - cpu_before;
    }
    print("a score more, durable", ns, (size_t)reads, cpu);
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows;
    if (ASSAY_QUERY(&st, &count_buckets, arena, &rows, &err, ASSAY_VZ(BOARD)) != 0)
        die("count", err.msg);
    printf("%lld ranks were as counted; %lld buckets\n", (long long)checked, (long long)rows.row[0].col[0].i);

    st.ops->stop(self);
    assay_plugin.fini(self);
    free(ns);
    if (dir)
        sh_remove(dir);
    free(dir);
    return 0;
}
