/*
 * Text forms that the log and the metrics share.  Thread-safe, no state; the "C" locale is assumed
 * (the program never calls setlocale).
 */
#ifndef ASSAY_GATEWAY_TEXT_H
#define ASSAY_GATEWAY_TEXT_H

#include <stddef.h>

#include <assay/str.h>

#define ASSAY_TEXT_REAL 32
/* A finite number in the fewest digits that read back as the same double; returns the length. */
size_t assay_text_real(char out[ASSAY_TEXT_REAL], double v);

/* Bytes of the well-formed UTF-8 character at the start of s; 0 when there is none. */
size_t assay_text_utf8(struct assay_str s);

/* The longest prefix of s of at most max bytes that does not cut a character in two. */
struct assay_str assay_text_cut(struct assay_str s, size_t max);

#endif
