/* Filters in the runner: files and programs at start, requests on workers, and their one box, on the loop. */
#include "filter.h"

#include "remote.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FEATURE_LEAF_MEMORY (1u << 1) /* of a hello */
#define SAID_MAX ((int64_t)4 << 10)
#define MESSAGE_SLACK ((size_t)2048) /* of a result's message beside the result */

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

/* ---- at start ----------------------------------------------------------------------------------------------------- */

static int program_read(struct runner *r, struct assay_str name, struct assay_str *out, struct assay_err *err)
{
    char *z = assay_arena_z(r->arena, name);
    return z == NULL ? no_memory(err) : tool_read(r, z, out, err);
}

static int load_one(const char *path, void *arg, struct assay_err *err)
{
    struct runner *r = arg;
    struct assay_str text;
    struct processor p;
    struct assay_json_faults faults = {.n = 0};
    struct assay_err why = {0, ""};
    memset(&p, 0, sizeof p);
    int rc = definition_read(path, r->arena, &text, err);
    if (rc >= 0)
        rc = assay_json_decode(text, processor_fields, &p, NULL, r->arena, &faults, err);
    if (rc == ASSAY_E_INVALID && faults.n != 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "%s: %.*s: %.*s", path, ASSAY_FMT(faults.item[0].pointer), ASSAY_FMT(faults.item[0].detail));
    if (rc < 0)
        return assay_err_prefix(err, "%s", path);
    p.tool = ASSAY_STR("");
    if (r->judges && program_read(r, p.program, &p.tool, &why) < 0) {
        put_text(p.lacks, sizeof p.lacks, "%.250s", why.msg);
        assay_log(r->host, ASSAY_LOG_WARN, "filters_not_offered", ASSAY_KS("processor", p.name), ASSAY_KZ("error", p.lacks));
    }
    rc = processor_add(r->filters, &p, r->arena, err);
    return rc < 0 ? assay_err_prefix(err, "%s", path) : rc;
}

int filters_load(struct runner *r, struct assay_err *err)
{
    const char *dirs[DEFINITION_DIRS + 1] = {NULL};
    r->filters = assay_arena_alloc(r->arena, sizeof *r->filters);
    if (r->filters == NULL)
        return no_memory(err);
    int rc = definition_dirs(r, "processors", "processors_path", dirs, err);
    return rc < 0 ? rc : definitions_each(dirs, "processors", load_one, r, err);
}

int filter_resolve(struct runner *r, struct assay_str json, struct assay_arena *arena, struct assay_json_faults *faults,
                   struct assay_str *canonical, struct assay_err *err)
{
    struct filter_call call;
    int rc = filter_request(r->filters, json, arena, faults, &call, err);
    if (rc < 0)
        return rc;
    if (call.filter->by->lacks[0] != '\0') {
        assay_json_fault(faults, arena, "/name", "the filter %.*s is not offered on this server", ASSAY_FMT(call.filter->name));
        return assay_err_set(err, ASSAY_E_INVALID, "the filter is not offered");
    }
    return filter_canonical(&call, arena, canonical, err);
}

int http_filters(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct runner *r = self;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_list_begin(w);
    filters_write(w, r->filters, assay_is_staff(rq->who));
    return assay_list_end(rq, rs, w, ASSAY_STR_NULL, err);
}

/* ---- workers: before ---------------------------------------------------------------------------------------------- */

static int refuse(struct job *j, enum verdict v, const char *why)
{
    put_text(j->filtering->why, sizeof j->filtering->why, "%s", why);
    j->verdict = v;
    j->stage = STAGE_FINISH;
    if (v == VERDICT_IE)
        put_text(j->fault, sizeof j->fault, "%s", why);
    else
        j->build_output = assay_str(j->filtering->why);
    return ASSAY_OK;
}

