/*
 * The intake, inside: what brokers bring becomes submissions, and what becomes of them goes back.
 *
 * Theory of operation.  A delivery is an entry.  Its way, each step on a worker thread, one at a time per entry:
 *
 *   deliver ─▶ STORE ─▶ WAIT ─▶ LOOK ─▶ PUBLISH ─▶ CONFIRM ─▶ MARK ─▶ settled, gone
 *                │        ▲ the submission ended │      ▲ the broker has it │
 *                ├─ the row is there already: ATTACH ─▶ LOOK
 *                └─ no script: its error is PUBLISHed, and the message ends among the dead letters
 *
 * STORE commits the submission and the message's row in one transaction, so a message is either unknown or has one
 * submission.  The message is settled after its result has been confirmed by the broker and the row says so; a crash
 * before that brings the message again, and ATTACH finds what was made of it: answered, ended or still on its way.
 *
 * A lost delivery takes its entry along; a submission of it that has not begun is cancelled, unless the message has come
 * again meanwhile, which the row's holder tells.  Whatever fails is tried again after a while by the tick.
 */
#ifndef ASSAY_SUBMISSIONS_INTAKE_H
#define ASSAY_SUBMISSIONS_INTAKE_H

#include <assay/broker.h>
#include <assay/script.h>

#include "local.h"

#define INTAKE_BROKERS 8
#define INTAKE_TAGS 8 /* deliveries of one message that are held at the same time */

enum stage { STAGE_STORE, STAGE_ATTACH, STAGE_WAIT, STAGE_LOOK, STAGE_PUBLISH, STAGE_CONFIRM, STAGE_MARK, STAGE_DONE_MESSAGE };

struct entry {
    struct entry *next;
    struct source *from;
    struct assay_arena *arena;
    uint64_t tag[INTAKE_TAGS];
    size_t n_tags; /* 0: lost */
    char event_id[ASSAY_ID_SIZE], submission_id[ASSAY_ID_SIZE]; /* the latter "" until it is known */
    char hold[ASSAY_ID_SIZE + 24];
    enum stage stage;
    bool working, again; /* a step is under way; look once more after it */
    bool poison;         /* no submission is made of it */
    bool dead;           /* ends among the broker's dead letters */
    bool refused;        /* the broker will not have its result */
    int64_t due_ms;      /* monotonic: when the tick goes on with it; INT64_MAX: not by the tick */
    int64_t taken_ns, published_ns;
    int tries;
    struct assay_str name, key, body, reply_to, correlation, traceparent;
    struct assay_str id, answer, reason; /* the script's id; the result as it goes out; why it is dead */
};

struct source { /* a broker that work comes from */
    struct intake *in;
    char name[64];
    struct assay_broker broker;
    size_t held;
};

struct intake {
    struct submissions *s;
    size_t in_flight;
    bool strict, done_exits;
    size_t result_max;
    int64_t expected, keep_ms, swept_ms;
    struct source source[INTAKE_BROKERS];
    size_t n_sources;
    pthread_mutex_t lock; /* guards what follows, each source's held, and each entry but for what its step alone uses */
    struct entry *entries;
    uint64_t serial;
    int64_t published;
    bool draining, closing, quitting;
};

/* What a step found out about how to go on. */
enum next { NEXT_NOW, NEXT_LATER, NEXT_WAIT, NEXT_CALLBACK, NEXT_SETTLE, NEXT_DROP };

/* ---- outlet.c: from an ended submission to a settled message; on worker threads ---- */

enum next outlet_look(struct entry *e);
enum next outlet_publish(struct entry *e);
enum next outlet_mark(struct entry *e);
/* The error result of a message that no submission is made of. */
int outlet_error(struct entry *e, struct assay_str id, const char *why, struct assay_err *err);
void outlet_confirmed(void *arg, int status, const struct assay_err *err);

/* ---- intake.c ---- */

void intake_stage(struct entry *e, enum stage stage);
void intake_confirmed(struct entry *e, enum stage stage); /* a publication's callback goes on at stage */
void intake_count(struct source *from, const char *outcome);

/* ---- repo_intake.c: SQL ---- */

extern const struct assay_stmt message_insert, message_find, message_again, message_attach, message_release, message_cancel,
    message_look, message_answered, message_old, message_prune, message_prune_row, message_prune_bytes;
/* Commits a message and its submission. ASSAY_E_GUARD: the message is known already. */
int repo_message_insert(struct submissions *s, const struct entry *e, const struct draft *d, struct assay_arena *arena,
                        struct assay_err *err);
/* The id of its submission. ASSAY_E_NOT_FOUND */
int repo_message_find(struct submissions *s, const struct entry *e, char id[ASSAY_ID_SIZE], struct assay_err *err);
/* The submission is kept for this delivery from now on. ASSAY_E_GUARD: it has been answered. */
int repo_message_attach(struct submissions *s, const struct entry *e, struct assay_err *err);
int repo_message_release(struct submissions *s, const struct entry *e, struct assay_err *err);
struct looked {
    struct assay_str state, reason, output, id;
    bool answered;
};
int repo_message_look(struct submissions *s, const struct entry *e, struct assay_arena *arena, struct looked *out, struct assay_err *err);
int repo_message_answered(struct submissions *s, const struct entry *e, struct assay_err *err);
/* Forgets messages that came before then, with their submissions, as far as these have ended. */
int repo_message_prune(struct submissions *s, int64_t before_ms, size_t *n, struct assay_err *err);

#endif
