/*
 * The counted buckets of the leaderboard against a full recomputation, over the real store.  Its
 * statements are compiled here with buckets of 4 to 8, so that a few hundred agents split and fold
 * hundreds of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "local.h"
#include "store_host.h"

extern const struct assay_plugin assay_plugin; /* the store's */

#define BUCKET_MOST 8 /* BUCKET_MAX, BUCKET_HALF: see room.mk */
#define BUCKET_LEAST 4

enum { BOARDS = 2, AGENTS = 250, SUBMISSIONS = 1500 };
static const char *const boards[BOARDS] = {"left", "right"};

static const struct assay_stmt all_buckets = {
    .name = "test.buckets",
    .sql = "SELECT down, created_ms, submission_id, n FROM leaderboard_buckets WHERE benchmark_id = $1"
           " ORDER BY down, created_ms, submission_id",
    .params = "t",
    .columns = "riti"};

/* What has been told to the service, to recompute a board from. */
struct model {
    struct {
        bool there;
        int board, agent;
        double score;
        int64_t created_ms;
    } submission[SUBMISSIONS];
    bool gone[AGENTS];
    size_t most[BOARDS]; /* entries that a board ever had */
};

struct fixture {
    struct store_host host;
    struct assay_store st;
    char *dir;
    struct model m;
    uint64_t seed;
    char agent[AGENTS][24];
    char submission[SUBMISSIONS][40];
    struct lb_touch touch[ASSAY_TX_OPS]; /* of the transaction that is being made */
    size_t n_touch;
};

static unsigned below(struct fixture *f, unsigned n)
{
    f->seed = f->seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(f->seed >> 33) % n;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct assay_err err = {0};
    assert_non_null(f);
    f->dir = sh_tempdir();
    sh_init(&f->host, &assay_plugin);
    sh_option(&f->host, "data_dir", f->dir);
    f->st.ops = assay_plugin.driver;
    if (assay_plugin.init(&f->host.host, &f->st.self, &err) != 0 ||
        f->st.ops->migrate(f->st.self, "leaderboard", leaderboard_migrations, LEADERBOARD_MIGRATIONS, &err) != 0 ||
        f->st.ops->prepare(f->st.self, leaderboard_statements, LEADERBOARD_STATEMENTS, &err) != 0 ||
        f->st.ops->start(f->st.self, NULL, NULL, &err) != 0)
        fail_msg("%s", err.msg);
    for (int i = 0; i < AGENTS; i++)
        (void)snprintf(f->agent[i], sizeof f->agent[i], "agent-%d", i);
    for (int i = 0; i < SUBMISSIONS; i++)
        (void)snprintf(f->submission[i], sizeof f->submission[i], "01900000-0000-7000-8000-%012d", i);
    f->seed = 20261121;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->st.ops->stop(f->st.self);
    assay_plugin.fini(f->st.self);
    sh_remove(f->dir);
    free(f->dir);
    free(f);
    return 0;
}

/* ---- telling -------------------------------------------------------------------------------------- */

static void forget(struct fixture *f, int i)
{
    size_t kept = 0;
    for (size_t k = 0; k < f->n_touch; k++)
        if (!assay_str_is(f->touch[k].submission_id, f->submission[i]))
            f->touch[kept++] = f->touch[k];
    f->n_touch = kept;
}

static void tell_score(struct fixture *f, struct assay_tx *tx, int i)
{
    struct assay_ev_score s = {.submission_id = assay_str(f->submission[i]),
                               .problem_id = ASSAY_STR("p"),
                               .agent_id = assay_str(f->agent[f->m.submission[i].agent]),
                               .owner_id = ASSAY_STR("o"),
                               .benchmark_id = assay_str(boards[f->m.submission[i].board]),
                               .verdict = ASSAY_STR("OK"),
                               .score = f->m.submission[i].score,
                               .created_ms = f->m.submission[i].created_ms};
    f->m.submission[i].there = true;
    forget(f, i);
    assert_int_equal(lb_score(tx, &s, NULL), 0);
    f->touch[f->n_touch++] = (struct lb_touch){s.submission_id, s.benchmark_id, s.agent_id, s.problem_id, s.score};
}

