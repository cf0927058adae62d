#include "local.h"

#define STMT(n, write_, params_, columns_, sql_)                                                                       \
    const struct assay_stmt benchmarks_q_##n = {                                                                       \
        .name = "benchmarks." #n, .sql = sql_, .params = params_, .columns = columns_, .write = write_}

#define COLUMNS                                                                                                        \
    "b.id, b.owner_id, b.name, b.description, b.visibility, b.feedback, b.starts_ms, b.ends_ms, b.freezes_ms,"         \
    " b.languages, b.entrants, b.version, b.created_ms, b.updated_ms, b.toolchains, b.warm_interpreters," \
    " b.scoring, b.ranking, b.penalty_minutes, b.pass_k, b.thaws_ms, b.priority"
#define LETTERS "ttttiiiiittiiitiiiiiii"
/* how many of a person's agents are entrants of b */
#define ENTRANTS_OF(user)                                                                                              \
    "(SELECT COUNT(*) FROM benchmarks_entrants e JOIN benchmarks_agents g ON g.id = e.agent_id"                        \
    " WHERE e.benchmark_id = b.id AND g.owner_id = " user " AND g.deleted = 0)"

STMT(insert, true, "ttttiiiiittitiiiiiii", "",
     "INSERT INTO benchmarks_benchmarks (id, owner_id, name, description, visibility, feedback, starts_ms, ends_ms,"
     " freezes_ms, languages, entrants, version, deleted, created_ms, updated_ms, toolchains,"
     " warm_interpreters, scoring, ranking, penalty_minutes, pass_k, thaws_ms, priority)"
     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, 0, $12, $12, $13, $14, $15, $16, $17, $18, $19, $20) ON CONFLICT DO NOTHING");
STMT(by_id, false, "tt", LETTERS "i",
     "SELECT " COLUMNS ", " ENTRANTS_OF("$2") " FROM benchmarks_benchmarks b WHERE b.id = $1 AND b.deleted = 0");
/* $3: 1 for staff; $4, $5: the caller's user and, with a token, agent; $6: owner or ''; $7: visibility or -1 */
STMT(list, false, "tiittti", LETTERS "i",
     "SELECT " COLUMNS ", " ENTRANTS_OF("$4") " FROM benchmarks_benchmarks b WHERE b.id > $1 AND b.deleted = 0"
     " AND (CAST($3 AS BIGINT) = 1 OR b.visibility = 0 OR (CAST($5 AS TEXT) = '' AND b.owner_id = $4)"
     " OR (CAST($5 AS TEXT) = '' AND " ENTRANTS_OF("$4") " > 0)"
     " OR EXISTS (SELECT 1 FROM benchmarks_entrants e WHERE e.benchmark_id = b.id AND e.agent_id = $5))"
     " AND (CAST($6 AS TEXT) = '' OR b.owner_id = $6) AND (CAST($7 AS BIGINT) < 0 OR b.visibility = $7)"
     " ORDER BY b.id LIMIT $2");
STMT(update, true, "titttiiiiittitiiiiiii", "",
     "UPDATE benchmarks_benchmarks SET owner_id = $3, name = $4, description = $5, visibility = $6, feedback = $7,"
     " starts_ms = $8, ends_ms = $9, freezes_ms = $10, languages = $11, entrants = $12, version = version + 1,"
     " updated_ms = $13, toolchains = $14, warm_interpreters = $15, scoring = $16, ranking = $17,"
     " penalty_minutes = $18, pass_k = $19, thaws_ms = $20, priority = $21 WHERE id = $1 AND version = $2 AND deleted = 0");
STMT(bump, true, "ti", "",
     "UPDATE benchmarks_benchmarks SET version = version + 1 WHERE id = $1 AND version = $2 AND deleted = 0");
STMT(remove, true, "tii", "",
     "UPDATE benchmarks_benchmarks SET deleted = 1, version = version + 1, updated_ms = $3"
     " WHERE id = $1 AND version = $2 AND deleted = 0");
