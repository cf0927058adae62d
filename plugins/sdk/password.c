#include <assay/password.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sodium.h>

/* 32 MiB and 2 passes: above OWASP's floor of 19 MiB and 2. The same numbers stand in DECOY. */
#define OPS 2
#define MEM ((size_t)32 << 20)

/* A hash of nothing that anyone types, with the parameters above: verifying against it takes as long
 * as against a real one. */
static const char DECOY[] = "$argon2id$v=19$m=32768,t=2,p=1$c29tZSBzYWx0IG9mIG91cg$"
                            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards running and waiting */
static pthread_cond_t freed = PTHREAD_COND_INITIALIZER;
static int running, waiting;

static int enter(struct assay_err *err)
{
    if (sodium_init() < 0)
        return assay_err_set(err, ASSAY_E_INTERNAL, "libsodium cannot be initialised");
    int rc = ASSAY_OK;
    pthread_mutex_lock(&lock);
    if (running >= ASSAY_PASSWORD_PARALLEL && waiting >= ASSAY_PASSWORD_WAITING) {
        rc = assay_err_set(err, ASSAY_E_BUSY, "too many sign-ins at this moment");
    } else {
        waiting++;
        while (running >= ASSAY_PASSWORD_PARALLEL)
            pthread_cond_wait(&freed, &lock);
        waiting--;
        running++;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static void leave(void)
{
    pthread_mutex_lock(&lock);
    running--;
    pthread_cond_signal(&freed);
    pthread_mutex_unlock(&lock);
}

int assay_password_hash(struct assay_str password, char out[ASSAY_PASSWORD_HASH], struct assay_err *err)
{
    _Static_assert(crypto_pwhash_STRBYTES <= ASSAY_PASSWORD_HASH, "the hash must fit");
    int rc = enter(err);
    if (rc < 0)
        return rc;
    int failed = crypto_pwhash_str_alg(out, password.p, password.n, OPS, MEM, crypto_pwhash_ALG_ARGON2ID13);
    leave();
    if (failed != 0)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to hash a password");
    return ASSAY_OK;
}

/* What a stored hash says (the encoded form of RFC 9106's reference code, of one lane, with libsodium's length of a salt). */
struct parts {
    unsigned long mem_kib, ops;
    unsigned char salt[crypto_pwhash_SALTBYTES], hash[64];
    size_t hash_n;
};

static bool take_apart(const char *z, struct parts *out)
{
    size_t n = 0;
    int at = 0;
    const char *end;
    if (sscanf(z, "$argon2id$v=19$m=%10lu,t=%10lu,p=1$%n", &out->mem_kib, &out->ops, &at) != 2 || at == 0)
        return false;
    z += at;
    if (sodium_base642bin(out->salt, sizeof out->salt, z, strlen(z), NULL, &n, &end, sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0 ||
        n != sizeof out->salt || *end != '$')
        return false;
    end++;
    return sodium_base642bin(out->hash, sizeof out->hash, end, strlen(end), NULL, &out->hash_n, NULL,
                             sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0 &&
           out->hash_n >= crypto_pwhash_BYTES_MIN;
}

/* Not crypto_pwhash_str_verify(), which has one answer for a wrong password and for no memory: who could not be checked must
 * not be told that the password is wrong. */
int assay_password_verify(struct assay_str password, struct assay_str hash, bool *ok, struct assay_err *err)
{
    char z[ASSAY_PASSWORD_HASH];
    struct parts stored = {.hash_n = 0};
    unsigned char made[sizeof stored.hash];
    bool known = hash.n != 0;
    if (hash.n >= sizeof z)
        return assay_err_set(err, ASSAY_E_CORRUPT, "a stored password hash is too long");
    if (known) {
        memcpy(z, hash.p, hash.n);
        z[hash.n] = '\0';
    } else {
        memcpy(z, DECOY, sizeof DECOY);
    }
    if (!take_apart(z, &stored)) {
        *ok = false;
        return ASSAY_OK;
    }
    int rc = enter(err);
    if (rc < 0)
        return rc;
    int failed = crypto_pwhash(made, stored.hash_n, password.p != NULL ? password.p : "", password.n, stored.salt, stored.ops,
                               (size_t)stored.mem_kib << 10, crypto_pwhash_ALG_ARGON2ID13);
    leave();
    bool same = failed == 0 && sodium_memcmp(made, stored.hash, stored.hash_n) == 0;
    sodium_memzero(&stored, sizeof stored);
    sodium_memzero(made, sizeof made);
    if (failed != 0)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to check a password");
    *ok = known && same;
    return ASSAY_OK;
}
