/* SQS's JSON protocol (application/x-amz-json-1.0): what its answers say, and what a message may hold. */
#include "local.h"

#define ATTRIBUTE_MAX 1000

struct value {
    struct assay_str text;
};
struct raw_message {
    struct assay_str name, receipt, body;
    struct assay_json_map system;
    struct {
        struct value key, correlation, traceparent;
    } attribute;
};

#define TEXT(holder, member, name_, most)                                                                                     \
    {.name = (name_), .type = ASSAY_JSON_STRING, .offset = offsetof(holder, member), .max = (most), .has_offset = -1}
#define REST {.name = "*", .has_offset = -1}
#define END {.name = NULL}

static const struct assay_json_field value_fields[] = {TEXT(struct value, text, "StringValue", 4096), REST, END};
#define ATTRIBUTE(member)                                                                                                   \
    {.name = #member, .type = ASSAY_JSON_OBJECT, .flags = ASSAY_JSON_NULLABLE, .fields = value_fields, .has_offset = -1,    \
     .offset = offsetof(struct raw_message, attribute.member) - offsetof(struct raw_message, attribute)}
static const struct assay_json_field attribute_fields[] = {ATTRIBUTE(key), ATTRIBUTE(correlation), ATTRIBUTE(traceparent), REST, END};
static const struct assay_json_field message_fields[] = {
    {.name = "MessageId", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct raw_message, name), .min = 1,
     .max = 300, .has_offset = -1},
    {.name = "ReceiptHandle", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct raw_message, receipt), .min = 1,
     .max = 8192, .has_offset = -1},
    {.name = "Body", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NUL_OK, .offset = offsetof(struct raw_message, body), .max = 4 << 20,
     .has_offset = -1},
    {.name = "Attributes", .type = ASSAY_JSON_MAP, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct raw_message, system), .max = 100,
     .has_offset = -1},
    {.name = "MessageAttributes", .type = ASSAY_JSON_OBJECT, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct raw_message, attribute),
     .fields = attribute_fields, .has_offset = -1},
    REST, END};

static int decode(struct assay_str json, const struct assay_json_field *fields, void *out, struct assay_arena *arena, struct assay_err *err)
{
    struct assay_json_faults faults = {.n = 0};
    int rc = assay_json_decode(json, fields, out, &(struct assay_json_limits){.max_bytes = BQ_ANSWER_MAX, .max_depth = 12}, arena, &faults, err);
    if (rc == ASSAY_E_INVALID)
        return assay_err_set(err, ASSAY_E_CORRUPT, "SQS answers what is not expected at \"%.*s\": %.*s", ASSAY_FMT(faults.item[0].pointer),
                             ASSAY_FMT(faults.item[0].detail));
    return rc;
}

int bq_decode_messages(struct assay_str json, struct assay_arena *arena, struct bq_message **out, size_t *n, struct assay_err *err)
{
    struct {
        struct assay_json_array list;
    } all = {.list = {NULL, 0}};
    static const struct assay_json_field fields[] = {
        {.name = "Messages", .type = ASSAY_JSON_ARRAY, .flags = ASSAY_JSON_NULLABLE, .offset = 0, .fields = message_fields,
         .elem_size = sizeof(struct raw_message), .min = 0, .max = BQ_BATCH, .has_offset = -1},
        REST, END};
    int rc = decode(json, fields, &all, arena, err);
    if (rc != 0)
        return rc;
    struct bq_message *m = assay_arena_array(arena, all.list.n + 1, sizeof *m);
    if (m == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for messages");
    for (size_t i = 0; i < all.list.n; i++) {
        const struct raw_message *r = &((const struct raw_message *)all.list.items)[i];
        m[i] = (struct bq_message){.name = r->name, .receipt = r->receipt, .body = r->body, .key = r->attribute.key.text,
                                   .correlation = r->attribute.correlation.text, .traceparent = r->attribute.traceparent.text};
        for (size_t k = 0; k < r->system.n; k++)
            if (assay_str_is(r->system.items[k].key, "ApproximateReceiveCount"))
                m[i].deliveries_text = r->system.items[k].value;
    }
    *out = m;
    *n = all.list.n;
    return 0;
}

struct outcome {
    struct assay_str id, code, message;
    bool theirs;
};
static const struct assay_json_field outcome_fields[] = {
    TEXT(struct outcome, id, "Id", 80), TEXT(struct outcome, code, "Code", 200), TEXT(struct outcome, message, "Message", 4096),
    {.name = "SenderFault", .type = ASSAY_JSON_BOOL, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct outcome, theirs), .has_offset = -1},
    REST, END};

