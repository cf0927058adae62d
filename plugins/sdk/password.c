#include <assay/password.h>

#include <errno.h>
#include <pthread.h>
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

int assay_password_verify(struct assay_str password, struct assay_str hash, bool *ok, struct assay_err *err)
{
    char z[ASSAY_PASSWORD_HASH];
    bool known = hash.n != 0;
    if (hash.n >= sizeof z)
        return assay_err_set(err, ASSAY_E_CORRUPT, "a stored password hash is too long");
    if (known) {
        memcpy(z, hash.p, hash.n);
        z[hash.n] = '\0';
    } else {
        memcpy(z, DECOY, sizeof DECOY);
    }
    int rc = enter(err);
    if (rc < 0)
        return rc;
    errno = 0;
    bool same = crypto_pwhash_str_verify(z, password.p, password.n) == 0;
    /* one answer for both: who could not be checked must not be told that the password is wrong */
    bool no_memory = !same && errno == ENOMEM;
    leave();
    sodium_memzero(z, sizeof z);
    if (no_memory)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to check a password");
    *ok = known && same;
    return ASSAY_OK;
}
