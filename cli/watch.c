/*
 * Following submissions.  On a terminal each submission has a line that is rewritten in place;
 * elsewhere a line is printed when a state changes.  Few submissions are followed by their event
 * streams; many, or those whose stream cannot be had, are polled: often at first, since most verdicts
 * take a fraction of a second, then once a second.
 */
#include "cli.h"

#include <time.h>

#define POLL_FIRST_MS 60
#define POLL_LAST_MS 1000
#define POLL_BESIDE_S 5 /* a stream that says nothing may be one that a proxy holds back */
#define STREAMS_MAX 8

struct followed {
    const char *id;
    json_t *last; /* the latest answer */
    double since, took, looked;
    bool done;
    bool told;            /* a stream has said something that is not in last */
    char state[32];       /* what it said: "running" */
    int ahead;            /* in the queue; -1: not known */
    bool or_more;
    int tests;            /* judged so far */
    char test_verdict[8]; /* of the latest */
};

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool is_final(const json_t *s)
{
    const char *status = js_str(s, "status");

    return strcmp(status, "done") == 0 || strcmp(status, "error") == 0 || strcmp(status, "cancelled") == 0;
}

static void line(const struct followed *f, int turn)
{
    static const char spin[] = "|/-\\";
    const char *verdict = js_str(f->last, "verdict"), *status = f->state[0] != '\0' ? f->state : js_str(f->last, "status");
    double score = js_num(f->last, "score", -1);

    term_text(stdout, f->id, strlen(f->id), false, NULL);
    fputs("  ", stdout);
    if (!f->done && turn >= 0)
        printf("%c ", spin[turn % 4]);
    if (f->done && verdict[0] != '\0') {
        term_verdict(stdout, verdict, 2);
        if (score >= 0)
            printf("  score %.10g", score);
    } else {
        term_text(stdout, status, strlen(status), false, NULL);
        if (strcmp(status, "queued") == 0 && f->ahead >= 0)
            printf(", %d%s ahead", f->ahead, f->or_more ? " or more" : "");
        if (f->tests > 0) {
            printf(", %d test%s judged, the last ", f->tests, f->tests == 1 ? "" : "s");
            term_verdict(stdout, f->test_verdict, 0);
        }
    }
    if (js_str(f->last, "language")[0] != '\0') {
        fputs("  ", stdout);
        term_text(stdout, js_str(f->last, "language"), strlen(js_str(f->last, "language")), false, NULL);
    }
    if (turn >= 0)
        printf("  %.1f s", f->done ? f->took : now_s() - f->since);
}

static void redraw(const struct followed *f, size_t n, bool again, int turn)
{
    if (again)
        printf("\033[%zuA", n);
    for (size_t i = 0; i < n; i++) {
        fputs("\r\033[2K", stdout);
        line(&f[i], turn);
        fputc('\n', stdout);
    }
    fflush(stdout);
}

/* One look at one submission. */
static int look(struct cli *c, struct followed *f, bool *changed)
{
    CLI_CLEANUP_STR char *path = api_path("/submissions/", f->id, "");
    API_CLEANUP struct api_answer a = {.status = 0};
    int rc = api_get(c, path, &a);

    if (rc != CLI_OK)
        return rc;
    *changed = *changed || strcmp(f->state[0] != '\0' ? f->state : js_str(f->last, "status"), js_str(a.json, "status")) != 0;
    f->state[0] = '\0';
    json_decref(f->last);
    f->last = json_incref(a.json);
    f->done = is_final(f->last);
    f->took = now_s() - f->since;
    return CLI_OK;
}

