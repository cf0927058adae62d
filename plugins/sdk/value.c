/* Ids, numbers, instants, digests, secrets. */
#include <assay/value.h>

#include <errno.h>
#include <math.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static void random_bytes(void *p, size_t n)
{
    unsigned char *to = p;
    while (n) {
        ssize_t got = getrandom(to, n, 0);
        if (got < 0) {
            if (errno == EINTR)
                continue;
            abort(); /* a kernel without getrandom: ids and tokens would be guessable */
        }
        to += got;
        n -= (size_t)got;
    }
}

/* Milliseconds and the 12 counter bits of the last id: (ms << 12 | counter), only ever rising. */
static _Atomic uint64_t last_stamp;

void assay_id_new(char out[ASSAY_ID_SIZE])
{
    uint64_t now = (uint64_t)assay_now_ms() << 12;
    uint64_t last = atomic_load_explicit(&last_stamp, memory_order_relaxed);
    uint64_t stamp;
    /* relaxed is enough: the one atomic variable orders itself; nothing else is published by it */
    do {
        stamp = now > last ? now : last + 1;
    } while (!atomic_compare_exchange_weak_explicit(&last_stamp, &last, stamp, memory_order_relaxed, memory_order_relaxed));

    unsigned char b[16];
    random_bytes(b + 8, 8);
    uint64_t ms = stamp >> 12;
    for (int i = 0; i < 6; i++)
        b[i] = (unsigned char)(ms >> (40 - 8 * i));
    b[6] = (unsigned char)(0x70 | ((stamp >> 8) & 0x0f));
    b[7] = (unsigned char)(stamp & 0xff);
    b[8] = (unsigned char)(0x80 | (b[8] & 0x3f));

    static const char hex[] = "0123456789abcdef";
    char *o = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *o++ = '-';
        *o++ = hex[b[i] >> 4];
        *o++ = hex[b[i] & 15];
    }
    *o = 0;
}

bool assay_id_valid(struct assay_str s)
{
    if (s.n != 36)
        return false;
    for (size_t i = 0; i < 36; i++) {
        char c = s.p[i];
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return true;
}

bool assay_slug_valid(struct assay_str s)
{
    if (s.n < 1 || s.n > 64)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!alnum && (i == 0 || (c != '.' && c != '_' && c != '-')))
            return false;
    }
    return true;
}

int assay_parse_i64(struct assay_str s, int64_t min, int64_t max, int64_t *out, struct assay_err *err)
{
    size_t i = 0;
    bool neg = s.n && s.p[0] == '-';
    if (neg)
        i = 1;
    int64_t v = 0;
    bool ok = i < s.n && min <= max;
    for (; ok && i < s.n; i++) {
        int d = s.p[i] - '0';
        ok = d >= 0 && d <= 9 && !__builtin_mul_overflow(v, 10, &v) &&
             !(neg ? __builtin_sub_overflow(v, d, &v) : __builtin_add_overflow(v, d, &v));
    }
    if (!ok || v < min || v > max)
        return assay_err_set(err, ASSAY_E_INVALID, "\"%.*s\" is not a whole number from %lld to %lld",
                             (int)(s.n > 40 ? 40 : s.n), s.p ? s.p : "", (long long)min, (long long)max);
    *out = v;
    return 0;
}

int assay_parse_bool(struct assay_str s, bool *out, struct assay_err *err)
{
    static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no", "off"};
    for (size_t i = 0; i < 4; i++) {
        if (assay_str_ieq(s, yes[i]) || assay_str_ieq(s, no[i])) {
            *out = assay_str_ieq(s, yes[i]);
            return 0;
        }
    }
    return assay_err_set(err, ASSAY_E_INVALID, "\"%.*s\" is not true or false", (int)(s.n > 40 ? 40 : s.n), s.p ? s.p : "");
}

/* Digits with at most one point, as an integer count of thousandths; advances *i. */
static bool decimal_milli(struct assay_str s, size_t *i, int64_t *milli)
{
    size_t from = *i;
    int64_t whole = 0, frac = 0, scale = 100;
    for (; *i < s.n && s.p[*i] >= '0' && s.p[*i] <= '9'; (*i)++)
        if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, s.p[*i] - '0', &whole))
            return false;
    if (*i == from)
        return false;
    if (*i < s.n && s.p[*i] == '.') {
        size_t point = (*i)++;
        for (; *i < s.n && s.p[*i] >= '0' && s.p[*i] <= '9'; (*i)++) {
            frac += (s.p[*i] - '0') * scale;
            scale /= 10;
        }
        if (*i == point + 1)
            return false;
    }
    return !__builtin_mul_overflow(whole, 1000, &whole) && !__builtin_add_overflow(whole, frac, milli);
}

