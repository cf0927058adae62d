/*
 * Theory of operation.  A bucket is one number, the time at which it will be empty again (the
 * generic cell rate algorithm, ITU-T I.371): an attempt moves it one interval on, and is refused
 * while it lies more than `burst` intervals ahead.  Buckets stand in a fixed table of sets; in a
 * full set the one that is empty soonest makes room, so memory is bounded and a flood of made-up
 * accounts forgets at most those who failed least.  Names are hashed with a random salt, so that
 * nobody can choose which bucket theirs shares a set with.  This is the near wall, which costs nothing: it
 * holds parallel guesses and floods of one process.  What gateways share and a restart keeps is in failures.c.
 */
#include "local.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>

#define SETS 2048
#define WAYS 4

/* ten at once, then one in six seconds */
const struct auth_throttle_rule auth_per_account = {6000, 10};
/* a class behind one address mistypes now and then; a guesser gets one a second */
const struct auth_throttle_rule auth_per_address = {1000, 120};

struct bucket {
    char key[17]; /* "" is free */
    int64_t empty_ms;
};

struct auth_throttle {
    pthread_mutex_t lock; /* guards set */
    char salt[33];
    struct bucket set[SETS][WAYS];
};

struct auth_throttle *auth_throttle_new(void)
{
    struct auth_throttle *t = calloc(1, sizeof *t);
    if (t != NULL) {
        pthread_mutex_init(&t->lock, NULL);
        assay_random_hex(t->salt, 16);
    }
    return t;
}

void auth_throttle_free(struct auth_throttle *t)
{
    if (t == NULL)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* Who has one IPv6 address has its whole /64, so that is what counts as one. */
static void add_address(struct assay_buf *b, struct assay_str address)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr six;
    if (address.n < sizeof text && address.n > 0 && memchr(address.p, ':', address.n) != NULL) {
        memcpy(text, address.p, address.n);
        text[address.n] = '\0';
        if (inet_pton(AF_INET6, text, &six) == 1 && !IN6_IS_ADDR_V4MAPPED(&six)) {
            assay_buf_add(b, &six, 8);
            return;
        }
    }
    assay_buf_str(b, address);
}

void auth_throttle_key(struct assay_str salt, struct assay_str account, struct assay_str address, char hex[ASSAY_SHA256_HEX])
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_fmt(&b, "%.*s %zu ", ASSAY_FMT(salt), account.n);
    assay_buf_str(&b, account);
    add_address(&b, address);
    assay_sha256_hex(assay_buf_view(&b), hex);
}

static void key_of(const struct auth_throttle *t, struct assay_str account, struct assay_str address, char key[17])
{
    char hex[ASSAY_SHA256_HEX];
    auth_throttle_key(assay_str(t->salt), account, address, hex);
    memcpy(key, hex, 16);
    key[16] = '\0';
}

/* The bucket of a key: its own, or (make) a free one or the one that is empty soonest. Lock held. */
static struct bucket *find(struct auth_throttle *t, const char key[17], bool make)
{
    size_t at = 0;
    for (int i = 0; i < 4; i++)
        at = at * 16 + (size_t)(key[i] <= '9' ? key[i] - '0' : key[i] - 'a' + 10);
    struct bucket *set = t->set[at % SETS], *victim = &set[0];
    for (int i = 0; i < WAYS; i++) {
        if (memcmp(set[i].key, key, 17) == 0)
            return &set[i];
        if (set[i].empty_ms < victim->empty_ms)
            victim = &set[i];
    }
    if (!make)
        return NULL;
    memcpy(victim->key, key, 17);
    victim->empty_ms = 0;
    return victim;
}

static int64_t wait_of(const struct bucket *b, const struct auth_throttle_rule *r, int64_t now_ms)
{
    int64_t ahead = b->empty_ms - now_ms - (r->burst - 1) * r->interval_ms;
    return ahead > 0 ? ahead : 0;
}

static void charge(struct bucket *b, const struct auth_throttle_rule *r, int64_t now_ms)
{
    b->empty_ms = (b->empty_ms > now_ms ? b->empty_ms : now_ms) + r->interval_ms;
}

int64_t auth_throttle_take(struct auth_throttle *t, struct assay_str account, struct assay_str address, int64_t now_ms)
{
    char both[17], alone[17];
    key_of(t, account, address, both);
    key_of(t, ASSAY_STR(""), address, alone);
    pthread_mutex_lock(&t->lock);
    struct bucket *a = find(t, both, true);
    int64_t wait = wait_of(a, &auth_per_account, now_ms);
    if (wait == 0) {
        struct bucket *b = find(t, alone, true);
        wait = wait_of(b, &auth_per_address, now_ms);
        if (wait == 0) {
            /* the second find may have made room at the first one's cost */
            a = find(t, both, true);
            charge(a, &auth_per_account, now_ms);
            b = find(t, alone, false);
            if (b != NULL)
                charge(b, &auth_per_address, now_ms);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return wait;
}

void auth_throttle_give(struct auth_throttle *t, struct assay_str account, struct assay_str address, bool right)
{
    char both[17], alone[17];
    key_of(t, account, address, both);
    key_of(t, ASSAY_STR(""), address, alone);
    pthread_mutex_lock(&t->lock);
    struct bucket *a = find(t, both, false), *b = find(t, alone, false);
    if (a != NULL)
        a->empty_ms = right ? 0 : a->empty_ms - auth_per_account.interval_ms;
    if (b != NULL)
        b->empty_ms -= auth_per_address.interval_ms;
    pthread_mutex_unlock(&t->lock);
}