STMT(entrants_clear, true, "t", "", "DELETE FROM benchmarks_entrants WHERE benchmark_id = $1");
/* $2 holds $3 ids, each padded with spaces to 64 characters */
STMT(entrants_add, true, "tti", "",
     "WITH RECURSIVE n(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM n WHERE k + 1 < $3)"
     " INSERT INTO benchmarks_entrants (benchmark_id, agent_id)"
     " SELECT CAST($1 AS TEXT), rtrim(substr(CAST($2 AS TEXT), k * 64 + 1, 64)) FROM n WHERE k >= 0"
     " ON CONFLICT DO NOTHING");

#define PROBLEM_COLUMNS                                                                                                \
    "id, benchmark_id, name, statement, position, mode, compare, float_abs, float_rel, stop_on_failure,"               \
    " time_limit_ms, wall_limit_ms, memory_limit_bytes, output_limit_bytes, process_limit, harness_language,"          \
    " harness_ref, manifest_ref, test_count, sample_count, version, created_ms, updated_ms, hard_time_limit_ms"
#define PROBLEM_LETTERS "ttttiiirriiiiiitttiiiiii"

STMT(problem_insert, true, "ttttiiirriiiiiitttiiiii", "",
     "INSERT INTO benchmarks_problems (id, benchmark_id, name, statement, position, mode, compare, float_abs, float_rel,"
     " stop_on_failure, time_limit_ms, wall_limit_ms, memory_limit_bytes, output_limit_bytes, process_limit,"
     " harness_language, harness_ref, manifest_ref, test_count, sample_count, version, deleted, created_ms, updated_ms,"
     " hard_time_limit_ms)"
     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, 0, $22,"
     " $22, $23) ON CONFLICT DO NOTHING");
STMT(problem_by_id, false, "t", PROBLEM_LETTERS,
     "SELECT " PROBLEM_COLUMNS " FROM benchmarks_problems WHERE id = $1 AND deleted = 0");
STMT(problem_list, false, "tii", PROBLEM_LETTERS,
     "SELECT " PROBLEM_COLUMNS " FROM benchmarks_problems WHERE benchmark_id = $1 AND position > $2 AND deleted = 0"
     " ORDER BY position LIMIT $3");
STMT(problem_update, true, "tittiiirriiiiiitttiiiii", "",
     "UPDATE benchmarks_problems SET name = $3, statement = $4, position = $5, mode = $6, compare = $7, float_abs = $8,"
     " float_rel = $9, stop_on_failure = $10, time_limit_ms = $11, wall_limit_ms = $12, memory_limit_bytes = $13,"
     " output_limit_bytes = $14, process_limit = $15, harness_language = $16, harness_ref = $17, manifest_ref = $18,"
     " test_count = $19, sample_count = $20, version = $21, updated_ms = $22,"
     " hard_time_limit_ms = $23"
     " WHERE id = $1 AND version = $2 AND deleted = 0");
STMT(problem_remove, true, "tiii", "",
     "UPDATE benchmarks_problems SET deleted = 1, version = $3, updated_ms = $4"
     " WHERE id = $1 AND version = $2 AND deleted = 0");
STMT(problem_remove_all, true, "ti", "",
     "UPDATE benchmarks_problems SET deleted = 1, version = version + 1, updated_ms = $2"
     " WHERE benchmark_id = $1 AND deleted = 0");
STMT(agent_put, true, "ttii", "",
     "INSERT INTO benchmarks_agents (id, owner_id, deleted, seq) VALUES ($1, $2, $3, $4)"
     " ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id, deleted = excluded.deleted, seq = excluded.seq"
     " WHERE benchmarks_agents.seq < excluded.seq");
ASSAY_IDEM_DEFINE(benchmarks_idem, "benchmarks");

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

/* A number from the database that names one of n; a row that says otherwise was not written by us. */
static int enum_of(int64_t v, int n, int *out, struct assay_err *err)
{
    if (v < 0 || v >= n)
        return assay_err_set(err, ASSAY_E_CORRUPT, "a stored row holds %lld where 0 to %d may stand", (long long)v, n - 1);
    *out = (int)v;
    return ASSAY_OK;
}

