/* Base64 as RFC 4648 has it, in one piece, without line breaks. */
#include "cli.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const char *bytes, size_t n)
{
    char *out = malloc((n + 2) / 3 * 4 + 1), *to = out;

    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i < 3 ? n - i : 3;
        unsigned bits = 0;

        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (k < left ? (unsigned char)bytes[i + k] : 0u);
        for (size_t k = 0; k < 4; k++)
            *to++ = k <= left ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
    *to = '\0';
    return out;
}

size_t base64_decode(const char *text, unsigned char *out)
{
    unsigned bits = 0, have = 0;
    size_t n = 0;

    for (; *text != '\0' && *text != '='; text++) {
        const char *at = strchr(digits, *text);

        if (at == NULL)
            return 0;
        bits = bits << 6 | (unsigned)(at - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (unsigned char)(bits >> have & 255);
        }
    }
    return n;
}
