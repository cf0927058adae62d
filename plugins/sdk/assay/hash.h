/*
 * A keyed hash of short texts (SipHash-2-4 with 128 bits, of libsodium): for tables and multisets of what others
 * have chosen, who do not know the key and so cannot choose texts that collide.  Not for names that last: those
 * are SHA-256 (blob.h).
 *
 * Source: J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF", 2012.  Any thread.
 */
#ifndef ASSAY_HASH_H
#define ASSAY_HASH_H

#include <stdint.h>

#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

struct assay_hash_key {
    unsigned char bytes[16];
};
struct assay_hash {
    uint64_t word[2];
};

void assay_hash_key_new(struct assay_hash_key *key); /* random */
struct assay_hash assay_hash_of(const struct assay_hash_key *key, struct assay_str bytes);

#ifdef __cplusplus
}
#endif
#endif