int filter_prepare(struct runner *r, struct job *j, struct assay_str request, struct assay_str image, struct assay_err *err)
{
    struct filtering *f = assay_arena_alloc(j->arena, sizeof *f);
    struct assay_json_faults faults = {.n = 0};
    char why[FILTER_WHY_MAX];
    if (f == NULL)
        return no_memory(err);
    j->filtering = f;
    j->feedback = ASSAY_FEEDBACK_FULL;
    j->test = assay_arena_array(j->arena, 1, sizeof *j->test);
    if (j->test == NULL)
        return no_memory(err);
    j->n_tests = j->loaded_to = 1;
    j->test[0].def = (struct assay_manifest_test){.number = 1, .sample = true, .points = 1};
    j->test[0].part = NAN;
    j->test[0].group = NO_GROUP;
    int rc = filter_request(r->filters, request, j->arena, &faults, &f->call, err);
    if (rc == ASSAY_E_INVALID) {
        put_text(why, sizeof why, "filter%.*s: %.*s", ASSAY_FMT(faults.n != 0 ? faults.item[0].pointer : ASSAY_STR("")),
                 ASSAY_FMT(faults.n != 0 ? faults.item[0].detail : assay_str(err->msg)));
        return refuse(j, VERDICT_BF, why);
    }
    if (rc >= 0)
        rc = filter_arguments(&f->call, j->arena, &f->arguments, err);
    if (rc < 0)
        return rc;
    if (f->call.filter->by->tool.n == 0)
        return refuse(j, VERDICT_IE, f->call.filter->by->lacks);
    f->image = image;
    j->limits = (struct assay_box_limits){.cpu_ms = r->filter_time_ms,
                                          .cpu_hard_ms = assay_hard_time_limit(r->filter_time_ms),
                                          .wall_ms = 2 * r->filter_time_ms + 1000,
                                          .memory_bytes = r->filter_memory,
                                          .stdout_bytes = r->filter_result_max,
                                          .stderr_bytes = SAID_MAX,
                                          .processes = 8};
    j->stage = STAGE_READY;
    return ASSAY_OK;
}

/* ---- the loop ----------------------------------------------------------------------------------------------------- */

static void start(struct loop *l, struct job *j)
{
    struct runner *r = l->r;
    struct filtering *f = j->filtering;
    struct assay_err err;
    struct assay_str env[N_BOX_BASE_ENV], argv[FILTER_PARAMS_MAX + 2] = {ASSAY_STR("./filter")};
    struct assay_box_file file = {ASSAY_STR("filter"), f->call.filter->by->tool, 0755};
    for (size_t i = 0; i < N_BOX_BASE_ENV; i++)
        env[i] = assay_str(box_base_env[i]);
    for (size_t i = 0; i < f->arguments.n; i++)
        argv[i + 1] = f->arguments.items[i];
    struct assay_box_spec spec = {.argv = argv,
                                  .n_argv = f->arguments.n + 1,
                                  .env = env,
                                  .n_env = N_BOX_BASE_ENV,
                                  .files = &file,
                                  .n_files = 1,
                                  .stdin_bytes = f->image,
                                  .flags = ASSAY_BOX_STRICT_OUTPUT,
                                  .limits = j->limits};
    bool counted = (assay_box_client_hello(j->slot->client)->features & FEATURE_LEAF_MEMORY) != 0;
    spec.seccomp = counted ? r->seccomp : r->seccomp_uncounted;
    processors_of_lane(&r->processors, l->n_lanes, (size_t)j->slot->lane->index, false, spec.cpus);
    assay_buf_free(&j->out);
    assay_buf_free(&j->err);
    assay_buf_init(&j->out, (size_t)spec.limits.stdout_bytes + ((size_t)1 << 20));
    assay_buf_init(&j->err, (size_t)spec.limits.stderr_bytes + ((size_t)1 << 20));
    j->stage = STAGE_FILTER;
    j->test[0].start_ms = now_ms(l);
    if (assay_box_client_run(j->slot->client, &spec, &err) < 0)
        job_failed(l, j, err.msg, true);
    else
        slot_arm(j->slot);
}