static void tell_deleted(struct fixture *f, struct assay_tx *tx, int i)
{
    f->m.submission[i].there = false;
    forget(f, i);
    assert_int_equal(lb_remove_submission(tx, assay_str(f->submission[i]), ASSAY_STR("left"), NULL), 0);
}

static void tell_agent(struct fixture *f, struct assay_tx *tx, int a, bool gone)
{
    struct assay_ev_agent ev = {.owner_id = ASSAY_STR("o"), .name = ASSAY_STR("A"), .deleted = gone};
    f->m.gone[a] = gone;
    lb_project_agent(tx, assay_str(f->agent[a]), &ev);
}

static void commit(struct fixture *f, struct assay_tx *tx)
{
    struct assay_err err = {0};
    assert_int_equal(lb_settle(tx, f->touch, f->n_touch, &err), 0);
    f->n_touch = 0;
    if (assay_store_exec(&f->st, tx, &err) != 0)
        fail_msg("%s", err.msg);
}

/* ---- recomputing ---------------------------------------------------------------------------------- */

static int by_lb_order(const void *a, const void *b)
{
    return lb_order(a, b);
}

static size_t recompute(const struct fixture *f, int board, struct lb_entry *out)
{
    size_t n = 0;
    for (int a = 0; a < AGENTS; a++) {
        struct lb_entry best = {.created_ms = -1};
        for (int i = 0; i < SUBMISSIONS && !f->m.gone[a]; i++) {
            if (!f->m.submission[i].there || f->m.submission[i].agent != a || f->m.submission[i].board != board)
                continue;
            struct lb_entry e = {.agent_id = assay_str(f->agent[a]),
                                 .submission_id = assay_str(f->submission[i]),
                                 .score = f->m.submission[i].score,
                                 .created_ms = f->m.submission[i].created_ms};
            if (best.created_ms < 0 || lb_order(&e, &best) < 0)
                best = e;
        }
        if (best.created_ms >= 0)
            out[n++] = best;
    }
    qsort(out, n, sizeof *out, by_lb_order);
    return n;
}

/* Each page of 17, and each agent's rank. */
static void compare_board(struct fixture *f, int board, const struct lb_entry *want, size_t n)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_str id = assay_str(boards[board]);
    struct lb_place from = {.rank = 0};
    size_t got_n = 17, at = 0;
    while (got_n == 17) {
        struct lb_entry *got;
        assert_int_equal(lb_top(&f->st, id, &from, 17, arena, &got, &got_n, NULL), 0);
        for (size_t i = 0; i < got_n; i++, at++) {
            assert_true(at < n);
            assert_true(assay_str_eq(got[i].submission_id, want[at].submission_id));
            assert_true(assay_str_eq(got[i].agent_id, want[at].agent_id));
            assert_true(got[i].score == want[at].score && got[i].created_ms == want[at].created_ms);
            from = (struct lb_place){(int64_t)at + 1, got[i].score, got[i].created_ms, got[i].submission_id};
        }
    }
    assert_int_equal(at, n);
    size_t found_n = 0;
    for (int a = 0; a < AGENTS; a++) {
        struct lb_entry e;
        int64_t rank = 0;
        bool found = false;
        assert_int_equal(lb_of_agent(&f->st, id, assay_str(f->agent[a]), arena, &e, &rank, &found, NULL), 0);
        if (!found)
            continue;
        found_n++;
        assert_true(rank >= 1 && (size_t)rank <= n);
        assert_true(assay_str_eq(e.agent_id, want[rank - 1].agent_id));
    }
    assert_int_equal(found_n, n);
}

