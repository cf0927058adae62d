/*
 * What is sent when.  An iteration is a deck that holds each combination as often as the weights of its language and its
 * outcome say (their product), shuffled by the seed: so an iteration is always whole, and a run can be repeated.
 */
#include "simulate.h"

#define WEIGHT_MAX 1000
#define DECK_MAX 100000

/* splitmix64 (Steele, Lea, Flood 2014): small, and the same everywhere */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

bool plan_profile(struct sim_plan *p, const char *name)
{
    static const struct {
        const char *name;
        unsigned outcome[SIM_OUTCOMES]; /* ok wa tl ml bf re ol */
    } known[] = {
        {"every", {1, 1, 1, 1, 1, 1, 1}},
        {"older", {1, 1, 1, 1, 1, 0, 0}},
        {"load", {12, 4, 0, 1, 2, 1, 0}},
        {"timeouts", {2, 1, 6, 1, 0, 0, 0}},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].name, name) != 0)
            continue;
        memcpy(p->outcome, known[i].outcome, sizeof(p->outcome));
        for (size_t k = 0; k < SIM_LANGUAGES; k++)
            p->language[k] = 1;
        return true;
    }
    return false;
}

/* One "name" or "name=7" of n bytes. NULL, or what is wrong. */
static char *weight_one(unsigned *weight, bool *named, const char *const *names, size_t count, const char *text, size_t n,
                        bool *only_zero)
{
    const char *eq = memchr(text, '=', n);
    size_t name_n = eq != NULL ? (size_t)(eq - text) : n;
    unsigned w = 1;

    if (eq != NULL) {
        const char *d = eq + 1;

        w = 0;
        if (d == text + n)
            return cli_fmt("%.*s has no number behind its =", (int)(n < 40 ? n : 40), text);
        for (; d < text + n; d++) {
            if (*d < '0' || *d > '9' || (w = w * 10 + (unsigned)(*d - '0')) > WEIGHT_MAX)
                return cli_fmt("%.*s: a weight is a number from 0 to %d", (int)(n < 40 ? n : 40), text, WEIGHT_MAX);
        }
    }
    for (size_t i = 0; i < count; i++)
        if (strlen(names[i]) == name_n && memcmp(names[i], text, name_n) == 0) {
            weight[i] = w;
            named[i] = true;
            *only_zero = *only_zero && w == 0;
            return NULL;
        }
    return cli_fmt("%.*s is none of them", (int)(name_n < 40 ? name_n : 40), text);
}

char *plan_weights(unsigned *weight, const char *const *names, size_t n, const char *text)
{
    bool named[SIM_OUTCOMES] = {false}, only_zero = true;

    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        char *wrong = weight_one(weight, named, names, n, text, len, &only_zero);

        if (wrong != NULL)
            return wrong;
        text += len;
        text += *text == ',';
    }
    for (size_t i = 0; i < n; i++)
        if (!named[i] && !only_zero)
            weight[i] = 0;
    return NULL;
}

int plan_begin(struct sim_plan *p, double now_s)
{
    size_t n = 0;

    for (size_t l = 0; l < SIM_LANGUAGES; l++)
        for (size_t o = 0; o < SIM_OUTCOMES; o++)
            n += (size_t)p->language[l] * p->outcome[o];
    if (n == 0 || n > DECK_MAX) {
        term_error(n == 0 ? "there is nothing to send: all weights are 0" : "the weights make an iteration of more than %d messages",
                   DECK_MAX);
        return CLI_USAGE;
    }
    p->deck = malloc(n);
    if (p->deck == NULL) {
        term_error("no memory");
        return CLI_LOCAL;
    }
    p->deck_n = p->deck_at = n;
    p->random = p->seed;
    p->iteration = 0;
    p->start_s = p->next_s = now_s;
    return CLI_OK;
}

static void deal(struct sim_plan *p)
{
    size_t n = 0;

    for (size_t l = 0; l < SIM_LANGUAGES; l++)
        for (size_t o = 0; o < SIM_OUTCOMES; o++)
            for (size_t k = (size_t)p->language[l] * p->outcome[o]; k > 0; k--)
                p->deck[n++] = (unsigned char)(l * SIM_OUTCOMES + o);
    for (size_t i = n - 1; i > 0; i--) {
        size_t k = (size_t)(random_next(&p->random) % (i + 1));
        unsigned char t = p->deck[i];

        p->deck[i] = p->deck[k];
        p->deck[k] = t;
    }
    p->deck_at = 0;
    p->iteration++;
}

enum plan_answer plan_next(struct sim_plan *p, double now_s, size_t *combo, double *wait_s)
{
    if (p->duration_s > 0 && now_s - p->start_s >= p->duration_s)
        return PLAN_OVER;
    if (p->deck_at == p->deck_n && p->iterations > 0 && p->iteration == p->iterations)
        return PLAN_OVER;
    if (now_s < p->next_s) {
        *wait_s = p->next_s - now_s;
        return PLAN_WAIT;
    }
    if (p->deck_at == p->deck_n)
        deal(p);
    *combo = p->deck[p->deck_at++];
    if (p->rate > 0)
        p->next_s = (p->next_s < now_s - 1 ? now_s - 1 : p->next_s) + 1 / p->rate; /* catches up with one second at most */
    if (p->deck_at == p->deck_n && p->interval_s > 0)
        p->next_s = now_s + p->interval_s;
    return PLAN_SEND;
}

void plan_end(struct sim_plan *p)
{
    free(p->deck);
    p->deck = NULL;
}