static int read_benchmark(const struct assay_val *c, struct assay_arena *a, struct benchmark *b, struct assay_err *err)
{
    *b = (struct benchmark){.id = c[0].s, .owner_id = c[1].s, .name = c[2].s, .description = c[3].s, .starts_ms = c[6].i,
                            .ends_ms = c[7].i, .freezes_ms = c[8].i, .version = c[11].i, .created_ms = c[12].i,
                            .updated_ms = c[13].i, .callers_entrant = c[22].i != 0, .priority = c[21].i,
                            .rules = {.penalty_minutes = c[18].i, .pass_k = c[19].i, .thaws_ms = c[20].i}};
    int rc = enum_of(c[4].i, ASSAY_VISIBLE_PRIVATE + 1, &b->visibility, err);
    if (rc == ASSAY_OK)
        rc = enum_of(c[5].i, ASSAY_FEEDBACK_FULL + 1, &b->feedback, err);
    if (rc == ASSAY_OK)
        rc = enum_of(c[15].i, ASSAY_WARM_ON + 1, &b->warm_interpreters, err);
    if (rc == ASSAY_OK)
        rc = enum_of(c[16].i, ASSAY_SCORING_MEAN + 1, &b->rules.scoring, err);
    if (rc == ASSAY_OK)
        rc = enum_of(c[17].i, ASSAY_RANKING_IOI + 1, &b->rules.ranking, err);
    if (rc < 0)
        return rc;
    if (benchmarks_split(a, c[9].s, &b->languages) < 0 || benchmarks_split(a, c[10].s, &b->entrants) < 0)
        return no_memory(err);
    return benchmarks_toolchains_decode(a, c[14].s, &b->toolchains, err);
}

static int read_problem(const struct assay_val *c, struct problem *p, struct assay_err *err)
{
    *p = (struct problem){.id = c[0].s, .benchmark_id = c[1].s, .name = c[2].s, .statement = c[3].s, .position = c[4].i,
                          .float_abs = c[7].r, .float_rel = c[8].r, .stop_on_failure = c[9].i != 0,
                          .limits = {.time_limit_ms = c[10].i, .wall_limit_ms = c[11].i, .memory_limit_bytes = c[12].i,
                                     .output_limit_bytes = c[13].i, .process_limit = c[14].i, .hard_time_limit_ms = c[23].i},
                          .harness_language = c[15].s, .harness_ref = c[16].s, .manifest_ref = c[17].s,
                          .test_count = c[18].i, .sample_count = c[19].i, .version = c[20].i, .created_ms = c[21].i,
                          .updated_ms = c[22].i};
    int rc = enum_of(c[5].i, ASSAY_JUDGE_MODES, &p->mode, err);
    return rc < 0 ? rc : enum_of(c[6].i, ASSAY_COMPARE_MODES, &p->compare, err);
}

int benchmarks_by_id(const struct assay_store *st, struct assay_str id, struct assay_str caller, struct assay_arena *a,
                     struct benchmark *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &benchmarks_q_by_id, a, &rows, err, ASSAY_VT(id), ASSAY_VT(caller));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such benchmark");
    return read_benchmark(rows.row[0].col, a, out, err);
}

int benchmarks_list(const struct assay_store *st, const struct benchmarks_filter *filter,
                    const struct assay_principal *who, struct assay_arena *a, struct benchmark **out, size_t *n,
                    struct assay_err *err)
{
    struct assay_rows rows;
    struct assay_str agent = who->agent_id.n != 0 ? who->agent_id : ASSAY_STR("");
    bool staff = agent.n == 0 && assay_is_staff(who);
    int rc = ASSAY_QUERY(st, &benchmarks_q_list, a, &rows, err, ASSAY_VT(filter->after), ASSAY_VI(filter->limit),
                         ASSAY_VI(staff ? 1 : 0), ASSAY_VT(who->user_id), ASSAY_VT(agent), ASSAY_VT(filter->owner),
                         ASSAY_VI(filter->visibility));
    if (rc < 0)
        return rc;
    struct benchmark *b = assay_arena_array(a, rows.n, sizeof *b);
    if (b == NULL)
        return no_memory(err);
    for (size_t i = 0; i < rows.n; i++) {
        rc = read_benchmark(rows.row[i].col, a, &b[i], err);
        if (rc < 0)
            return rc;
    }
    *out = b;
    *n = rows.n;
    return ASSAY_OK;
}