int assay_parse_duration_ms(struct assay_str s, int64_t bare_unit_ms, int64_t *out, struct assay_err *err)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    int64_t total = 0;
    size_t i = 0;
    bool ok = s.n > 0;
    while (ok && i < s.n) {
        bool first = i == 0;
        int64_t milli = 0, ms = 0, part = 0;
        ok = decimal_milli(s, &i, &milli);
        struct assay_str rest = {s.p + i, s.n - i};
        if (ok && rest.n == 0 && first) {
            ms = bare_unit_ms;
        } else if (ok) {
            for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
                size_t n = strlen(units[u].unit);
                if (assay_str_starts(rest, units[u].unit) && (rest.n == n || (rest.p[n] >= '0' && rest.p[n] <= '9'))) {
                    ms = units[u].ms;
                    i += n;
                    break;
                }
            }
            ok = ms != 0;
        }
        ok = ok && !__builtin_mul_overflow(milli, ms, &part) && !__builtin_add_overflow(total, part / 1000, &total);
    }
    if (!ok)
        return assay_err_set(err, ASSAY_E_INVALID, "\"%.*s\" is not a duration: want 250ms, 5s, 2m30s or 1h",
                             (int)(s.n > 40 ? 40 : s.n), s.p ? s.p : "");
    *out = total;
    return 0;
}

