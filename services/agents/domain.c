#include "local.h"

#include <stdio.h>

/* In the order in which they are stored and shown. */
static const struct {
    const char *name;
    bool staff; /* lets its holder see or decide what is other people's */
} scopes[] = {
    {"submissions:write", false}, {"submissions:read", false}, {"results:read", false}, {"results:write", true},
    {"jobs:lease", true},         {"agents:read", false},      {"benchmarks:read", false}, {"scores:read", false},
    {"leaderboard:read", false},  {"traces:write", false},     {"traces:read", false},
};
#define N_SCOPES (sizeof scopes / sizeof scopes[0])

/* A token of an agent changes nothing about agents, also not for its owner. */
static bool is_person(const struct assay_principal *who)
{
    return who->authenticated && who->agent_id.n == 0;
}

bool agents_may_change(const struct agent *a, const struct assay_principal *who)
{
    return is_person(who) && (assay_is_staff(who) || assay_str_eq(a->owner_id, who->user_id));
}

bool agents_may_report(const struct agent *a, const struct assay_principal *who)
{
    return agents_may_change(a, who) || (who->authenticated && who->agent_id.n != 0 && assay_str_eq(who->agent_id, a->id));
}

const char *agents_text_fault(struct assay_str s, size_t max, char text[AGENTS_FAULT_SIZE])
{
    if (s.n > max) {
        (void)snprintf(text, AGENTS_FAULT_SIZE, "must have at most %zu bytes", max);
        return text;
    }
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f)
            return "must not hold control characters";
    }
    return NULL;
}

static size_t scope_index(struct assay_str scope)
{
    size_t i = 0;
    while (i < N_SCOPES && !assay_str_is(scope, scopes[i].name))
        i++;
    return i;
}

const char *agents_scope_fault(struct assay_str scope, const struct assay_principal *who)
{
    size_t i = scope_index(scope);
    if (i == N_SCOPES)
        return "must be one of submissions:write, submissions:read, results:read, results:write, jobs:lease, agents:read, "
               "benchmarks:read, scores:read, leaderboard:read, traces:write, traces:read";
    if (scopes[i].staff && !assay_is_staff(who))
        return "is for workers: only an instructor or an admin may give it";
    return NULL;
}

struct assay_str agents_scopes_join(struct assay_arena *a, const struct assay_strs *in)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    bool has[N_SCOPES + 1] = {false};
    for (size_t i = 0; i < in->n; i++)
        has[scope_index(in->items[i])] = true;
    assay_buf_puts(&b, "");
    for (size_t i = 0; i < N_SCOPES; i++) {
        if (has[i])
            assay_buf_fmt(&b, "%s%s", b.n != 0 ? " " : "", scopes[i].name);
    }
    return assay_arena_str(a, assay_buf_view(&b));
}

void agents_token_make(char out[AGENTS_TOKEN_SIZE], char hash[ASSAY_SHA256_HEX])
{
    char secret[65];
    assay_random_hex(secret, 32);
    (void)snprintf(out, AGENTS_TOKEN_SIZE, "asy_%s", secret);
    assay_sha256_hex(assay_str(out), hash);
}