int benchmarks_problem_by_id(const struct assay_store *st, struct assay_str id, struct assay_arena *a, struct problem *out,
                             struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &benchmarks_q_problem_by_id, a, &rows, err, ASSAY_VT(id));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such problem");
    return read_problem(rows.row[0].col, out, err);
}

int benchmarks_problems(const struct assay_store *st, struct assay_str benchmark, int64_t after, int64_t limit,
                        struct assay_arena *a, struct problem **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &benchmarks_q_problem_list, a, &rows, err, ASSAY_VT(benchmark), ASSAY_VI(after),
                         ASSAY_VI(limit));
    if (rc < 0)
        return rc;
    struct problem *p = assay_arena_array(a, rows.n, sizeof *p);
    if (p == NULL)
        return no_memory(err);
    for (size_t i = 0; i < rows.n; i++) {
        rc = read_problem(rows.row[i].col, &p[i], err);
        if (rc < 0)
            return rc;
    }
    *out = p;
    *n = rows.n;
    return ASSAY_OK;
}

/* ---- writing -------------------------------------------------------------------------------------------- */

/* A statement a few hundred ids: quadratic in the length of its text, so not all at once. */
#define IDS_A_STATEMENT 200

static void add_entrants(struct assay_tx *tx, const struct benchmark *b)
{
    for (size_t from = 0; from < b->entrants.n; from += IDS_A_STATEMENT) {
        size_t n = b->entrants.n - from < IDS_A_STATEMENT ? b->entrants.n - from : IDS_A_STATEMENT;
        char *text = assay_arena_alloc(tx->arena, n * 64 + 1);
        if (text == NULL) {
            tx->failed = true;
            return;
        }
        memset(text, ' ', n * 64);
        for (size_t i = 0; i < n; i++)
            memcpy(text + i * 64, b->entrants.items[from + i].p, b->entrants.items[from + i].n);
        ASSAY_TX(tx, &benchmarks_q_entrants_add, ASSAY_EXPECT_ANY, ASSAY_VT(b->id),
                 ASSAY_VT(((struct assay_str){text, n * 64})), ASSAY_VI((int64_t)n));
    }
}

static bool lists(struct assay_tx *tx, const struct benchmark *b, struct assay_str *languages, struct assay_str *entrants,
                  struct assay_str *toolchains)
{
    if (tx == NULL)
        return false;
    *languages = benchmarks_join(tx->arena, &b->languages);
    *entrants = benchmarks_join(tx->arena, &b->entrants);
    *toolchains = benchmarks_toolchains_encode(tx->arena, &b->toolchains);
    tx->failed = tx->failed || languages->p == NULL || entrants->p == NULL || toolchains->p == NULL;
    return !tx->failed;
}

#define RULES(b)                                                                                                       \
    ASSAY_VI((b)->rules.scoring), ASSAY_VI((b)->rules.ranking), ASSAY_VI((b)->rules.penalty_minutes),                  \
        ASSAY_VI((b)->rules.pass_k), ASSAY_VI((b)->rules.thaws_ms), ASSAY_VI((b)->priority)

