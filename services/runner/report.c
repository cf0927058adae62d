/* Scores of projects, and the texts that reports bring along. Pure functions; every text is hostile. */
#include "report.h"

int report_score(const struct report *r, bool timed_out, int exit_code)
{
    if (timed_out)
        return 0;
    if (r->total <= 0)
        return exit_code == 0 ? 100 : 0;
    return (int)((200 * r->passed + r->total) / (2 * r->total));
}

void report_line(char *out, size_t room, struct assay_str s)
{
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    size_t n = 0;
    if (s.n > 4 * room) /* more can not be shown; where that cuts a character, it is among what is cut anyway */
        s.n = 4 * room;
    assay_buf_init(&text, 16 * room); /* a byte that is not UTF-8 becomes three */
    assay_buf_utf8(&text, s);
    out[0] = '\0';
    if (text.failed)
        return;
    for (size_t i = 0; i < text.n && n < room; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c > ' ' && c != 127)
            out[n++] = (char)c;
        else if (n > 0 && out[n - 1] != ' ')
            out[n++] = ' ';
    }
    if (n == room) {
        n = room - 4;
        while (n > 0 && ((unsigned char)out[n] & 0xc0) == 0x80)
            n--;
        memcpy(out + n, "...", 3);
        n += 3;
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
}
