#include <assay/hash.h>

#include <sodium.h>
#include <string.h>

_Static_assert(sizeof(struct assay_hash) == crypto_shorthash_siphashx24_BYTES, "size of a hash");
_Static_assert(sizeof(struct assay_hash_key) == crypto_shorthash_siphashx24_KEYBYTES, "size of a key");

void assay_hash_key_new(struct assay_hash_key *key)
{
    randombytes_buf(key->bytes, sizeof key->bytes);
}

struct assay_hash assay_hash_of(const struct assay_hash_key *key, struct assay_str bytes)
{
    unsigned char raw[crypto_shorthash_siphashx24_BYTES];
    struct assay_hash h;
    (void)crypto_shorthash_siphashx24(raw, (const unsigned char *)bytes.p, bytes.n, key->bytes); /* always 0 */
    memcpy(&h, raw, sizeof h);
    return h;
}
