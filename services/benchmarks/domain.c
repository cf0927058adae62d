#include "local.h"

const struct limits benchmarks_default_limits = {
    .time_limit_ms = 2000,
    .wall_limit_ms = 0,
    .memory_limit_bytes = (int64_t)256 << 20,
    .output_limit_bytes = (int64_t)1 << 20,
    .process_limit = 64,
};

const struct assay_board_rules benchmarks_default_rules = {.penalty_minutes = ASSAY_PENALTY_MINUTES, .pass_k = 1};

/* An agent's token speaks for a competitor, whoever owns the agent. */
static bool is_person(const struct assay_principal *who)
{
    return who->authenticated && who->agent_id.n == 0;
}

bool benchmarks_is_judge(const struct benchmark *b, const struct assay_principal *who)
{
    return is_person(who) && (assay_is_staff(who) || assay_str_eq(b->owner_id, who->user_id));
}

bool benchmarks_may_change(const struct benchmark *b, const struct assay_principal *who)
{
    return is_person(who) && (assay_is_admin(who) || assay_str_eq(b->owner_id, who->user_id));
}

bool benchmarks_may_see(const struct benchmark *b, const struct assay_principal *who)
{
    if (b->visibility == ASSAY_VISIBLE_PUBLIC || benchmarks_is_judge(b, who))
        return true;
    if (is_person(who))
        return b->callers_entrant;
    for (size_t i = 0; who->agent_id.n != 0 && i < b->entrants.n; i++) {
        if (assay_str_eq(b->entrants.items[i], who->agent_id))
            return true;
    }
    return false;
}

bool benchmarks_may_prefer(const struct assay_principal *who, int64_t priority, int64_t most)
{
    return priority <= most || assay_is_admin(who);
}

bool benchmarks_has_started(const struct benchmark *b, int64_t now_ms)
{
    return b->starts_ms == 0 || b->starts_ms <= now_ms;
}

bool benchmarks_language_valid(struct assay_str s)
{
    if (s.n == 0 || s.n > 32)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!word && (i == 0 || strchr("+#._-", c) == NULL || c == '\0'))
            return false;
    }
    return true;
}

int64_t benchmarks_hard_limit(const struct limits *l)
{
    return l->hard_time_limit_ms != 0 ? l->hard_time_limit_ms : assay_hard_time_limit(l->time_limit_ms);
}

/* Twice the CPU time and a second: a program that waits is not cut off before one that works. */
int64_t benchmarks_wall_limit(const struct limits *l)
{
    return l->wall_limit_ms != 0 ? l->wall_limit_ms : 2 * l->time_limit_ms + 1000;
}

/* A checker reads all that a program printed, and is not what is measured. */
const struct checker_in benchmarks_default_checker = {.passes = 1, .time_limit_ms = 10000, .memory_limit_bytes = (int64_t)512 << 20};