/* Each bucket holds what lies between it and the next, none is too large, and there are not too many. */
static size_t compare_buckets(struct fixture *f, int board, const struct lb_entry *want, size_t n)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows;
    assert_int_equal(ASSAY_QUERY(&f->st, &all_buckets, arena, &rows, NULL, ASSAY_VT(assay_str(boards[board]))), 0);
    if (n > f->m.most[board])
        f->m.most[board] = n;
    size_t at = 0;
    for (size_t i = 0; i < rows.n; i++) {
        int64_t in = 0;
        for (; at < n; at++, in++) {
            if (i + 1 == rows.n)
                continue;
            const struct assay_val *c = rows.row[i + 1].col;
            struct lb_entry next = {.score = 0 - c[0].r, .created_ms = c[1].i, .submission_id = c[2].s};
            if (lb_order(&want[at], &next) >= 0)
                break;
        }
        assert_int_equal(rows.row[i].col[3].i, in);
        assert_true(in <= BUCKET_MOST);
    }
    assert_int_equal(at, n);
    assert_true(rows.n <= 2 * f->m.most[board] / BUCKET_LEAST + 2);
    return rows.n;
}

static size_t compare(struct fixture *f)
{
    size_t n_buckets = 0;
    for (int b = 0; b < BOARDS; b++) {
        struct lb_entry want[AGENTS];
        size_t n = recompute(f, b, want);
        compare_board(f, b, want, n);
        n_buckets += compare_buckets(f, b, want, n);
    }
    return n_buckets;
}

/* ---- tests ---------------------------------------------------------------------------------------- */

static void ten_thousand_operations_equal_a_recomputation(void **state)
{
    struct fixture *f = *state;
    size_t most = 0;
    for (int done = 0; done < 10000;) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_tx *tx = assay_tx_new(arena, "test");
        for (int k = 0; k < 20; k++, done++) {
            int i = (int)below(f, SUBMISSIONS);
            unsigned what = below(f, 100);
            if (what < 4) {
                int a = (int)below(f, AGENTS);
                tell_agent(f, tx, a, !f->m.gone[a]);
            } else if (what < 20) {
                tell_deleted(f, tx, i);
            } else {
                if (!f->m.submission[i].there) {
                    f->m.submission[i].agent = (int)below(f, AGENTS);
                    f->m.submission[i].board = (int)below(f, BOARDS);
                    f->m.submission[i].created_ms = (int64_t)below(f, 5) * 1000;
                }
                /* many alike, then all sorts, negative ones among them */
                f->m.submission[i].score = done % 5000 < 2500 ? (double)below(f, 3) * 50 : (double)below(f, 9999) / 7 - 99;
                tell_score(f, tx, i);
            }
        }
        commit(f, tx);
        if (done % 500 == 0) {
            size_t n = compare(f);
            most = n > most ? n : most;
        }
    }
    assert_true(compare(f) > 0 && most > 40);
    for (int a = 0; a < AGENTS; a += 5) { /* all leave, all return */
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_tx *tx = assay_tx_new(arena, "test");
        for (int k = a; k < a + 5; k++)
            tell_agent(f, tx, k, true);
        commit(f, tx);
    }
    (void)compare(f);
    for (int a = 0; a < AGENTS; a += 5) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_tx *tx = assay_tx_new(arena, "test");
        for (int k = a; k < a + 5; k++)
            tell_agent(f, tx, k, false);
        commit(f, tx);
    }
    (void)compare(f);
}

/* Scores that only rise leave a trail of buckets behind, each with the few that did not go along:
 * they must be folded. */
/* a deletion and a score for each go into one transaction */
#define TOGETHER (ASSAY_TX_OPS / LB_OPS_PER_EVENT / 2)

