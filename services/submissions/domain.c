/*
 * What a submission is, what a client may send as one, and what becomes of it.  No I/O.
 *
 *   queued ──lease──▶ running ──finish──▶ done
 *     ▲  │               │ ├───────────▶ error      (only IE is left)
 *     │  └──cancel──▶ cancelled ◀─────┘
 *     └── retried (charged), interrupted (not charged), rejudged
 */
#include "local.h"

#include <stdio.h>

bool state_ended(struct assay_str state)
{
    return assay_str_is(state, "done") || assay_str_is(state, "error") || assay_str_is(state, "cancelled");
}

bool verdict_known(struct assay_str verdict)
{
    static const char *const known[] = {"OK", "WA", "TL", "ML", "OL", "RE", "BF", "IE"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (assay_str_is(verdict, known[i]))
            return true;
    }
    return false;
}

int draft_submitter(struct draft *d, struct assay_arena *arena, struct assay_err *err)
{
    d->submitter = d->owner_id;
    if (d->staff && d->agent_id.n != 0)
        d->submitter = assay_arena_fmt(arena, "%.*s/%.*s", ASSAY_FMT(d->owner_id), ASSAY_FMT(d->agent_id));
    return d->submitter.p == NULL ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : ASSAY_OK;
}

size_t draft_bytes(const struct draft *d)
{
    return d->source.n + d->payload.n;
}

/* A path goes into a box's working directory and into compilers' command lines: plain parts only, and
 * nothing that a tool could take for an option. */
const char *draft_path_fault(struct assay_str path)
{
    if (path.n == 0 || path.n > 200)
        return "a file name has 1 to 200 characters";
    size_t part = 0;
    for (size_t i = 0; i <= path.n; i++) {
        char c = i < path.n ? path.p[i] : '/';
        if (c == '/') {
            if (i == part)
                return "a file name is relative and has no empty parts";
            if (path.p[part] == '.' || path.p[part] == '-')
                return "no part of a file name begins with '.' or '-'";
            part = i + 1;
            continue;
        }
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
                     c == '-' || c == '+';
        if (!plain)
            return "a file name is made of letters, digits, '.', '_', '-', '+' and '/'";
    }
    return NULL;
}

void draft_check(const struct submit_body *b, const struct assay_principal *who, const char *prefix,
                 struct assay_json_faults *faults, struct assay_arena *arena)
{
    char at[64];
#define AT(name) (snprintf(at, sizeof at, "%s/%s", prefix, (name)), at)
    int kinds = (b->has_source ? 1 : 0) + (b->has_files ? 1 : 0) + (b->has_payload ? 1 : 0);
    if (kinds == 0)
        assay_json_fault(faults, arena, AT("source"), "one of source, files and payload is needed");
    if (kinds > 1)
        assay_json_fault(faults, arena, AT(b->has_payload ? "payload" : "files"),
                         "only one of source, files and payload may be given");
    if ((b->has_source || b->has_files) && b->language.n == 0)
        assay_json_fault(faults, arena, AT("language"), "a source needs its language");
    if (b->has_payload && kinds == 1 && b->language.n != 0)
        assay_json_fault(faults, arena, AT("language"), "a payload has no language: the benchmark's harness reads it");
    if (b->has_payload && kinds == 1 && b->compiler_options.n != 0)
        assay_json_fault(faults, arena, AT("compiler_options"), "a payload is not compiled");
    if (b->jury && (b->agent_id.n != 0 || who == NULL || who->agent_id.n != 0))
        assay_json_fault(faults, arena, AT("jury"), "a jury's submission is a person's and for no agent");
    if (b->jury && b->has_payload)
        assay_json_fault(faults, arena, AT("jury"), "is only taken with a program");
    if (!b->jury && b->agent_id.n == 0 && (who == NULL || who->agent_id.n == 0))
        assay_json_fault(faults, arena, AT("agent_id"), "is required");
    if (who != NULL && who->agent_id.n != 0 && b->agent_id.n != 0 && !assay_str_eq(b->agent_id, who->agent_id))
        assay_json_fault(faults, arena, AT("agent_id"), "an agent's token submits for that agent only");
    size_t total = 0;
    for (size_t i = 0; i < b->files.n; i++) {
        const char *fault = draft_path_fault(b->files.items[i].key);
        if (fault != NULL)
            assay_json_fault(faults, arena, AT("files"), "%s", fault);
        total += b->files.items[i].value.n;
    }
    if (total > SOURCE_MAX)
        assay_json_fault(faults, arena, AT("files"), "together at most %zu bytes", SOURCE_MAX);
#undef AT
}