int benchmarks_add(struct assay_tx *tx, const struct benchmark *b)
{
    struct assay_str languages, entrants, toolchains;
    if (!lists(tx, b, &languages, &entrants, &toolchains))
        return -1;
    int guard = ASSAY_TX(tx, &benchmarks_q_insert, ASSAY_EXPECT_ONE, ASSAY_VT(b->id), ASSAY_VT(b->owner_id),
                         ASSAY_VT(b->name), ASSAY_VT(b->description), ASSAY_VI(b->visibility), ASSAY_VI(b->feedback),
                         ASSAY_VI(b->starts_ms), ASSAY_VI(b->ends_ms), ASSAY_VI(b->freezes_ms), ASSAY_VT(languages),
                         ASSAY_VT(entrants), ASSAY_VI(b->created_ms), ASSAY_VT(toolchains), ASSAY_VI(b->warm_interpreters),
                         RULES(b));
    add_entrants(tx, b);
    return guard;
}

int benchmarks_add_update(struct assay_tx *tx, const struct benchmark *b)
{
    struct assay_str languages, entrants, toolchains;
    if (!lists(tx, b, &languages, &entrants, &toolchains))
        return -1;
    int guard = ASSAY_TX(tx, &benchmarks_q_update, ASSAY_EXPECT_ONE, ASSAY_VT(b->id), ASSAY_VI(b->version),
                         ASSAY_VT(b->owner_id), ASSAY_VT(b->name), ASSAY_VT(b->description), ASSAY_VI(b->visibility),
                         ASSAY_VI(b->feedback), ASSAY_VI(b->starts_ms), ASSAY_VI(b->ends_ms), ASSAY_VI(b->freezes_ms),
                         ASSAY_VT(languages), ASSAY_VT(entrants), ASSAY_VI(b->updated_ms), ASSAY_VT(toolchains),
                         ASSAY_VI(b->warm_interpreters), RULES(b));
    ASSAY_TX(tx, &benchmarks_q_entrants_clear, ASSAY_EXPECT_ANY, ASSAY_VT(b->id));
    add_entrants(tx, b);
    return guard;
}

int benchmarks_add_bump(struct assay_tx *tx, const struct benchmark *b)
{
    return ASSAY_TX(tx, &benchmarks_q_bump, ASSAY_EXPECT_ONE, ASSAY_VT(b->id), ASSAY_VI(b->version));
}

int benchmarks_add_remove(struct assay_tx *tx, const struct benchmark *b)
{
    int guard = ASSAY_TX(tx, &benchmarks_q_remove, ASSAY_EXPECT_ONE, ASSAY_VT(b->id), ASSAY_VI(b->version),
                         ASSAY_VI(b->updated_ms));
    ASSAY_TX(tx, &benchmarks_q_problem_remove_all, ASSAY_EXPECT_ANY, ASSAY_VT(b->id), ASSAY_VI(b->updated_ms));
    return guard;
}

#define PROBLEM_VALUES(p)                                                                                              \
    ASSAY_VT((p)->name), ASSAY_VT((p)->statement), ASSAY_VI((p)->position), ASSAY_VI((p)->mode),                       \
        ASSAY_VI((p)->compare), ASSAY_VR((p)->float_abs), ASSAY_VR((p)->float_rel),                                    \
        ASSAY_VI((p)->stop_on_failure ? 1 : 0), ASSAY_VI((p)->limits.time_limit_ms),                                   \
        ASSAY_VI((p)->limits.wall_limit_ms), ASSAY_VI((p)->limits.memory_limit_bytes),                                 \
        ASSAY_VI((p)->limits.output_limit_bytes), ASSAY_VI((p)->limits.process_limit), ASSAY_VT((p)->harness_language), \
        ASSAY_VT((p)->harness_ref), ASSAY_VT((p)->manifest_ref), ASSAY_VI((p)->test_count),                            \
        ASSAY_VI((p)->sample_count), ASSAY_VI((p)->version), ASSAY_VI((p)->updated_ms),                                     \
        ASSAY_VI((p)->limits.hard_time_limit_ms)

int benchmarks_add_problem(struct assay_tx *tx, const struct problem *p)
{
    return ASSAY_TX(tx, &benchmarks_q_problem_insert, ASSAY_EXPECT_ONE, ASSAY_VT(p->id), ASSAY_VT(p->benchmark_id),
                    PROBLEM_VALUES(p));
}