int assay_parse_bytes(struct assay_str s, int64_t *out, struct assay_err *err)
{
    static const struct {
        const char *unit;
        int shift;
    } units[] = {{"", 0},   {"b", 0},   {"k", 10},   {"kb", 10},   {"kib", 10},  {"m", 20},   {"mb", 20},
                 {"mib", 20}, {"g", 30}, {"gb", 30}, {"gib", 30}, {"t", 40},   {"tb", 40}, {"tib", 40}};
    size_t i = 0;
    int64_t v = 0, bytes = 0;
    bool ok = true, known = false;
    for (; ok && i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        ok = !__builtin_mul_overflow(v, 10, &v) && !__builtin_add_overflow(v, s.p[i] - '0', &v);
    ok = ok && i > 0;
    for (size_t u = 0; ok && !known && u < sizeof units / sizeof units[0]; u++) {
        if (assay_str_ieq((struct assay_str){s.p + i, s.n - i}, units[u].unit)) {
            known = true;
            ok = !__builtin_mul_overflow(v, (int64_t)1 << units[u].shift, &bytes);
        }
    }
    if (!ok || !known)
        return assay_err_set(err, ASSAY_E_INVALID, "\"%.*s\" is not a size: want bytes, or 64k, 256m, 1g (powers of 1024)",
                             (int)(s.n > 40 ? 40 : s.n), s.p ? s.p : "");
    *out = bytes;
    return 0;
}

static int64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    if (clock_gettime(id, &ts) != 0)
        abort();
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t assay_now_ms(void)
{
    return clock_ns(CLOCK_REALTIME) / 1000000;
}

int64_t assay_mono_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* Civil date from days since 1970-01-01 and back: the proleptic Gregorian calendar counted in eras of
 * 400 years with the year beginning in March (public-domain method of H. Hinnant, "chrono-compatible
 * low-level date algorithms"). */
static void civil_from_days(int64_t z, int64_t *year, int *month, int *day)
{
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = yoe + era * 400 + (*month <= 2);
}

static int64_t days_from_civil(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t yoe = year - era * 400;
    int64_t doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

#define DAY_MS ((int64_t)86400000)
#define LATEST_MS ((int64_t)253402300799999) /* 9999-12-31T23:59:59.999Z */

void assay_time_format(int64_t unix_ms, char out[ASSAY_TIME_SIZE])
{
    int64_t ms = unix_ms < 0 ? 0 : unix_ms > LATEST_MS ? LATEST_MS : unix_ms;
    int64_t year, in_day = ms % DAY_MS;
    int month, day;
    civil_from_days(ms / DAY_MS, &year, &month, &day);
    (void)snprintf(out, ASSAY_TIME_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)year % 10000u, (unsigned)month % 100u,
                   (unsigned)day % 100u, (unsigned)(in_day / 3600000) % 100u, (unsigned)(in_day / 60000 % 60),
                   (unsigned)(in_day / 1000 % 60), (unsigned)(in_day % 1000));
}

static bool digits(struct assay_str s, size_t at, size_t n, int *out)
{
    int v = 0;
    if (at + n > s.n)
        return false;
    for (size_t i = at; i < at + n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        v = v * 10 + (s.p[i] - '0');
    }
    *out = v;
    return true;
}

int assay_time_parse(struct assay_str s, int64_t *unix_ms, struct assay_err *err)
{
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int y, mo, d, h, mi, sec, ms = 0, off_h = 0, off_m = 0, sign = 1;
    bool ok = s.n >= 20 && digits(s, 0, 4, &y) && s.p[4] == '-' && digits(s, 5, 2, &mo) && s.p[7] == '-' &&
              digits(s, 8, 2, &d) && (s.p[10] == 'T' || s.p[10] == 't') && digits(s, 11, 2, &h) && s.p[13] == ':' &&
              digits(s, 14, 2, &mi) && s.p[16] == ':' && digits(s, 17, 2, &sec);
    size_t i = 19;
    if (ok && s.p[i] == '.') {
        int scale = 100;
        size_t from = ++i;
        for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++) {
            ms += (s.p[i] - '0') * scale;
            scale /= 10;
        }
        ok = i > from && i < s.n;
    }
    if (ok && (s.p[i] == 'Z' || s.p[i] == 'z')) {
        i++;
    } else if (ok && (s.p[i] == '+' || s.p[i] == '-')) {
        sign = s.p[i] == '-' ? -1 : 1;
        ok = digits(s, i + 1, 2, &off_h) && i + 3 < s.n && s.p[i + 3] == ':' && digits(s, i + 4, 2, &off_m) && off_h < 24 &&
             off_m < 60;
        i += 6;
    } else {
        ok = false;
    }
    ok = ok && i == s.n && y >= 1970 && mo >= 1 && mo <= 12 && h < 24 && mi < 60 && sec <= 60;
    if (ok) {
        bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
        ok = d >= 1 && d <= month_days[mo - 1] + (mo == 2 && leap ? 1 : 0);
    }
    if (ok) {
        int64_t v = days_from_civil(y, mo, d) * DAY_MS + (int64_t)h * 3600000 + (int64_t)mi * 60000 +
                    (int64_t)(sec == 60 ? 59 : sec) * 1000 + ms - sign * ((int64_t)off_h * 3600000 + (int64_t)off_m * 60000);
        ok = v >= 0 && v <= LATEST_MS;
        if (ok) {
            *unix_ms = v;
            return 0;
        }
    }
    return assay_err_set(err, ASSAY_E_INVALID, "\"%.*s\" is not an RFC 3339 time from 1970 on, like 2026-11-21T07:10:47.123Z",
                         (int)(s.n > 40 ? 40 : s.n), s.p ? s.p : "");
}

void assay_sha256_hex(struct assay_str s, char out[ASSAY_SHA256_HEX])
{
    unsigned char d[crypto_hash_sha256_BYTES];
    static const unsigned char none;
    (void)crypto_hash_sha256(d, s.n ? (const unsigned char *)s.p : &none, s.n);
    (void)sodium_bin2hex(out, ASSAY_SHA256_HEX, d, sizeof d);
}

struct assay_sha256 {
    crypto_hash_sha256_state state;
};

struct assay_sha256 *assay_sha256_new(void)
{
    struct assay_sha256 *h = calloc(1, sizeof *h);
    if (h != NULL)
        (void)crypto_hash_sha256_init(&h->state);
    return h;
}

void assay_sha256_add(struct assay_sha256 *h, struct assay_str s)
{
    if (s.n != 0)
        (void)crypto_hash_sha256_update(&h->state, (const unsigned char *)s.p, s.n);
}

void assay_sha256_end(struct assay_sha256 *h, char out[ASSAY_SHA256_HEX])
{
    unsigned char d[crypto_hash_sha256_BYTES];
    (void)crypto_hash_sha256_final(&h->state, d);
    (void)sodium_bin2hex(out, ASSAY_SHA256_HEX, d, sizeof d);
    free(h);
}

void assay_hmac_sha256(struct assay_str key, struct assay_str text, unsigned char out[ASSAY_HMAC_SHA256])
{
    static const unsigned char none;
    crypto_auth_hmacsha256_state state;
    (void)crypto_auth_hmacsha256_init(&state, key.n ? (const unsigned char *)key.p : &none, key.n);
    if (text.n != 0)
        (void)crypto_auth_hmacsha256_update(&state, (const unsigned char *)text.p, text.n);
    (void)crypto_auth_hmacsha256_final(&state, out);
    sodium_memzero(&state, sizeof state);
}

void assay_random_hex(char *out, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    /* the bytes go into the upper half of out and are spread from the front: no second buffer */
    unsigned char *raw = (unsigned char *)out + n;
    random_bytes(raw, n);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = raw[i];
        out[2 * i] = hex[c >> 4];
        out[2 * i + 1] = hex[c & 15];
    }
    out[2 * n] = 0;
}

bool assay_equal_ct(struct assay_str a, struct assay_str b)
{
    return a.n == b.n && (a.n == 0 || sodium_memcmp(a.p, b.p, a.n) == 0);
}

struct assay_secret {
    size_t n;
    char bytes[];
};

struct assay_secret *assay_secret_new(struct assay_str s)
{
    struct assay_secret *x = malloc(sizeof *x + s.n + 1);
    if (!x)
        return NULL;
    x->n = s.n;
    if (s.n)
        memcpy(x->bytes, s.p, s.n);
    x->bytes[s.n] = 0;
    return x;
}

void assay_secret_free(struct assay_secret *s)
{
    if (!s)
        return;
    sodium_memzero(s->bytes, s->n);
    free(s);
}

struct assay_str assay_secret_reveal(const struct assay_secret *s)
{
    return s ? (struct assay_str){s->bytes, s->n} : ASSAY_STR_NULL;
}
