/* What a message of RabbitMQ is to the sink: its name, its id, and the copies that are made of it. */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>

static const amqp_table_entry_t *header(const struct aq_held *h, const char *name)
{
    const amqp_basic_properties_t *p = &h->m.properties;
    if (!(p->_flags & AMQP_BASIC_HEADERS_FLAG))
        return NULL;
    for (int i = 0; i < p->headers.num_entries; i++)
        if (assay_str_is(aq_str(p->headers.entries[i].key), name))
            return &p->headers.entries[i];
    return NULL;
}

/* A whole number of a header, of whatever width its sender chose; 0 without. */
static int64_t number(const struct aq_held *h, const char *name)
{
    const amqp_table_entry_t *e = header(h, name);
    if (!e)
        return 0;
    switch (e->value.kind) {
    case AMQP_FIELD_KIND_I8:
        return e->value.value.i8;
    case AMQP_FIELD_KIND_U8:
        return e->value.value.u8;
    case AMQP_FIELD_KIND_I16:
        return e->value.value.i16;
    case AMQP_FIELD_KIND_U16:
        return e->value.value.u16;
    case AMQP_FIELD_KIND_I32:
        return e->value.value.i32;
    case AMQP_FIELD_KIND_U32:
        return e->value.value.u32;
    case AMQP_FIELD_KIND_I64:
        return e->value.value.i64;
    default:
        return 0;
    }
}

static struct assay_str property(const struct aq_held *h, amqp_flags_t flag, amqp_bytes_t value)
{
    return h->m.properties._flags & flag ? aq_str(value) : ASSAY_STR("");
}

static struct assay_str message_id(const struct aq_held *h)
{
    return property(h, AMQP_BASIC_MESSAGE_ID_FLAG, h->m.properties.message_id);
}

bool aq_has_id(const struct aq_held *h)
{
    return message_id(h).n > 0;
}

static void add(struct assay_sha256 *sha, struct assay_str s)
{
    char size[24];
    (void)snprintf(size, sizeof size, "%zu:", s.n); /* so that no two lists of parts read alike */
    assay_sha256_add(sha, assay_str(size));
    assay_sha256_add(sha, s);
}

/*
 * The same for ever: the queue, the id, the body, and how often the message has been a dead letter, so that one that an
 * operator puts back is judged again.  The body is part of it since producers are known that use an id again.
 */
void aq_name(const struct aq_driver *d, struct aq_held *h)
{
    char hex[ASSAY_SHA256_HEX], encoded[2048];
    const amqp_table_entry_t *death = header(h, "x-death");
    (void)snprintf(h->name, sizeof h->name, "amqp:%s", h->m.body.len == 0 ? "empty" : "unknown");
    struct assay_sha256 *sha = assay_sha256_new();
    if (!sha)
        return;
    add(sha, assay_str(aq_queue_of(d, h->ch)));
    add(sha, message_id(h));
    add(sha, property(h, AMQP_BASIC_CORRELATION_ID_FLAG, h->m.properties.correlation_id));
    add(sha, aq_str(h->m.body));
    (void)snprintf(encoded, sizeof encoded, "%lld", (long long)number(h, "x-assay-deaths"));
    add(sha, assay_str(encoded));
    if (death) {
        amqp_table_entry_t one = *death;
        amqp_table_t table = {.num_entries = 1, .entries = &one};
        size_t used = 0;
        if (amqp_encode_table((amqp_bytes_t){sizeof encoded, encoded}, &table, &used) == AMQP_STATUS_OK)
            add(sha, (struct assay_str){encoded, used});
    }
    if (!aq_has_id(h) && h->ch == ASSAY_CHANNEL_WORK) { /* not stamped, by configuration: nobody can say which one it is */
        char unique[ASSAY_ID_SIZE];
        assay_id_new(unique);
        add(sha, assay_str(unique));
    }
    assay_sha256_end(sha, hex);
    (void)snprintf(h->name, sizeof h->name, "amqp:%s", hex);
}