static void on_event(void *arg, size_t which, const char *name, const json_t *data)
{
    struct followed *f = (struct followed *)arg + which;
    json_t *submission = json_object_get(data, "submission");

    if (f->done)
        return;
    if (strcmp(name, "state") == 0 || strcmp(name, "done") == 0) {
        if (json_is_object(submission)) {
            json_decref(f->last);
            f->last = json_incref(submission);
            f->state[0] = '\0';
            f->done = is_final(f->last);
            f->took = now_s() - f->since;
            f->told = true;
        }
    } else if (strcmp(name, "position") == 0) {
        f->ahead = (int)js_num(data, "ahead", -1);
        f->or_more = json_is_true(json_object_get(data, "or_more"));
    } else if (strcmp(name, "running") == 0) {
        snprintf(f->state, sizeof(f->state), "running");
        f->tests = 0; /* it may be another attempt */
        f->told = true;
    } else if (strcmp(name, "queued") == 0) {
        snprintf(f->state, sizeof(f->state), "queued");
        f->told = true;
    } else if (strcmp(name, "test") == 0) {
        f->tests++;
        snprintf(f->test_verdict, sizeof(f->test_verdict), "%s", js_str(json_object_get(data, "detail"), "verdict"));
    }
}

static struct events *streams(struct cli *c, struct followed *f, size_t n)
{
    char *path[STREAMS_MAX];
    struct events *e;

    if (n > STREAMS_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++)
        path[i] = api_path("/submissions/", f[i].id, "/events");
    e = events_open(c, n, path, on_event, f);
    for (size_t i = 0; i < n; i++)
        free(path[i]);
    return e;
}

static int follow(struct cli *c, struct followed *f, size_t n, double timeout_s, bool show, struct events **e)
{
    double start = now_s();
    long wait_ms = POLL_FIRST_MS;
    /* in place only when the whole list fits a screen without wrapping */
    bool live = show && term_colour(stdout) && n <= 20 && term_columns() >= 76;

    for (int turn = 0;; turn++) {
        struct timespec t = {wait_ms / 1000, wait_ms % 1000 * 1000000};
        size_t open = 0;

        for (size_t i = 0; i < n; i++) {
            bool changed = f[i].told;
            int rc = CLI_OK;

            f[i].told = false;
            if (!f[i].done && (turn == 0 || !events_alive(*e, i) || now_s() - f[i].looked >= POLL_BESIDE_S)) {
                rc = look(c, &f[i], &changed);
                f[i].looked = now_s();
            }
            if (rc != CLI_OK)
                return rc;
            open += !f[i].done;
            if (show && !live && changed) {
                line(&f[i], -1);
                fputc('\n', stdout);
                fflush(stdout);
            }
        }
        if (live)
            redraw(f, n, turn > 0, turn);
        if (open == 0)
            return CLI_OK;
        if (timeout_s > 0 && now_s() - start >= timeout_s) {
            term_error("%zu of %zu %s not done after %g s", open, n, open == 1 ? "is" : "are", timeout_s);
            return CLI_TIMEOUT;
        }
        if (turn == 0)
            *e = streams(c, f, n); /* it is there, it is ours to see, and it has not ended */
        if (*e == NULL || !events_wait(*e, (int)wait_ms))
            nanosleep(&t, NULL);
        wait_ms = wait_ms * 3 / 2 < POLL_LAST_MS ? wait_ms * 3 / 2 : POLL_LAST_MS;
        if (live && wait_ms > 250)
            wait_ms = 250; /* the clock on the screen */
    }
}

int watch_until_done(struct cli *c, size_t n, const char *const *ids, double timeout_s, bool show, json_t **final)
{
    struct followed *f = calloc(n, sizeof(*f));
    json_t *all = json_array();
    struct events *e = NULL;
    double now = now_s();
    int rc;

    if (f == NULL || all == NULL) {
        term_error("no memory");
        exit(CLI_LOCAL);
    }
    for (size_t i = 0; i < n; i++)
        f[i] = (struct followed){.id = ids[i], .since = now, .ahead = -1};
    rc = follow(c, f, n, timeout_s, show, &e);
    events_close(e);
    for (size_t i = 0; i < n; i++)
        if (f[i].last != NULL && json_array_append_new(all, f[i].last) != 0)
            rc = CLI_LOCAL;
    free(f);
    if (rc == CLI_OK)
        *final = all;
    else
        json_decref(all);
    return rc;
}

int watch_exit(const json_t *final)
{
    const json_t *s;
    size_t i;

    json_array_foreach(final, i, s)
        if (strcmp(js_str(s, "verdict"), "OK") != 0)
            return CLI_NOT_ACCEPTED;
    return CLI_OK;
}
