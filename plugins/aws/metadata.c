/* What the container's and the instance's endpoints for credentials answer: keys with an hour at which they end. */
#include "aws.h"

#include <assay/json.h>

struct answer {
    struct assay_str code, id, secret, token;
    int64_t expires_ms;
};

int aws_metadata_keys(struct assay_str json, struct aws_keys *out, struct assay_err *err)
{
#define KEY(name_, member, most, more)                                                                                                \
    {.name = (name_), .type = ASSAY_JSON_STRING, .flags = (more), .offset = offsetof(struct answer, member), .min = 1, .max = (most), \
     .has_offset = -1}
    static const struct assay_json_field fields[] = {
        KEY("Code", code, 256, 0),
        KEY("AccessKeyId", id, AWS_KEY_MAX - 1, ASSAY_JSON_REQUIRED),
        KEY("SecretAccessKey", secret, AWS_KEY_MAX - 1, ASSAY_JSON_REQUIRED),
        KEY("Token", token, AWS_TOKEN_MAX - 1, 0),
        {.name = "Expiration", .type = ASSAY_JSON_TIME, .offset = offsetof(struct answer, expires_ms), .has_offset = -1},
        {.name = "*", .has_offset = -1},
        {.name = NULL},
    };
#undef KEY
    struct answer a = {.expires_ms = 0};
    struct assay_json_faults faults = {.n = 0};
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new((size_t)1 << 20);
    if (arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for credentials");
    int rc = assay_json_decode(json, fields, &a, &(struct assay_json_limits){.max_bytes = 65536, .max_depth = 4}, arena, &faults, err);
    if (rc == ASSAY_E_INVALID) /* never the value: it may be a secret */
        return assay_err_set(err, ASSAY_E_CORRUPT, "the answer is not what is expected at \"%.*s\"", ASSAY_FMT(faults.item[0].pointer));
    if (rc != 0)
        return rc;
    if (a.code.n > 0 && !assay_str_is(a.code, "Success"))
        return assay_err_set(err, ASSAY_E_CORRUPT, "it answers \"%.*s\" instead of keys", ASSAY_FMT(a.code));
    const struct {
        struct assay_str from;
        char *to;
    } parts[] = {{a.id, out->id}, {a.secret, out->secret}, {a.token, out->token}};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < parts[i].from.n; k++)
            if (parts[i].from.p[k] <= ' ' || parts[i].from.p[k] >= 127)
                return assay_err_set(err, ASSAY_E_CORRUPT, "the answer has a key or token with characters that none has");
        if (parts[i].from.n > 0)
            memcpy(parts[i].to, parts[i].from.p, parts[i].from.n);
        parts[i].to[parts[i].from.n] = '\0';
    }
    out->expires_ms = a.expires_ms;
    return 0;
}