bool list_has(struct assay_str list, struct assay_str word)
{
    for (size_t i = 0; word.n != 0 && i + word.n + 2 <= list.n; i++) {
        if (list.p[i] == ' ' && memcmp(list.p + i + 1, word.p, word.n) == 0 && list.p[i + 1 + word.n] == ' ')
            return true;
    }
    return false;
}

#define REFUSE(code, at, ...)                                                                                          \
    do {                                                                                                               \
        r.status = (code);                                                                                             \
        r.pointer = (at);                                                                                              \
        snprintf(r.detail, sizeof r.detail, __VA_ARGS__);                                                              \
        return r;                                                                                                      \
    } while (0)

struct refusal draft_refusal(const struct draft *d, const struct facts *f)
{
    struct refusal r = {.status = ASSAY_OK, .pointer = "", .detail = ""};
    bool entrant = list_has(f->benchmark_entrants, d->agent_id);
    bool owns = f->benchmark && assay_str_eq(f->benchmark_owner, d->owner_id);
    /* what a caller may not see does not exist */
    if (!f->benchmark || f->benchmark_deleted || (f->visibility != ASSAY_VISIBLE_PUBLIC && !owns && !d->staff && !entrant))
        REFUSE(ASSAY_E_NOT_FOUND, "/benchmark_id", "there is no such benchmark");
    if (d->jury && !d->staff && !owns)
        REFUSE(ASSAY_E_FORBIDDEN, "/jury", "only staff and the benchmark's owner submit for the jury");
    if (!d->jury && (!f->agent || f->agent_deleted || (!d->staff && !assay_str_eq(f->agent_owner, d->owner_id))))
        REFUSE(ASSAY_E_NOT_FOUND, "/agent_id", "there is no such agent of yours");
    if (d->problem_id.n != 0) {
        if (!f->problem || f->problem_deleted || !assay_str_eq(f->problem_benchmark, d->benchmark_id))
            REFUSE(ASSAY_E_NOT_FOUND, "/problem_id", "the benchmark has no such problem");
    } else if (f->problem_count == 0) {
        REFUSE(ASSAY_E_CONFLICT, "/benchmark_id", "the benchmark has no problem yet");
    } else if (f->problem_count > 1) {
        REFUSE(ASSAY_E_INVALID, "/problem_id", "the benchmark has %lld problems: say which", (long long)f->problem_count);
    }
    if (!d->jury && f->starts_ms != 0 && d->now_ms < f->starts_ms) {
        char at[ASSAY_TIME_SIZE];
        assay_time_format(f->starts_ms, at);
        REFUSE(ASSAY_E_FORBIDDEN, "/benchmark_id", "the benchmark opens at %s", at);
    }
    if (!d->jury && f->ends_ms != 0 && d->now_ms >= f->ends_ms) {
        char at[ASSAY_TIME_SIZE];
        assay_time_format(f->ends_ms, at);
        REFUSE(ASSAY_E_FORBIDDEN, "/benchmark_id", "the benchmark closed at %s", at);
    }
    if (!d->jury && f->benchmark_entrants.n != 0 && !entrant)
        REFUSE(ASSAY_E_FORBIDDEN, "/agent_id", "the agent is not an entrant of the benchmark");
    if (f->mode == ASSAY_JUDGE_PROGRAM || f->mode == ASSAY_JUDGE_FUNCTION) {
        if (d->source_kind == SOURCE_NONE)
            REFUSE(ASSAY_E_INVALID, "/payload", "this problem takes a program: send language and source");
        if (!d->jury && f->benchmark_languages.n != 0 && !list_has(f->benchmark_languages, d->language))
            REFUSE(ASSAY_E_INVALID, "/language", "the benchmark takes only%.*s", ASSAY_FMT(f->benchmark_languages));
    } else if (!d->has_payload) {
        REFUSE(ASSAY_E_INVALID, "/source", "this problem takes a payload, not a program");
    }
    return r;
}

enum job_return job_returns(bool charge, bool interrupted, bool cancel_requested, int64_t attempts, int64_t interruptions,
                            int64_t max_attempts, int64_t max_interruptions)
{
    if (cancel_requested)
        return RETURN_CANCELLED;
    if (charge && attempts + 1 >= max_attempts)
        return RETURN_ERROR;
    if (interrupted && interruptions + 1 > max_interruptions)
        return RETURN_ERROR;
    return RETURN_QUEUED;
}
