#include "gateway/text.h"

#include <assert.h>
#include <math.h>

size_t assay_text_real(char out[ASSAY_TEXT_REAL], double v)
{
    assert(isfinite(v));
    int n = 0;
    /* 15 digits always survive decimal -> double -> decimal, 17 always double -> decimal -> double */
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(out, ASSAY_TEXT_REAL, "%.*g", digits, v);
        assert(n > 0 && n < ASSAY_TEXT_REAL);
        if (strtod(out, NULL) == v)
            break;
    }
    return (size_t)n;
}

size_t assay_text_utf8(struct assay_str s)
{
    if (s.n == 0)
        return 0;
    unsigned char c = (unsigned char)s.p[0];
    size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 0;
    if (n == 0 || n > s.n || (n > 1 && !assay_utf8_valid((struct assay_str){s.p, n})))
        return 0;
    return n;
}

struct assay_str assay_text_cut(struct assay_str s, size_t max)
{
    if (s.n <= max)
        return s;
    size_t n = max;
    while (n > 0 && max - n < 4 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
        n--;
    return (struct assay_str){s.p, n};
}
