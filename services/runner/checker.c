/*
 * What a checker said: from its exit code, its messages and its feedback directory to a verdict.  Pure functions; all of it
 * may have been made by a program that went wrong over a hostile output, so nothing is believed that is not well-formed.
 *
 * A checker that does not answer as its kind must has failed, and that is never a verdict: IE, with the reason.  Exit codes by
 * kind: Kattis' and ICPC's 42 and 43 (icpc.io/problem-package-format); testlib's 0 OK, 1 WA, 2 PE, 4 dirt and 8
 * unexpected EOF (all wrong), 3 its own failure, 7 points, 16 to 216 partly right (codeforces.com/testlib).  A script of ours says it in
 * words, since most languages end with exit code 1 when they crash.
 */
#include "local.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <assay/warden_wire.h>

/* ---- the feedback directory ------------------------------------------------------------------------- */

static bool piece(struct assay_str whole, size_t *at, size_t max, struct assay_str *out)
{
    size_t left = whole.n - *at, look = left < max + 1 ? left : max + 1;
    const char *from = whole.p + *at, *nul = look != 0 ? memchr(from, 0, look) : NULL;
    if (nul == NULL)
        return false;
    *out = (struct assay_str){from, (size_t)(nul - from)};
    *at += out->n + 1;
    return true;
}

bool artefact_file_next(struct assay_str whole, size_t *at, struct assay_box_file *out, bool *ok)
{
    const size_t magic = sizeof ASSAY_ARTEFACT_MAGIC - 1;
    struct assay_str mode, size;
    int64_t n;
    *ok = true;
    if (*at == 0 && whole.n != 0) {
        *ok = whole.n >= magic && memcmp(whole.p, ASSAY_ARTEFACT_MAGIC, magic) == 0;
        *at = magic;
    }
    if (!*ok || *at >= whole.n)
        return false;
    *ok = piece(whole, at, ASSAY_WARDEN_PATH_MAX, &out->path) && piece(whole, at, 3, &mode) && piece(whole, at, 19, &size) &&
          assay_parse_i64(size, 0, (int64_t)(whole.n - *at), &n, NULL) == ASSAY_OK;
    if (!*ok)
        return false;
    out->mode = assay_str_is(mode, "755") ? 0755 : 0644;
    out->bytes = (struct assay_str){whole.p + *at, (size_t)n};
    *at += (size_t)n;
    return true;
}

struct feedback {
    struct assay_str judge, team, score, multiplier, next;
    bool has_score, has_multiplier, has_next;
};

static bool read_feedback(struct assay_str encoding, struct feedback *f)
{
    static const char dir[] = CHECK_FEEDBACK;
    struct assay_box_file file;
    size_t at = 0;
    bool ok;
    *f = (struct feedback){.has_score = false};
    while (artefact_file_next(encoding, &at, &file, &ok)) {
        struct assay_str name = file.path;
        if (!assay_str_starts(name, dir))
            continue;
        name.p += sizeof dir - 1;
        name.n -= sizeof dir - 1;
        if (assay_str_is(name, "judgemessage.txt"))
            f->judge = file.bytes;
        else if (assay_str_is(name, "teammessage.txt"))
            f->team = file.bytes;
        else if (assay_str_is(name, "score.txt"))
            f->score = file.bytes, f->has_score = true;
        else if (assay_str_is(name, "score_multiplier.txt"))
            f->multiplier = file.bytes, f->has_multiplier = true;
        else if (assay_str_is(name, "nextpass.in"))
            f->next = file.bytes, f->has_next = true;
    }
    return ok;
}

/* ---- words and numbers -------------------------------------------------------------------------------- */

