/*
 * librdkafka's properties: ours, then what the configuration adds.
 *
 * Every property of librdkafka can be set, but those whose meaning this driver depends on; they are refused with what to
 * use instead.  A name may begin with "consumer." or "producer." and is then for that side alone.  All faults are
 * found before anything is said, and no message shows the value of a property that may hold a secret.
 */
#include "local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *name, *instead;
} ours[] = {
    {"bootstrap.servers", "set kafka_brokers"},
    {"metadata.broker.list", "set kafka_brokers"},
    {"group.id", "set kafka_group_id or kafka_results_group"},
    {"enable.auto.commit", "offsets are committed after the results"},
    {"auto.commit.enable", "offsets are committed after the results"},
    {"enable.auto.offset.store", "offsets are committed after the results"},
    {"auto.commit.interval.ms", "offsets are committed as soon as results are confirmed"},
    {"offset.store.method", "offsets are committed to the broker"},
    {"transactional.id", "this driver uses no transactions"},
    {"acks", "a result counts when all replicas that are in sync have it"},
    {"request.required.acks", "a result counts when all replicas that are in sync have it"},
};

bool bk_props_secret(const char *name)
{
    static const char *const parts[] = {"password", "secret", ".pem", "token", "jaas", "oauthbearer", "credential"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(name, parts[i]) != NULL)
            return true;
    return false;
}

void bk_props_free(struct bk_props *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->item[i].name);
        if (p->item[i].value)
            explicit_bzero(p->item[i].value, strlen(p->item[i].value));
        free(p->item[i].value);
    }
    free(p->item);
    *p = (struct bk_props){0};
}

const char *bk_props_get(const struct bk_props *p, enum bk_role role, const char *name)
{
    for (size_t i = p->n; i-- > 0;)
        if (p->item[i].roles[role] && strcmp(p->item[i].name, name) == 0)
            return p->item[i].value;
    return NULL;
}

static struct assay_str trimmed(struct assay_str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s.p++, s.n--;
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r'))
        s.n--;
    return s;
}

static void where(struct assay_buf *faults, const char *origin, int line)
{
    assay_buf_puts(faults, origin);
    if (line > 0)
        assay_buf_fmt(faults, ", line %d", line);
    assay_buf_puts(faults, ": ");
}

/* One "name=value". */
static int add(struct bk_props *p, struct assay_str text, const char *origin, int line, struct assay_buf *faults, struct assay_err *err)
{
    const char *eq = memchr(text.p, '=', text.n);
    struct assay_str name = trimmed((struct assay_str){text.p, eq ? (size_t)(eq - text.p) : text.n});
    if (!eq || name.n == 0) { /* it may be the rest of a password with a comma: only its place is told */
        where(faults, origin, line);
        assay_buf_fmt(faults, "property %zu is not name=value (a comma within a value is written \\,)\n", p->n + 1);
        return 0;
    }
    struct assay_str value = trimmed((struct assay_str){eq + 1, text.n - (size_t)(eq + 1 - text.p)});
    bool consumer = true, producer = true;
    if (assay_str_starts(name, "consumer."))
        producer = false, name.p += 9, name.n -= 9;
    else if (assay_str_starts(name, "producer."))
        consumer = false, name.p += 9, name.n -= 9;
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (assay_str_is(name, ours[i].name)) {
            where(faults, origin, line);
            assay_buf_fmt(faults, "%s is not yours to set: %s\n", ours[i].name, ours[i].instead);
            return 0;
        }
    if (p->n == p->room) {
        size_t room = p->room ? p->room * 2 : 16;
        struct bk_prop *more = realloc(p->item, room * sizeof *more);
        if (!more)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory for Kafka's properties");
        p->item = more;
        p->room = room;
    }
    struct bk_prop *it = &p->item[p->n];
    *it = (struct bk_prop){.name = strndup(name.p, name.n), .value = strndup(value.p, value.n), .origin = origin, .line = line,
                           .roles = {[BK_CONSUMER] = consumer, [BK_PRODUCER] = producer}};
    p->n++;
    return it->name && it->value ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "no memory for Kafka's properties");
}

