/*
 * Following submissions.  On a terminal each submission has a line that is rewritten in place;
 * elsewhere a line is printed when a state changes.  The server is polled: often at first, since
 * most verdicts take a fraction of a second, then once a second.
 */
#include "cli.h"

#include <time.h>

#define POLL_FIRST_MS 60
#define POLL_LAST_MS 1000

struct followed {
    const char *id;
    json_t *last; /* the latest answer */
    double since, took;
    bool done;
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
    const char *verdict = js_str(f->last, "verdict"), *status = js_str(f->last, "status");
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
    *changed = strcmp(js_str(f->last, "status"), js_str(a.json, "status")) != 0;
    json_decref(f->last);
    f->last = json_incref(a.json);
    f->done = is_final(f->last);
    f->took = now_s() - f->since;
    return CLI_OK;
}

static int follow(struct cli *c, struct followed *f, size_t n, double timeout_s, bool show)
{
    double start = now_s();
    long wait_ms = POLL_FIRST_MS;
    /* in place only when the whole list fits a screen without wrapping */
    bool live = show && term_colour(stdout) && n <= 20 && term_columns() >= 76;

    for (int turn = 0;; turn++) {
        struct timespec t = {wait_ms / 1000, wait_ms % 1000 * 1000000};
        size_t open = 0;

        for (size_t i = 0; i < n; i++) {
            bool changed = false;
            int rc = f[i].done ? CLI_OK : look(c, &f[i], &changed);

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
    double now = now_s();
    int rc;

    if (f == NULL || all == NULL) {
        term_error("no memory");
        exit(CLI_LOCAL);
    }
    for (size_t i = 0; i < n; i++)
        f[i] = (struct followed){.id = ids[i], .since = now};
    rc = follow(c, f, n, timeout_s, show);
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