void aq_message(const struct aq_driver *d, struct aq_held *h, struct assay_message *out)
{
    (void)d;
    const amqp_basic_properties_t *p = &h->m.properties;
    const amqp_table_entry_t *trace = header(h, "traceparent");
    bool text = trace && (trace->value.kind == AMQP_FIELD_KIND_UTF8 || trace->value.kind == AMQP_FIELD_KIND_BYTES);
    *out = (struct assay_message){
        .name = assay_str(h->name),
        .key = message_id(h),
        .body = aq_str(h->m.body),
        .reply_to = property(h, AMQP_BASIC_REPLY_TO_FLAG, p->reply_to),
        .correlation = property(h, AMQP_BASIC_CORRELATION_ID_FLAG, p->correlation_id),
        .traceparent = text ? aq_str(trace->value.value.bytes) : ASSAY_STR(""),
        /* quorum queues count; classic ones say only whether it is the first time */
        .deliveries = header(h, "x-delivery-count") ? number(h, "x-delivery-count") + 1 : h->redelivered ? 0 : 1,
    };
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static int send_copy(struct aq_link *l, struct aq_held *h, const char *exchange, const char *key, const amqp_basic_properties_t *p,
                     struct assay_err *err, const char *what)
{
    return aq_status(amqp_basic_publish(l->conn, (amqp_channel_t)(h->ch + 1), amqp_cstring_bytes(exchange), amqp_cstring_bytes(key), 0, 0, p,
                                        h->m.body),
                     err, what);
}

int aq_stamp(struct aq_link *l, struct aq_held *h, struct assay_err *err)
{
    char id[6 + ASSAY_ID_SIZE] = "assay-";
    assay_id_new(id + 6);
    amqp_basic_properties_t p = h->m.properties;
    p._flags |= AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG;
    p._flags &= ~(amqp_flags_t)AMQP_BASIC_USER_ID_FLAG; /* the broker wants its sender's own there */
    p.message_id = amqp_cstring_bytes(id);
    p.delivery_mode = AMQP_DELIVERY_PERSISTENT;
    return send_copy(l, h, "", aq_queue_of(l->d, h->ch), &p, err, "giving a message an id");
}

#define OWN 3
int aq_bury(struct aq_link *l, struct aq_held *h, struct assay_str reason, struct assay_err *err)
{
    amqp_basic_properties_t p = h->m.properties;
    int old = p._flags & AMQP_BASIC_HEADERS_FLAG ? p.headers.num_entries : 0, n = 0;
    amqp_table_entry_t *entry = calloc((size_t)old + OWN, sizeof *entry);
    if (!entry)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (int i = 0; i < old; i++)
        if (!assay_str_starts(aq_str(p.headers.entries[i].key), "x-assay-"))
            entry[n++] = p.headers.entries[i];
    entry[n].key = amqp_cstring_bytes("x-assay-reason");
    entry[n].value.kind = AMQP_FIELD_KIND_UTF8;
    entry[n++].value.value.bytes = aq_bytes(reason);
    entry[n].key = amqp_cstring_bytes("x-assay-queue");
    entry[n].value.kind = AMQP_FIELD_KIND_UTF8;
    entry[n++].value.value.bytes = amqp_cstring_bytes(aq_queue_of(l->d, h->ch));
    entry[n].key = amqp_cstring_bytes("x-assay-deaths");
    entry[n].value.kind = AMQP_FIELD_KIND_I64;
    entry[n++].value.value.i64 = number(h, "x-assay-deaths") + 1;
    p._flags |= AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG;
    p._flags &= ~(amqp_flags_t)(AMQP_BASIC_USER_ID_FLAG | AMQP_BASIC_EXPIRATION_FLAG); /* a dead letter waits for a person */
    p.headers = (amqp_table_t){.num_entries = n, .entries = entry};
    p.delivery_mode = AMQP_DELIVERY_PERSISTENT;
    int st = send_copy(l, h, l->d->dead_exchange, l->d->dead, &p, err, "publishing a dead letter");
    free(entry);
    return st;
}