static struct assay_str trimmed(struct assay_str s)
{
    while (s.n != 0 && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\r' || s.p[s.n - 1] == '\t'))
        s.n--;
    while (s.n != 0 && (*s.p == '\n' || *s.p == ' ' || *s.p == '\r' || *s.p == '\t')) {
        s.p++;
        s.n--;
    }
    return s;
}

static struct assay_str message(struct assay_str s)
{
    s = trimmed(s);
    return (struct assay_str){s.p, s.n > MESSAGE_MAX ? MESSAGE_MAX : s.n};
}

/* The word at the beginning; rest is what stands behind it. */
static struct assay_str word(struct assay_str s, struct assay_str *rest)
{
    size_t n = 0;
    s = trimmed(s);
    while (n < s.n && s.p[n] != ' ' && s.p[n] != '\n' && s.p[n] != '\t' && s.p[n] != '\r')
        n++;
    *rest = (struct assay_str){s.p + n, s.n - n};
    return (struct assay_str){s.p, n};
}

/* A finite decimal number and nothing else. */
static bool number(struct assay_str s, double *out)
{
    char z[64], *end;
    s = trimmed(s);
    if (s.n == 0 || s.n >= sizeof z)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!(c >= '0' && c <= '9') && c != '.' && c != '+' && c != '-' && c != 'e' && c != 'E')
            return false;
    }
    memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    *out = strtod(z, &end);
    return end == z + s.n && isfinite(*out);
}

/* ---- decisions ---------------------------------------------------------------------------------------- */

static void ASSAY_PRINTF(3, 4) fail(struct check_says *s, const char *kind, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(s->fault, sizeof s->fault, fmt, ap);
    va_end(ap);
    s->verdict = VERDICT_IE;
    s->kind = kind;
    s->part = NAN;
    s->again = false;
}

/* got of most; both are the checker's and the problem's own business, but a part is a part. */
static void take_part(struct check_says *s, const char *what, struct assay_str text, double most)
{
    double got;
    if (!number(text, &got))
        fail(s, "feedback", "its %s holds no number", what);
    else if (got < 0 || got > most + 1e-9)
        fail(s, "feedback", "its %s says %.10g, which is not within 0 and %.10g", what, got, most);
    else
        s->part = most > 0 && got < most ? got / most : 1;
}

static bool begins(struct assay_str s, const char *with)
{
    return assay_str_starts(trimmed(s), with);
}

/* How interpreters and virtual machines say that it was they who ended the program, with testlib's code for a wrong answer. */
static bool crashed(struct assay_str err)
{
    static const char python[] = "Traceback (most recent call last):";
    return begins(err, "Exception in thread ") || begins(err, "Uncaught ") || begins(err, "node:internal") ||
           (err.n != 0 && memmem(err.p, err.n, python, sizeof python - 1) != NULL);
}

static void decide_validator(const struct assay_box_outcome *o, const struct feedback *f, struct check_says *s)
{
    if (o->exit_code != 42 && o->exit_code != 43) {
        fail(s, "exit", "it ended with exit code %d, which is neither 42 nor 43", o->exit_code);
        return;
    }
    s->verdict = o->exit_code == 42 ? VERDICT_OK : VERDICT_WA;
    if (s->verdict == VERDICT_OK && f->has_next) {
        s->again = true;
        s->next = f->next;
    }
}

static void decide_testlib(const struct assay_box_outcome *o, struct assay_str err, double points, struct check_says *s)
{
    struct assay_str rest;
    int code = o->exit_code;
    if ((code == 1 || code == 2) && crashed(err)) {
        fail(s, "crash", "it crashed, with exit code %d", code);
    } else if (code == 0) {
        s->verdict = VERDICT_OK;
    } else if (code == 1 || code == 2 || code == 4 || code == 8) {
        s->verdict = VERDICT_WA;
    } else if (code == 7) {
        if (assay_str_is(word(err, &rest), "points"))
            take_part(s, "message", word(rest, &rest), points);
        else
            fail(s, "exit", "it ended with exit code 7 and did not say \"points\" and a number on stderr");
    } else if (code >= 16 && code <= 216) {
        s->part = (double)(code - 16) / 200;
    } else {
        fail(s, "exit", "it ended with exit code %d%s", code, code == 3 ? ": testlib's own failure" : "");
    }
    if (s->verdict == VERDICT_NONE)
        s->verdict = s->part >= 1 ? VERDICT_OK : VERDICT_WA;
}

