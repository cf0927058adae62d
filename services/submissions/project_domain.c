/* Projects: names, signatures, states and their JSON.  No I/O. */
#include "project.h"

#include <stdio.h>

const char *project_status(struct assay_str state, struct assay_str verdict)
{
    if (assay_str_is(state, "queued"))
        return "PENDING";
    if (assay_str_is(state, "running"))
        return "RUNNING";
    return assay_str_is(state, "done") && (assay_str_is(verdict, "OK") || assay_str_is(verdict, "WA")) ? "DONE" : "ERROR";
}

void upload_sign(struct assay_str secret, struct assay_str key, int64_t expires_s, char out[UPLOAD_SIGNATURE])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char mac[ASSAY_HMAC_SHA256];
    char text[ASSAY_PIT_KEY_MAX + 64];
    int n = snprintf(text, sizeof text, "PUT\n%.*s\n%lld", ASSAY_FMT(key), (long long)expires_s);
    assay_hmac_sha256(secret, (struct assay_str){text, n > 0 && (size_t)n < sizeof text ? (size_t)n : 0}, mac);
    for (size_t i = 0; i < sizeof mac; i++) {
        out[2 * i] = digits[mac[i] >> 4];
        out[2 * i + 1] = digits[mac[i] & 15];
    }
    out[2 * sizeof mac] = '\0';
}

int upload_check(struct assay_str secret, struct assay_str key, struct assay_str expires, struct assay_str signature, int64_t now_s,
                 struct assay_err *err)
{
    char good[UPLOAD_SIGNATURE];
    int64_t until;
    struct assay_err ignored;
    if (key.n > ASSAY_PIT_KEY_MAX || assay_parse_i64(expires, 0, INT64_C(1) << 40, &until, &ignored) < 0)
        return assay_err_set(err, ASSAY_E_FORBIDDEN, "this URL was not made by this server; POST /submissions/request-upload makes one");
    upload_sign(secret, key, until, good);
    if (!assay_equal_ct(assay_str(good), signature))
        return assay_err_set(err, ASSAY_E_FORBIDDEN, "this URL was not made by this server; POST /submissions/request-upload makes one");
    if (now_s > until)
        return assay_err_set(err, ASSAY_E_GONE, "this URL has expired; POST /submissions/request-upload makes another one");
    return ASSAY_OK;
}

struct assay_str upload_key(struct assay_arena *arena, struct assay_str user, struct assay_str pit, int64_t now_ms)
{
    char at[ASSAY_TIME_SIZE], name[32], chance[9];
    size_t n = 0;
    assay_time_format(now_ms, at);
    for (const char *c = at; *c != '\0'; c++) { /* 20261128t050000123z: part of a URL's path, and sorted by time */
        if (*c >= '0' && *c <= '9')
            name[n++] = *c;
        else if (*c == 'T' || *c == 'Z')
            name[n++] = *c == 'T' ? 't' : 'z';
    }
    name[n] = '\0';
    assay_random_hex(chance, 4);
    return assay_arena_fmt(arena, "submissions/%.*s/%.*s/%s-%s.zip", ASSAY_FMT(user), ASSAY_FMT(pit), name, chance);
}

bool upload_is_zip(struct assay_str b)
{
    return b.n >= 22 && b.p[0] == 'P' && b.p[1] == 'K' && ((b.p[2] == 3 && b.p[3] == 4) || (b.p[2] == 5 && b.p[3] == 6));
}

struct assay_str upload_base(struct assay_arena *arena, const char *public_url, struct assay_str scheme, struct assay_str host)
{
    struct assay_str url = assay_str(public_url);
    while (url.n != 0 && url.p[url.n - 1] == '/')
        url.n--;
    if (url.n != 0)
        return assay_arena_str(arena, url);
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == ':' || c == '[' || c == ']'))
            return ASSAY_STR("");
    }
    return host.n != 0 && host.n <= 255 ? assay_arena_fmt(arena, "%s://%.*s", assay_str_is(scheme, "https") ? "https" : "http", ASSAY_FMT(host)) : ASSAY_STR("");
}

/* What there is to say of one that was never run to its end. */
static void fault(struct assay_jw *w, const struct project_row *r)
{
    bool cancelled = assay_str_is(r->state, "cancelled");
    assay_jw_object(w);
    assay_jw_kstr(w, "error", r->reason.n != 0 ? r->reason : cancelled ? ASSAY_STR("cancelled") : ASSAY_STR("it could not be judged"));
    assay_jw_kz(w, "step", cancelled ? "queue" : "runner");
    assay_jw_end(w);
}

void project_write(struct assay_jw *w, const struct project_row *r, bool whole)
{
    const char *status = project_status(r->state, r->verdict);
    bool over = strcmp(status, "DONE") == 0 || strcmp(status, "ERROR") == 0;
    bool told = over && !assay_str_is(r->state, "cancelled") && r->feedback.n > 2 && r->feedback.p[0] == '{';
    assay_jw_object(w);
    assay_jw_kstr(w, "submissionId", r->id);
    assay_jw_kstr(w, "pitId", r->pit_id);
    assay_jw_kstr(w, "pitTitle", r->pit_title);
    assay_jw_kz(w, "status", status);
    assay_jw_key(w, "score");
    if (over)
        assay_jw_real(w, r->has_score ? r->score : 0);
    else
        assay_jw_null(w);
    if (whole) {
        assay_jw_key(w, "feedback");
        if (told)
            assay_jw_raw(w, r->feedback);
        else if (over)
            fault(w, r);
        else
            assay_jw_null(w);
        /* what came to its box has a log, and a duration */
        bool logged = told && memmem(r->feedback.p, r->feedback.n, "\"durationMs\":", 13) != NULL;
        char key[ASSAY_ID_SIZE + 16];
        (void)snprintf(key, sizeof key, "logs/%.*s/run.log", ASSAY_FMT(r->id));
        assay_jw_kz(w, "logsS3Key", logged ? key : NULL);
    }
    assay_jw_ktime(w, "createdAt", r->created_ms);
    assay_jw_ktime(w, "updatedAt", r->updated_ms);
    assay_jw_end(w);
}

#define F(name_, alias_, st, member_, flags_, hi)                                                                      \
    {                                                                                                                  \
        .name = (name_), .alias = (alias_), .type = ASSAY_JSON_STRING, .flags = (flags_), .offset = offsetof(struct st, member_), \
        .min = 1, .max = (hi), .has_offset = -1                                                                        \
    }
const struct assay_json_field upload_fields[] = {
    F("pitId", "pit_id", upload_body, pit_id, ASSAY_JSON_ID | ASSAY_JSON_NULLABLE, 64),
    {.name = NULL},
};
const struct assay_json_field confirm_fields[] = {
    F("pitId", "pit_id", confirm_body, pit_id, ASSAY_JSON_ID | ASSAY_JSON_NULLABLE, 64),
    F("fileKey", "file_key", confirm_body, file_key, ASSAY_JSON_REQUIRED, ASSAY_PIT_KEY_MAX),
    {.name = NULL},
};