/* The list is cut at commas, \, stands for one and \\ for a backslash. */
static int read_list(struct bk_props *p, struct assay_str list, struct assay_buf *faults, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf one = ASSAY_BUF_INIT;
    for (size_t i = 0; i <= list.n; i++) {
        if (i < list.n && list.p[i] == '\\' && i + 1 < list.n && (list.p[i + 1] == ',' || list.p[i + 1] == '\\')) {
            assay_buf_putc(&one, list.p[++i]);
            continue;
        }
        if (i < list.n && list.p[i] != ',') {
            assay_buf_putc(&one, list.p[i]);
            continue;
        }
        if (one.failed)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory for Kafka's properties");
        struct assay_str text = trimmed(assay_buf_view(&one));
        int st = text.n > 0 ? add(p, text, "kafka_properties", 0, faults, err) : 0;
        if (one.p)
            explicit_bzero(one.p, one.n);
        if (st != 0)
            return st;
        assay_buf_reset(&one);
    }
    return 0;
}

static int read_file(struct bk_props *p, const char *file, struct assay_buf *faults, struct assay_err *err)
{
    FILE *f = fopen(file, "re");
    if (!f) {
        assay_buf_fmt(faults, "kafka_properties_file %s: %s\n", file, strerror(errno));
        return 0;
    }
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    int st = 0;
    for (int number = 1; st == 0 && (n = getline(&line, &room, f)) >= 0; number++) {
        struct assay_str text = {line, (size_t)n};
        if (text.n > 0 && text.p[text.n - 1] == '\n')
            text.n--;
        text = trimmed(text);
        if (text.n > 0 && text.p[0] != '#')
            st = add(p, text, file, number, faults, err);
    }
    if (st == 0 && ferror(f))
        assay_buf_fmt(faults, "kafka_properties_file %s: it cannot be read\n", file);
    if (line)
        explicit_bzero(line, room);
    free(line);
    (void)fclose(f);
    return st;
}

int bk_props_read(struct bk_props *p, struct assay_str list, const char *file, struct assay_buf *faults, struct assay_err *err)
{
    int st = file && file[0] ? read_file(p, file, faults, err) : 0;
    return st == 0 ? read_list(p, list, faults, err) : st; /* the list is nearer: it wins */
}

static bool set(rd_kafka_conf_t *conf, const char *name, const char *value, struct assay_buf *faults)
{
    char why[400];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
        return true;
    assay_buf_fmt(faults, "%s: %s\n", name, why);
    return false;
}

rd_kafka_conf_t *bk_conf(struct bk_driver *d, enum bk_role role, const char *group, bool idempotent, struct assay_buf *faults)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    bool ok = set(conf, "bootstrap.servers", d->brokers, faults);
    ok &= set(conf, "client.id", "assay", faults);
    ok &= set(conf, "client.software.name", "assay", faults);
    ok &= set(conf, "reconnect.backoff.max.ms", "5000", faults);
    ok &= set(conf, "socket.keepalive.enable", "true", faults);
    if (role == BK_CONSUMER) {
        ok &= set(conf, "group.id", group, faults);
        ok &= set(conf, "enable.auto.commit", "false", faults);
        ok &= set(conf, "enable.auto.offset.store", "false", faults);
        ok &= set(conf, "auto.offset.reset", "earliest", faults);
        /* the largest that brokers before 1.0 take by default is 30 s; a dead worker's messages wait for it */
        ok &= set(conf, "session.timeout.ms", "10000", faults);
        ok &= set(conf, "heartbeat.interval.ms", "2000", faults);
        /* a topic that is made later, and partitions that are added, are seen within this */
        ok &= set(conf, "topic.metadata.refresh.interval.ms", "10000", faults);
        /* what waits here is what nobody else can take meanwhile */
        ok &= set(conf, "queued.min.messages", "1000", faults);
        ok &= set(conf, "queued.max.messages.kbytes", "16384", faults);
    } else {
        ok &= set(conf, "acks", "all", faults);
        ok &= set(conf, "enable.idempotence", idempotent ? "true" : "false", faults);
        ok &= set(conf, "message.timeout.ms", "0", faults); /* until the broker has it: asking again could make it two */
        ok &= set(conf, "linger.ms", "2", faults);
        ok &= set(conf, "queue.buffering.max.kbytes", "131072", faults);
    }
    for (size_t i = 0; i < d->props.n; i++) {
        const struct bk_prop *p = &d->props.item[i];
        char why[400];
        if (!p->roles[role] || rd_kafka_conf_set(conf, p->name, p->value, why, sizeof why) == RD_KAFKA_CONF_OK)
            continue;
        ok = false;
        where(faults, p->origin, p->line);
        assay_buf_fmt(faults, "%s: %s\n", p->name, bk_props_secret(p->name) ? "librdkafka does not take this value" : why);
    }
    if (ok && !faults->failed)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}
