/*
 * Rate limits and quotas: how often an address, an account or an agent may ask, in all or by route.
 *
 * A rule is SUBJECT[:OPERATION]=COUNT/WINDOW, rules are separated by commas:
 *
 *   address=30000/1m, address:register=100/1h, account:submissions_create=500/24h, agent=6000/1m
 *
 * SUBJECT is address (of the client; IPv6 by its /64, which is what one customer has), account (all that is asked in
 * its name, by its agents too) or agent (one agent's tokens).  OPERATION is a route's operation id; without one
 * the rule counts every route but the probes.  COUNT requests may come at once; then one each WINDOW / COUNT (the generic
 * cell rate algorithm, ITU-T I.371), so that no window has an edge to wait at.
 *
 * The address is charged before anybody looks at the token, account and agent once they are known.  What is left is told
 * in RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers, 10), one item a rule.
 *
 * Each process counts for itself, by its share where it is told how many there are, unless limits_shared.c brings what it
 * lets through to a count that all have.  Any thread; new, share and free on the main thread.
 */
#ifndef ASSAY_GATEWAY_LIMITS_H
#define ASSAY_GATEWAY_LIMITS_H

#include <assay/err.h>
#include <assay/http.h>
#include <assay/plugin.h>
#include <assay/str.h>

#include "router.h"

/* What rate_limits=auto stands for outside development: far above what people and their programs do, and below a flood. */
#define ASSAY_LIMITS_USUAL "address=30000/1m, address:register=400/1h, account=12000/1m, agent=12000/1m"

#define ASSAY_LIMIT_RULES 32u
#define ASSAY_LIMIT_HITS 12u /* rules that one request can meet */

enum assay_limit_subject { ASSAY_LIMIT_ADDRESS, ASSAY_LIMIT_ACCOUNT, ASSAY_LIMIT_AGENT };

struct assay_limits;

/* What one request met so far. Zero it first. */
struct assay_limit_state {
    struct {
        uint8_t rule;
        uint32_t left, full_s; /* requests left now; seconds until all are there again */
    } hit[ASSAY_LIMIT_HITS];
    uint8_t n;
    int64_t retry_s; /* > 0: refused, and for how long */
};

/* exempt: addresses and networks that address rules do not count. No rules: *ret = NULL. ASSAY_E_CONFIG says which rule is
 * wrong and how; an operation that no route of `routes` has is one. */
int assay_limits_new(const char *rules, const char *exempt, const struct assay_bound_route *routes, size_t n_routes,
                     struct assay_limits **ret, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_limits_free(struct assay_limits *l); /* NULL is fine */

/* Charges a request to all rules of the subject; false: one of them refuses it (and st->retry_s says for how long).  `who`
 * is the address, the user's id or the agent's id; "" is charged to nobody. */
bool assay_limits_take(struct assay_limits *l, enum assay_limit_subject subject, struct assay_str who, const struct assay_route *route,
                       int64_t now_ns, struct assay_limit_state *st);

/* The two header lines, each with its CRLF; nothing when no rule was met. */
void assay_limits_headers(const struct assay_limits *l, const struct assay_limit_state *st, struct assay_buf *out);

/* How many gateways there are: while each counts for itself a rule lets COUNT / n through at each, at least one. Before the first take. */
void assay_limits_gateways(struct assay_limits *l, int64_t n);

/* ---- for limits_shared.c ---- */

#define ASSAY_LIMIT_NAME (32 + 1)

/* What one bucket has let through since it was asked last. */
struct assay_limit_due {
    char name[ASSAY_LIMIT_NAME]; /* of whom by which rule, the same at every gateway */
    uint64_t key;
    uint8_t rule;
    int64_t add_ns, most_ns, least_ns; /* as in struct assay_session_cell */
};
/* From now on what is let through is noted, and `noted` called on the taking thread when there was nothing; NULL: no more. */
void assay_limits_share(struct assay_limits *l, void (*noted)(void *arg), void *arg);
/* Takes up to max notes; how many. What is taken and not learnt of later is forgotten. */
size_t assay_limits_due(struct assay_limits *l, int64_t now_ns, struct assay_limit_due *due, size_t max);
/* The answer to a note that was sent at sent_ns and came back after took_ns: how far ahead the shared bucket is. */
void assay_limits_learn(struct assay_limits *l, const struct assay_limit_due *due, int64_t sent_ns, int64_t took_ns, int64_t ahead_ns);
/* Whether the shared count cannot be asked, so that this process counts for itself. */
void assay_limits_alone(struct assay_limits *l, bool alone);

/* For metrics: the rules by number, and how many requests each has refused. NULL beyond the last. */
const char *assay_limits_rule(const struct assay_limits *l, size_t i, uint64_t *refused);

#endif
