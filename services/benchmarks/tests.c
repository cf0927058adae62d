#include "local.h"

static int store_bytes(const struct assay_blobs *b, struct assay_str bytes, struct assay_arena *a, struct assay_str *ref,
                       struct assay_err *err)
{
    char hex[ASSAY_BLOB_REF];
    *ref = ASSAY_STR("");
    if (bytes.n == 0)
        return ASSAY_OK;
    int rc = assay_blob_put(b, bytes, hex, err);
    if (rc < 0)
        return rc;
    *ref = assay_arena_str(a, assay_str(hex));
    return ref->p != NULL ? ASSAY_OK : assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

/* Points that nobody has said: what a group's tests have, together, or of one where only one counts. */
static double points_of(const struct group_in *g, const struct assay_manifest_test *row, size_t n)
{
    double sum = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        if (!assay_str_eq(row[i].group, g->name))
            continue;
        sum += row[i].points;
        most = row[i].points > most ? row[i].points : most;
    }
    return g->has_points ? g->points : g->aggregate == ASSAY_AGGREGATE_SUM ? sum : most;
}

static int store_groups(const struct assay_json_array *in, struct assay_arena *a, struct assay_manifest *out, struct assay_err *err)
{
    const struct group_in *g = in->items;
    struct assay_manifest_test *test = out->tests.items;
    struct assay_manifest_group *row = assay_arena_array(a, in->n, sizeof *row);
    if (row == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < in->n; i++) {
        row[i] = (struct assay_manifest_group){.name = g[i].name,
                                               .aggregate = g[i].aggregate,
                                               .points = points_of(&g[i], test, out->tests.n),
                                               .stop_on_failure = g[i].has_stop ? g[i].stop : g[i].aggregate == ASSAY_AGGREGATE_MIN,
                                               .depends_on = g[i].depends_on};
        for (size_t k = 0; g[i].sample && k < out->tests.n; k++)
            test[k].sample = test[k].sample || assay_str_eq(test[k].group, g[i].name);
    }
    out->groups = (struct assay_json_array){row, in->n};
    return ASSAY_OK;
}

int benchmarks_store_tests(const struct assay_blobs *b, const struct assay_json_array *in, const struct assay_json_array *groups,
                           struct assay_arena *a, struct assay_manifest *out, struct assay_err *err)
{
    const struct test_in *t = in->items;
    struct assay_manifest_test *row = assay_arena_array(a, in->n, sizeof *row);
    if (row == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < in->n; i++) {
        row[i] = (struct assay_manifest_test){.number = (int64_t)i + 1,
                                              .name = t[i].name.p != NULL ? t[i].name : ASSAY_STR(""),
                                              .sample = t[i].sample,
                                              .group = t[i].group.p != NULL ? t[i].group : ASSAY_STR(""),
                                              .arguments = t[i].arguments,
                                              .has_arguments = t[i].has_arguments,
                                              .points = t[i].has_points ? t[i].points : 1};
        int rc = store_bytes(b, t[i].input, a, &row[i].input_ref, err);
        if (rc == ASSAY_OK)
            rc = store_bytes(b, t[i].expected, a, &row[i].expected_ref, err);
        if (rc < 0)
            return rc;
    }
    out->tests = (struct assay_json_array){row, in->n};
    return store_groups(groups, a, out, err);
}

int benchmarks_load_manifest(const struct assay_blobs *b, struct problem *p, struct assay_arena *a,
                             struct assay_manifest *out, struct assay_err *err)
{
    struct assay_str text;
    int rc = assay_blob_get(b, p->manifest_ref, BENCHMARKS_MANIFEST_MAX, a, &text, err);
    if (rc == ASSAY_OK)
        rc = assay_manifest_decode(text, a, out, err);
    if (rc == ASSAY_E_NOT_FOUND || rc == ASSAY_E_INVALID) /* ours, not the client's */
        return assay_err_set(err, ASSAY_E_CORRUPT, "the manifest of problem %.*s cannot be read", ASSAY_FMT(p->id));
    if (rc == ASSAY_OK) {
        p->checker = out->checker;
        p->compiler_options = out->compiler_options;
    }
    return rc;
}

int benchmarks_store_manifest(const struct assay_blobs *b, struct problem *p, const struct assay_manifest *held,
                              struct assay_arena *a, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    const struct assay_manifest_test *t = held->tests.items;
    struct assay_manifest m = {.benchmark_id = p->benchmark_id,
                               .problem_id = p->id,
                               .version = p->version,
                               .mode = p->mode,
                               .compare = p->compare,
                               .float_abs = p->float_abs,
                               .float_rel = p->float_rel,
                               .stop_on_failure = p->stop_on_failure,
                               .time_limit_ms = p->limits.time_limit_ms,
                               .hard_time_limit_ms = benchmarks_hard_limit(&p->limits),
                               .wall_limit_ms = benchmarks_wall_limit(&p->limits),
                               .memory_limit_bytes = p->limits.memory_limit_bytes,
                               .output_limit_bytes = p->limits.output_limit_bytes,
                               .process_limit = p->limits.process_limit,
                               .harness_language = p->harness_language,
                               .harness_ref = p->harness_ref,
                               .has_checker = p->checker.language.n != 0,
                               .checker = p->checker,
                               .tests = held->tests,
                               .groups = held->groups,
                               .arguments = held->arguments,
                               .environment = held->environment,
                               .compiler_options = p->compiler_options};
    int rc = assay_manifest_encode(&m, &text, err);
    if (rc == ASSAY_OK)
        rc = store_bytes(b, assay_buf_view(&text), a, &p->manifest_ref, err);
    if (rc < 0)
        return rc;
    p->test_count = (int64_t)held->tests.n;
    p->sample_count = 0;
    for (size_t i = 0; i < held->tests.n; i++)
        p->sample_count += t[i].sample;
    return ASSAY_OK;
}
