/* The last summary line of a log, which is bytes of the submission's: one pass from its end. */
#include "summary.h"

#define LINE_MAX_BYTES 512u /* a longer line is none */

/* A line without its escape sequences (ESC [ ... letter) into out; its length. */
static size_t plain(char out[LINE_MAX_BYTES], struct assay_str line)
{
    size_t n = 0;
    for (size_t i = 0; i < line.n; i++) {
        if (line.p[i] == '\033' && i + 1 < line.n && line.p[i + 1] == '[') {
            for (i += 2; i < line.n && (unsigned char)line.p[i] < '@'; i++)
                ;
            continue;
        }
        out[n++] = line.p[i];
    }
    return n;
}

/* "WORD: 12" at the front of s, which is moved behind it. At most 9 digits. */
static bool take(struct assay_str *s, const char *word, int64_t *out)
{
    size_t i = strlen(word), from;
    int64_t value = 0;
    if (!assay_str_starts(*s, word))
        return false;
    while (i < s->n && s->p[i] == ' ')
        i++;
    for (from = i; i < s->n && s->p[i] >= '0' && s->p[i] <= '9'; i++) {
        if (i - from == 9)
            return false;
        value = 10 * value + (s->p[i] - '0');
    }
    if (i == from)
        return false;
    *out = value;
    s->p += i;
    s->n -= i;
    return true;
}

static void between(struct assay_str *s)
{
    while (s->n > 0 && (s->p[0] == ',' || s->p[0] == ' '))
        s->p++, s->n--;
}

static bool read_line(struct assay_str line, struct report *out)
{
    int64_t run, failures = 0, errors = 0, skipped = 0;
    char text[LINE_MAX_BYTES];
    struct assay_str s = {text, 0};
    if (line.n > sizeof text)
        return false;
    s.n = plain(text, line);
    while (s.n > 0 && !assay_str_starts(s, "Tests run:"))
        s.p++, s.n--;
    if (!take(&s, "Tests run:", &run))
        return false;
    between(&s);
    if (!take(&s, "Failures:", &failures))
        return false;
    between(&s);
    if (take(&s, "Errors:", &errors))
        between(&s);
    (void)take(&s, "Skipped:", &skipped);
    if (run > REPORT_TESTS_MAX || failures + errors + skipped > run)
        return false;
    *out = (struct report){.total = run, .passed = run - failures - errors - skipped, .failed = failures + errors, .skipped = skipped};
    return true;
}

bool summary_find(struct assay_str log, struct report *out)
{
    while (log.n > 0) {
        size_t from = log.n;
        while (from > 0 && log.p[from - 1] != '\n' && log.p[from - 1] != '\r')
            from--;
        if (read_line((struct assay_str){log.p + from, log.n - from}, out))
            return true;
        log.n = from > 0 ? from - 1 : 0;
    }
    return false;
}
