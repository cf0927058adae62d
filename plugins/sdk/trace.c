/* Trace contexts as text. */
#include <assay/trace.h>

#include <assay/value.h>

#include <string.h>

#define TRACE 3 /* where each part begins */
#define SPAN 36
#define FLAGS 53

bool assay_trace_valid(struct assay_str s)
{
    if (s.n < 55 || (s.n > 55 && s.p[55] != '-'))
        return false;
    bool trace = false, parent = false;
    for (size_t i = 0; i < 55; i++) {
        char c = s.p[i];
        if (i == 2 || i == 35 || i == 52) {
            if (c != '-')
                return false;
            continue;
        }
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        trace |= i >= TRACE && i < 35 && c != '0';
        parent |= i >= SPAN && i < 52 && c != '0';
    }
    bool version_00 = s.p[0] == '0' && s.p[1] == '0', version_ff = s.p[0] == 'f' && s.p[1] == 'f';
    return trace && parent && !version_ff && (!version_00 || s.n == 55);
}

static int digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

bool assay_trace_sampled(struct assay_str s)
{
    return assay_trace_valid(s) && (digit(s.p[FLAGS + 1]) & 1) != 0;
}

void assay_trace_child(struct assay_str parent, bool sampled, char out[ASSAY_TRACEPARENT])
{
    char trace[33], span[17];
    if (assay_trace_valid(parent)) {
        memcpy(trace, parent.p + TRACE, 32);
        sampled = assay_trace_sampled(parent);
    } else {
        do
            assay_random_hex(trace, 16);
        while (strspn(trace, "0") == 32); /* no id is all zeros */
    }
    do
        assay_random_hex(span, 8);
    while (strspn(span, "0") == 16);
    memcpy(out, "00-", TRACE);
    memcpy(out + TRACE, trace, 32);
    out[35] = '-';
    memcpy(out + SPAN, span, 16);
    memcpy(out + 52, sampled ? "-01" : "-00", 4);
}