int bq_decode_batch(struct assay_str json, struct assay_arena *arena, size_t n, struct bq_result out[BQ_BATCH], struct assay_err *err)
{
    struct {
        struct assay_json_array good, bad;
    } all = {{NULL, 0}, {NULL, 0}};
    const struct assay_json_field fields[] = {
        {.name = "Successful", .type = ASSAY_JSON_ARRAY, .flags = ASSAY_JSON_NULLABLE, .offset = 0, .fields = outcome_fields,
         .elem_size = sizeof(struct outcome), .min = 0, .max = BQ_BATCH, .has_offset = -1},
        {.name = "Failed", .type = ASSAY_JSON_ARRAY, .flags = ASSAY_JSON_NULLABLE, .offset = sizeof(struct assay_json_array), .fields = outcome_fields,
         .elem_size = sizeof(struct outcome), .min = 0, .max = BQ_BATCH, .has_offset = -1},
        REST, END};
    int rc = decode(json, fields, &all, arena, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < n; i++)
        out[i] = (struct bq_result){.index = (int)i, .code = ASSAY_STR("Missing"), .message = ASSAY_STR("SQS says nothing of this entry")};
    const struct assay_json_array *lists[] = {&all.good, &all.bad};
    for (size_t l = 0; l < 2; l++)
        for (size_t i = 0; i < lists[l]->n; i++) {
            const struct outcome *o = &((const struct outcome *)lists[l]->items)[i];
            if (o->id.n != 1 || o->id.p[0] < '0' || (size_t)(o->id.p[0] - '0') >= n)
                return assay_err_set(err, ASSAY_E_CORRUPT, "SQS answers about an entry that it was not sent");
            struct bq_result *r = &out[o->id.p[0] - '0'];
            r->ok = l == 0;
            r->theirs = l == 1 && o->theirs;
            r->code = o->code;
            r->message = o->message;
        }
    return 0;
}

static void keep(char *out, size_t room, struct assay_str s)
{
    size_t n = s.n < room ? s.n : room - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)s.p[i] < ' ' ? ' ' : s.p[i];
    out[n] = '\0';
}

void bq_explain(struct assay_str body, char code[64], char message[256])
{
    struct {
        struct assay_str type, message;
    } e = {{NULL, 0}, {NULL, 0}};
    static const struct assay_json_field fields[] = {
        {.name = "__type", .type = ASSAY_JSON_STRING, .offset = 0, .max = 300, .has_offset = -1},
        {.name = "message", .alias = "Message", .type = ASSAY_JSON_STRING, .offset = sizeof(struct assay_str), .max = 4096, .has_offset = -1},
        REST, END};
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new((size_t)1 << 20);
    if (arena == NULL || decode(body, fields, &e, arena, NULL) != 0)
        return;
    for (size_t i = 0; i < e.type.n; i++)
        if (e.type.p[i] == '#') {
            e.type = (struct assay_str){e.type.p + i + 1, e.type.n - i - 1};
            break;
        }
    keep(code, 64, e.type);
    keep(message, 256, e.message);
}