static void decide_script(const struct assay_box_outcome *o, struct assay_str out, struct check_says *s)
{
    struct assay_str rest, said = word(out, &rest);
    if (o->exit_code != 0) {
        fail(s, "exit", "it ended with exit code %d", o->exit_code);
        return;
    }
    if (assay_str_is(said, "right")) {
        s->verdict = VERDICT_OK;
    } else if (assay_str_is(said, "wrong")) {
        s->verdict = VERDICT_WA;
    } else if (assay_str_is(said, "part")) {
        take_part(s, "stdout", word(rest, &rest), 1);
        if (s->verdict == VERDICT_NONE)
            s->verdict = s->part >= 1 ? VERDICT_OK : VERDICT_WA;
    } else {
        fail(s, "exit", "its stdout does not begin with one of the words right, wrong and part");
    }
    if (s->judge.n == 0)
        s->judge = message(rest);
}

void check_decide(int kind, const struct assay_box_outcome *o, struct assay_str out, struct assay_str err,
                  struct assay_str feedback, double points, struct check_says *s)
{
    struct feedback f;
    *s = (struct check_says){.verdict = VERDICT_NONE, .part = NAN, .kind = ""};
    bool sound = read_feedback(feedback, &f);
    s->judge = message(f.judge.n != 0 ? f.judge : kind != ASSAY_CHECKER_SCRIPT && err.n == 0 ? out : err);
    s->team = message(f.team);
    switch (o->end) {
    case ASSAY_BOX_EXITED:
        break;
    case ASSAY_BOX_SIGNALLED:
        fail(s, "crash", "it was ended by signal %d", o->signal);
        return;
    case ASSAY_BOX_CPU:
    case ASSAY_BOX_WALL:
        fail(s, "time", "it took too long (%lld ms of CPU time, %lld ms in all)", (long long)(o->cpu_us / 1000),
             (long long)(o->wall_us / 1000));
        return;
    case ASSAY_BOX_MEMORY:
        fail(s, "memory", "it needed too much memory");
        return;
    case ASSAY_BOX_OUTPUT:
        fail(s, "output", "it printed too much");
        return;
    case ASSAY_BOX_CANCELLED:
    case ASSAY_BOX_FAILED:
        fail(s, "box", "its box failed");
        return;
    }
    if (!sound) {
        fail(s, "feedback", "its feedback directory could not be read");
        return;
    }
    if (kind == ASSAY_CHECKER_VALIDATOR)
        decide_validator(o, &f, s);
    else if (kind == ASSAY_CHECKER_TESTLIB)
        decide_testlib(o, err, points, s);
    else
        decide_script(o, out, s);
    if (s->verdict == VERDICT_OK && !s->again && f.has_multiplier)
        take_part(s, "score_multiplier.txt", f.multiplier, 1);
    else if (s->verdict == VERDICT_OK && !s->again && f.has_score)
        take_part(s, "score.txt", f.score, points);
}

bool check_says_right(int kind, const struct assay_box_outcome *o)
{
    return o->end == ASSAY_BOX_EXITED && o->exit_code == (kind == ASSAY_CHECKER_VALIDATOR ? 42 : 0);
}

enum verdict interact_verdict(const struct talk_end *end, enum verdict interactor)
{
    bool failed = end->program != VERDICT_OK;
    if (end->waited && end->stuck) /* for whom the program waited */
        return VERDICT_IE;
    if (end->limit) /* nobody but itself brings a program to its limit, and its partner may have heard of its end before us */
        return end->program;
    /* what a program did of itself before anybody left it alone is its own, whatever that did to the interactor */
    if (!end->interactor_first && failed && !(end->cut_off && end->program == VERDICT_RE))
        return end->program;
    if (interactor == VERDICT_IE || interactor == VERDICT_WA)
        return interactor;
    return failed ? end->program : interactor;
}

size_t check_arguments(int kind, struct assay_str out[4])
{
    size_t n = 0;
    out[n++] = ASSAY_STR(CHECK_INPUT);
    /* a validator reads the output on its stdin, and an interactor the program itself; testlib's has a log of its own there */
    if (kind != ASSAY_CHECKER_VALIDATOR)
        out[n++] = ASSAY_STR(CHECK_OUTPUT);
    out[n++] = ASSAY_STR(CHECK_ANSWER);
    if (kind != ASSAY_CHECKER_TESTLIB)
        out[n++] = ASSAY_STR(CHECK_FEEDBACK);
    return n;
}