void filter_next(struct loop *l, struct job *j)
{
    if (j->verdict != VERDICT_NONE || j->at_test == j->n_tests)
        job_finish(l, j);
    else if (job_placed(l, j, SIDE_RUN))
        start(l, j);
}

/* The job's end names what is durable by then. */
static void store_work(void *arg)
{
    struct mail *m = arg;
    struct job *j = m->job;
    struct runner *r = m->loop->r;
    struct filtering *f = j->filtering;
    struct test *t = &j->test[0];
    struct assay_str result = assay_buf_view(&j->out);
    m->status = ASSAY_OK;
    if (j->lease.kind != ASSAY_JOB_SCRIPT) {
        m->status = assay_blob_put(r->host->blobs, result, f->ref, &m->err);
    } else if ((result.n + 2) / 3 * 4 + MESSAGE_SLACK > r->result_max) {
        t->verdict = VERDICT_OL;
        put_text(f->why, sizeof f->why, "too_large: the result has %zu bytes, and a message here has %zu at most, in base64", result.n, r->result_max);
    } else {
        struct assay_buf b = ASSAY_BUF_INIT;
        assay_buf_base64(&b, result);
        f->encoded = assay_arena_take(j->arena, &b);
        assay_buf_free(&b);
        if (f->encoded.p == NULL)
            m->status = no_memory(&m->err);
    }
    mail_post(m);
}

static void ended(struct loop *l, struct job *j)
{
    struct test *t = &j->test[0];
    put_text(t->outcome.message, sizeof t->outcome.message, "%.250s", j->filtering->why);
    t->ran = true;
    j->at_test = 1;
    job_finish(l, j);
}

void filter_done(struct loop *l, struct job *j, const struct assay_box_outcome *o)
{
    struct filtering *f = j->filtering;
    struct test *t = &j->test[0];
    const char *label[] = {f->call.filter->name.p};
    l->r->host->metric_observe(l->r->host->ctx, &runner_metrics[METRIC_FILTER_SECONDS], label, (double)o->wall_us / 1e6);
    t->outcome = *o;
    t->out = ASSAY_STR(""); /* an image is no text: it is the blob's */
    t->end_ms = now_ms(l);
    t->verdict = filter_judge(o, &j->limits, assay_buf_view(&j->err), j->out.n, f->why);
    t->err = j->err.n != 0 ? assay_arena_str(j->arena, assay_buf_view(&j->err)) : ASSAY_STR("");
    if (t->verdict == VERDICT_IE) {
        job_failed(l, j, f->why, true);
        return;
    }
    if (t->verdict != VERDICT_OK) {
        ended(l, j);
        return;
    }
    struct mail *m = j->mail;
    const struct slot *s = j->slot;
    if (s->client != NULL && assay_box_client_hello(s->client) != NULL)
        put_text(j->mode_text, sizeof j->mode_text, "%s", assay_box_client_hello(s->client)->mode);
    slot_release(j); /* another may use it meanwhile */
    *m = (struct mail){.loop = l, .kind = MAIL_STORED, .job = j};
    j->stage = STAGE_STORE;
    if (l->r->host->offload(l->r->host->ctx, store_work, m) < 0)
        job_failed(l, j, "the server's workers are busy", false);
}

void filter_stored(struct loop *l, struct mail *m)
{
    struct job *j = m->job;
    if (m->status == ASSAY_E_BUSY)
        job_waits(l, j, m->err.msg);
    else if (m->status < 0)
        job_failed(l, j, m->err.msg, true);
    else
        ended(l, j);
}

struct assay_str filter_output(const struct job *j)
{
    return assay_str(j->verdict == VERDICT_OK ? j->filtering->ref : j->filtering->why);
}