int bq_decode_redrive(struct assay_str json, char name[128], char account[32], struct assay_err *err)
{
    struct {
        struct assay_json_map map;
    } a = {.map = {NULL, 0}};
    static const struct assay_json_field fields[] = {
        {.name = "Attributes", .type = ASSAY_JSON_MAP, .flags = ASSAY_JSON_NULLABLE, .offset = 0, .max = 100, .has_offset = -1}, REST, END};
    struct {
        struct assay_str arn;
    } policy = {{NULL, 0}};
    static const struct assay_json_field policy_fields[] = {
        {.name = "deadLetterTargetArn", .type = ASSAY_JSON_STRING, .offset = 0, .max = 300, .has_offset = -1}, REST, END};
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new((size_t)1 << 20);
    if (arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a queue's attributes");
    int rc = decode(json, fields, &a, arena, err);
    for (size_t i = 0; i < a.map.n && rc == 0; i++)
        if (assay_str_is(a.map.items[i].key, "RedrivePolicy"))
            rc = decode(a.map.items[i].value, policy_fields, &policy, arena, err);
    if (rc != 0)
        return rc;
    if (policy.arn.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "the queue has no dead-letter queue");
    /* arn:aws:sqs:REGION:ACCOUNT:NAME */
    struct assay_str part[6] = {{NULL, 0}};
    size_t n = 0, start = 0;
    for (size_t i = 0; i <= policy.arn.n && n < 6; i++)
        if (i == policy.arn.n || policy.arn.p[i] == ':') {
            part[n++] = (struct assay_str){policy.arn.p + start, i - start};
            start = i + 1;
        }
    if (n != 6 || part[5].n == 0 || part[5].n > 80 || part[4].n > 20)
        return assay_err_set(err, ASSAY_E_CORRUPT, "the queue's dead-letter queue has a name that is none");
    keep(name, 128, part[5]);
    keep(account, 32, part[4]);
    return 0;
}

int bq_decode_url(struct assay_str json, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    struct value v = {{NULL, 0}};
    static const struct assay_json_field fields[] = {TEXT(struct value, text, "QueueUrl", 1024), REST, END};
    int rc = decode(json, fields, &v, arena, err);
    if (rc == 0 && v.text.n == 0)
        rc = assay_err_set(err, ASSAY_E_CORRUPT, "SQS gives no QueueUrl");
    *out = v.text;
    return rc;
}

/* U+FFFE or U+FFFF at p: its last digit, else NULL. */
static const char *noncharacter(const char *p, size_t left)
{
    if (left < 3 || (unsigned char)p[0] != 0xef || (unsigned char)p[1] != 0xbf)
        return NULL;
    return (unsigned char)p[2] == 0xbe ? "e" : (unsigned char)p[2] == 0xbf ? "f" : NULL;
}

int bq_body(struct assay_str body, size_t max, struct assay_buf *out, struct assay_err *err)
{
    if (body.n == 0 || !assay_utf8_valid(body))
        return assay_err_set(err, ASSAY_E_GONE, "SQS takes no message that is empty or not UTF-8");
    for (size_t i = 0; i < body.n; i++) {
        unsigned char c = (unsigned char)body.p[i];
        const char *digit = noncharacter(body.p + i, body.n - i);
        if ((c < ' ' && c != '\t' && c != '\n' && c != '\r') || (digit != NULL && body.p[0] != '{'))
            return assay_err_set(err, ASSAY_E_GONE, "SQS takes no message with control characters");
        if (digit == NULL) {
            assay_buf_putc(out, body.p[i]);
        } else { /* in JSON it can only stand in a string */
            assay_buf_fmt(out, "\\ufff%s", digit);
            i += 2;
        }
    }
    if (out->failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a message");
    if (out->n > max)
        return assay_err_set(err, ASSAY_E_GONE, "the message has %zu bytes, and SQS takes %zu (sqs_message_max)", out->n, max);
    return 0;
}

void bq_attribute(struct assay_jw *w, const char *name, struct assay_str value)
{
    char text[ATTRIBUTE_MAX];
    if (value.n == 0)
        return;
    keep(text, sizeof text, value);
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= 127) /* a cut in the middle of a character would not do */
            text[i] = '?';
    assay_jw_key(w, name);
    assay_jw_object(w);
    assay_jw_kz(w, "DataType", "String");
    assay_jw_kz(w, "StringValue", text);
    assay_jw_end(w);
}
