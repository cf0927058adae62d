/*
 * Small values that cross every edge: ids, numbers, durations, instants, digests, secrets.
 *
 * Instants are int64_t milliseconds since 1970-01-01T00:00:00Z; durations carry their unit in the
 * name.  All functions are thread-safe and allocate nothing unless they take an arena.
 */
#ifndef ASSAY_VALUE_H
#define ASSAY_VALUE_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_ID_SIZE 37 /* 36 characters and NUL */

/* UUIDv7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then 12 bits that only rise within a
 * millisecond in this process, then 62 random bits: ids sort by time of making. */
void assay_id_new(char out[ASSAY_ID_SIZE]);
bool assay_id_valid(struct assay_str s);   /* lower-case canonical UUID of any version */
bool assay_slug_valid(struct assay_str s); /* [a-z0-9][a-z0-9._-]{0,63} */

/* Checked parsers: the whole text must be the number (no sign for unsigned, no spaces, no +). */
int assay_parse_i64(struct assay_str s, int64_t min, int64_t max, int64_t *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* "5s", "2m30s", "1h", "250ms", "1.5s"; a bare number is in `bare_unit_ms` milliseconds. */
int assay_parse_duration_ms(struct assay_str s, int64_t bare_unit_ms, int64_t *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* "268435456", "256m", "256MiB", "1g" (powers of 1024) */
int assay_parse_bytes(struct assay_str s, int64_t *out, struct assay_err *err) ASSAY_MUST_CHECK;
int assay_parse_bool(struct assay_str s, bool *out, struct assay_err *err) ASSAY_MUST_CHECK;

int64_t assay_now_ms(void);  /* CLOCK_REALTIME */
int64_t assay_mono_ns(void); /* CLOCK_MONOTONIC */
#define ASSAY_TIME_SIZE 25   /* 2026-11-21T07:10:47.123Z and NUL */
void assay_time_format(int64_t unix_ms, char out[ASSAY_TIME_SIZE]);
/* RFC 3339 with Z or an offset; years 1970 to 9999. */
int assay_time_parse(struct assay_str s, int64_t *unix_ms, struct assay_err *err) ASSAY_MUST_CHECK;

#define ASSAY_SHA256_HEX 65
void assay_sha256_hex(struct assay_str s, char out[ASSAY_SHA256_HEX]);
/* The same in pieces; end frees it. NULL on no memory. */
struct assay_sha256;
struct assay_sha256 *assay_sha256_new(void);
void assay_sha256_add(struct assay_sha256 *h, struct assay_str s);
void assay_sha256_end(struct assay_sha256 *h, char out[ASSAY_SHA256_HEX]);
#define ASSAY_HMAC_SHA256 32
/* RFC 2104 over SHA-256. key may be of any length; out may be where key lies. */
void assay_hmac_sha256(struct assay_str key, struct assay_str text, unsigned char out[ASSAY_HMAC_SHA256]);
/* n random bytes as 2n lower-case hex digits and NUL (out holds 2n + 1). */
void assay_random_hex(char *out, size_t n);
bool assay_equal_ct(struct assay_str a, struct assay_str b); /* constant time for equal lengths */

/* A secret: no format or log function takes this type. Wiped on free. */
struct assay_secret;
struct assay_secret *assay_secret_new(struct assay_str s);
void assay_secret_free(struct assay_secret *s);
struct assay_str assay_secret_reveal(const struct assay_secret *s); /* the one way in; keep it short */

#ifdef __cplusplus
}
#endif
#endif