static void rising_scores_do_not_leave_buckets_behind(void **state)
{
    struct fixture *f = *state;
    int climber[AGENTS], n = AGENTS;
    for (int k = 0; k < AGENTS; k++)
        climber[k] = k;
    for (int round = 0; n > 5; round++) {
        for (int at = 0; at < n; at += TOGETHER) {
            ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
            struct assay_tx *tx = assay_tx_new(arena, "test");
            for (int k = at; k < n && k < at + TOGETHER; k++) {
                int i = round % (SUBMISSIONS / AGENTS) * AGENTS + climber[k];
                if (f->m.submission[i].there)
                    tell_deleted(f, tx, i);
                f->m.submission[i].agent = climber[k];
                f->m.submission[i].score = round * 1000 + k;
                f->m.submission[i].created_ms = round;
                tell_score(f, tx, i);
            }
            commit(f, tx);
        }
        (void)compare(f);
        int left = 0;
        for (int k = 0; k < n; k++)
            if (k % BUCKET_LEAST != 0)
                climber[left++] = climber[k];
        n = left;
    }
}

/* However many scores of an agent a transaction brings: each cell is made once, and the entry is moved once. */
static void a_batch_makes_each_cell_once(void **state)
{
    struct fixture *f = *state;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = assay_tx_new(arena, "test");
    for (int i = 0; i < 100; i++) {
        f->m.submission[i].agent = i % 2;
        f->m.submission[i].score = i % 37;
        f->m.submission[i].created_ms = i;
        tell_score(f, tx, i);
    }
    commit(f, tx);
    size_t cells = 0, moves = 0, scores = 0;
    for (size_t i = 0; i < tx->n_ops; i++) {
        cells += strcmp(tx->op[i].stmt->name, "leaderboard.cell_put") == 0;
        moves += strcmp(tx->op[i].stmt->name, "leaderboard.uncount") == 0;
        scores += strcmp(tx->op[i].stmt->name, "leaderboard.score_put") == 0;
    }
    assert_int_equal(scores, 100);
    assert_int_equal(cells, 2);
    assert_int_equal(moves, 2);
    assert_true(tx->n_ops < 400);
    (void)compare(f);
}

static void a_page_goes_on_where_the_last_one_ended(void **state)
{
    struct fixture *f = *state;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    for (int i = 0; i < 20; i++) {
        struct assay_tx *tx = assay_tx_new(arena, "test");
        f->m.submission[i].agent = i;
        f->m.submission[i].score = i % 2 ? 50 : 100;
        f->m.submission[i].created_ms = 1000;
        tell_score(f, tx, i);
        commit(f, tx);
    }
    struct lb_entry *e;
    size_t n;
    struct lb_place from = {.rank = 0};
    assert_int_equal(lb_top(&f->st, ASSAY_STR("left"), &from, 5, arena, &e, &n, NULL), 0);
    assert_int_equal(n, 5); /* submissions 0 2 4 6 8 */
    from = (struct lb_place){5, e[4].score, e[4].created_ms, e[4].submission_id};
    struct assay_tx *tx = assay_tx_new(arena, "test");
    tell_deleted(f, tx, 8); /* the very one that the page ended with */
    f->m.submission[20].agent = 20;
    f->m.submission[20].score = 999; /* one before it */
    f->m.submission[20].created_ms = 1000;
    tell_score(f, tx, 20);
    commit(f, tx);
    assert_int_equal(lb_top(&f->st, ASSAY_STR("left"), &from, 100, arena, &e, &n, NULL), 0);
    assert_int_equal(n, 15);
    for (size_t i = 0; i < n; i++) {
        size_t want = i < 5 ? 10 + 2 * i : 1 + 2 * (i - 5);
        assert_true(assay_str_eq(e[i].submission_id, assay_str(f->submission[want])));
    }
    (void)compare(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(ten_thousand_operations_equal_a_recomputation),
        T(rising_scores_do_not_leave_buckets_behind),
        T(a_batch_makes_each_cell_once),
        T(a_page_goes_on_where_the_last_one_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