int benchmarks_add_problem_update(struct assay_tx *tx, const struct problem *p, int64_t from)
{
    return ASSAY_TX(tx, &benchmarks_q_problem_update, ASSAY_EXPECT_ONE, ASSAY_VT(p->id), ASSAY_VI(from), PROBLEM_VALUES(p));
}

int benchmarks_add_problem_remove(struct assay_tx *tx, const struct problem *p, int64_t from)
{
    return ASSAY_TX(tx, &benchmarks_q_problem_remove, ASSAY_EXPECT_ONE, ASSAY_VT(p->id), ASSAY_VI(from),
                    ASSAY_VI(p->version), ASSAY_VI(p->updated_ms));
}

int benchmarks_add_changed(struct assay_tx *tx, const struct benchmark *b, bool deleted, struct assay_err *err)
{
    if (tx == NULL)
        return no_memory(err);
    ASSAY_CLEANUP_BUF struct assay_buf payload = ASSAY_BUF_INIT;
    struct assay_ev_benchmark ev = {.owner_id = b->owner_id, .name = b->name, .visibility = b->visibility,
                                    .feedback = b->feedback, .starts_ms = b->starts_ms, .ends_ms = b->ends_ms,
                                    .freezes_ms = b->freezes_ms, .languages = b->languages, .entrants = b->entrants,
                                    .toolchains = benchmarks_toolchains_encode(tx->arena, &b->toolchains),
                                    .warm_interpreters = b->warm_interpreters, .rules = b->rules, .priority = b->priority, .deleted = deleted};
    if (ev.toolchains.p == NULL)
        return no_memory(err);
    int rc = assay_ev_benchmark_encode(&ev, &payload, err);
    if (rc < 0)
        return rc;
    struct assay_str text = assay_arena_take(tx->arena, &payload);
    if (text.p == NULL)
        return no_memory(err);
    assay_tx_event(tx, (struct assay_event){.topic = ASSAY_STR("benchmark.changed"), .subject = b->id,
                                            .owner = b->owner_id, .benchmark = b->id, .payload = text});
    return ASSAY_OK;
}

int benchmarks_add_problem_changed(struct assay_tx *tx, const struct problem *p, const struct benchmark *b, bool deleted,
                                   struct assay_err *err)
{
    if (tx == NULL)
        return no_memory(err);
    ASSAY_CLEANUP_BUF struct assay_buf payload = ASSAY_BUF_INIT;
    struct assay_ev_problem ev = {.benchmark_id = p->benchmark_id, .name = p->name, .manifest_ref = p->manifest_ref,
                                  .position = p->position, .mode = p->mode, .version = p->version, .deleted = deleted};
    int rc = ASSAY_OK;
    if (p->compiler_options.n != 0) {
        ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
        ASSAY_CLEANUP_BUF struct assay_buf options = ASSAY_BUF_INIT;
        assay_manifest_options_write(w, &p->compiler_options);
        rc = assay_jw_finish(w, &options, err);
        if (rc < 0)
            return rc;
        ev.compiler_options = assay_arena_take(tx->arena, &options);
        if (ev.compiler_options.p == NULL)
            return no_memory(err);
    }
    rc = assay_ev_problem_encode(&ev, &payload, err);
    if (rc < 0)
        return rc;
    struct assay_str text = assay_arena_take(tx->arena, &payload);
    if (text.p == NULL)
        return no_memory(err);
    assay_tx_event(tx, (struct assay_event){.topic = ASSAY_STR("problem.changed"), .subject = p->id, .owner = b->owner_id,
                                            .benchmark = p->benchmark_id, .payload = text});
    return ASSAY_OK;
}

void benchmarks_add_agent(struct assay_tx *tx, struct assay_str agent, struct assay_str owner, bool deleted, int64_t seq)
{
    ASSAY_TX(tx, &benchmarks_q_agent_put, ASSAY_EXPECT_ANY, ASSAY_VT(agent), ASSAY_VT(owner), ASSAY_VI(deleted ? 1 : 0),
             ASSAY_VI(seq));
}
