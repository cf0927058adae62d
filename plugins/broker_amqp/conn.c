/* Connections to RabbitMQ: URLs, TLS, login, and the queues that must be there. */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>

#define CALL_S 10 /* the longest that the broker may take for a step of the connection */

/* The n-th of a list, as text of one's own; NULL where there is none. */
static char *url_at(struct assay_str list, size_t at, size_t *count)
{
    char *found = NULL;
    size_t n = 0;
    while (list.n > 0) {
        const char *comma = memchr(list.p, ',', list.n);
        struct assay_str one = {list.p, comma ? (size_t)(comma - list.p) : list.n};
        list.p += one.n + (comma ? 1 : 0);
        list.n -= one.n + (comma ? 1 : 0);
        while (one.n > 0 && one.p[0] == ' ')
            one.p++, one.n--;
        while (one.n > 0 && one.p[one.n - 1] == ' ')
            one.n--;
        if (one.n == 0)
            continue;
        if (n++ == at)
            found = strndup(one.p, one.n);
    }
    if (count)
        *count = n;
    return found;
}

static void wipe(char *z)
{
    if (!z)
        return;
    explicit_bzero(z, strlen(z));
    free(z);
}

/* *url is cut into the pieces of *out. */
static int parse(char *url, struct amqp_connection_info *out, struct assay_err *err)
{
    if (!assay_str_starts(assay_str(url), "amqp://") && !assay_str_starts(assay_str(url), "amqps://"))
        return assay_err_set(err, ASSAY_E_CONFIG, "must begin with amqp:// or amqps://");
    if (strchr(url, '?'))
        return assay_err_set(err, ASSAY_E_CONFIG, "takes no parameters behind \"?\": heartbeat, TLS and the rest are options named amqp_...");
    amqp_default_connection_info(out);
    if (amqp_parse_url(url, out) != AMQP_STATUS_OK)
        return assay_err_set(err, ASSAY_E_CONFIG,
                             "cannot be read: it must be amqp://user:password@host:port/vhost, with other characters than letters and digits of "
                             "user, password and vhost written as %%XX");
    if (out->vhost[0] == '\0') { /* a slash at the end is meant as no more than that */
        static char root[] = "/";
        out->vhost = root;
    }
    return 0;
}

int aq_urls_check(struct assay_str urls, struct assay_err *err)
{
    size_t n = 0;
    wipe(url_at(urls, SIZE_MAX, &n));
    if (n == 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "amqp_url is empty: name RabbitMQ as AMQP_URL=amqp://user:password@host:5672/vhost");
    if (n > AQ_URLS)
        return assay_err_set(err, ASSAY_E_CONFIG, "amqp_url has %zu addresses and may have %d", n, AQ_URLS);
    for (size_t i = 0; i < n; i++) {
        struct amqp_connection_info info;
        char *url = url_at(urls, i, NULL);
        int st = url ? parse(url, &info, err) : assay_err_set(err, ASSAY_E_NOMEM, "no memory");
        wipe(url);
        if (st != 0)
            return assay_err_prefix(err, "address %zu of amqp_url", i + 1);
    }
    return 0;
}

int aq_status(int status, struct assay_err *err, const char *what)
{
    return status == AMQP_STATUS_OK ? 0 : assay_err_set(err, ASSAY_E_IO, "%s: %s", what, amqp_error_string2(status));
}

static int refused(uint16_t code, amqp_bytes_t text, int *out, struct assay_err *err)
{
    if (out)
        *out = code;
    return assay_err_set(err, ASSAY_E_IO, "RabbitMQ says %u %.*s", code, ASSAY_FMT(aq_str(text)));
}

static int closed_by(const amqp_method_t *m, int *code, struct assay_err *err)
{
    if (m->id == AMQP_CONNECTION_CLOSE_METHOD) {
        const amqp_connection_close_t *c = m->decoded;
        return refused(c->reply_code, c->reply_text, code, err);
    }
    if (m->id == AMQP_CHANNEL_CLOSE_METHOD) {
        const amqp_channel_close_t *c = m->decoded;
        return refused(c->reply_code, c->reply_text, code, err);
    }
    return assay_err_set(err, ASSAY_E_IO, "RabbitMQ gave an answer that was not expected (method 0x%x)", m->id);
}

int aq_closed_by(const amqp_frame_t *f, int *code, struct assay_err *err)
{
    return closed_by(&f->payload.method, code, err);
}

int aq_reply(amqp_rpc_reply_t r, int *code, struct assay_err *err, const char *what)
{
    if (code)
        *code = 0;
    switch (r.reply_type) {
    case AMQP_RESPONSE_NORMAL:
        return 0;
    case AMQP_RESPONSE_LIBRARY_EXCEPTION:
        return aq_status(r.library_error == AMQP_STATUS_OK ? AMQP_STATUS_SOCKET_ERROR : r.library_error, err, what);
    case AMQP_RESPONSE_SERVER_EXCEPTION:
        (void)closed_by(&r.reply, code, err);
        return assay_err_prefix(err, "%s", what);
    case AMQP_RESPONSE_NONE:
        break;
    }
    return assay_err_set(err, ASSAY_E_IO, "%s: no answer", what);
}

/* ---- connecting ------------------------------------------------------------------------------------------------ */

static const char *option(const struct aq_driver *d, const char *name)
{
    return d->host->option_str(d->host->ctx, name);
}

static amqp_socket_t *tls_socket(struct aq_link *l, struct assay_err *err)
{
    amqp_socket_t *s = amqp_ssl_socket_new(l->conn);
    const char *ca = option(l->d, "amqp_tls_ca"), *cert = option(l->d, "amqp_tls_cert"), *key = option(l->d, "amqp_tls_key");
    int st = s ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "no memory for a TLS socket");
    if (st == 0 && amqp_ssl_socket_set_ssl_versions(s, AMQP_TLSv1_2, AMQP_TLSvLATEST) != AMQP_STATUS_OK)
        st = assay_err_set(err, ASSAY_E_CONFIG, "TLS 1.2 cannot be had");
    if (st == 0 && l->d->tls_verify && amqp_ssl_socket_set_cacert(s, ca) != AMQP_STATUS_OK)
        st = assay_err_set(err, ASSAY_E_CONFIG, "amqp_tls_ca: %.200s holds no certificates that can be read", ca);
    if (st == 0 && cert[0] != '\0' && amqp_ssl_socket_set_key(s, cert, key[0] != '\0' ? key : cert) != AMQP_STATUS_OK)
        st = assay_err_set(err, ASSAY_E_CONFIG, "amqp_tls_cert and amqp_tls_key: %.200s and its key cannot be used", cert);
    if (st != 0)
        return NULL; /* the connection owns the socket */
    amqp_ssl_socket_set_verify_peer(s, l->d->tls_verify);
    amqp_ssl_socket_set_verify_hostname(s, l->d->tls_verify);
    return s;
}

static amqp_table_entry_t entry_bool(const char *key)
{
    amqp_table_entry_t e = {.key = amqp_cstring_bytes(key)};
    e.value.kind = AMQP_FIELD_KIND_BOOLEAN;
    e.value.value.boolean = 1;
    return e;
}

static amqp_table_entry_t entry_text(const char *key, const char *z)
{
    amqp_table_entry_t e = {.key = amqp_cstring_bytes(key)};
    e.value.kind = AMQP_FIELD_KIND_UTF8;
    e.value.value.bytes = amqp_cstring_bytes(z);
    return e;
}

static int login(struct aq_link *l, const struct amqp_connection_info *info, struct assay_err *err)
{
    char name[120];
    (void)snprintf(name, sizeof name, "assayd %s %.36s", l->ops->name, l->d->host->instance_id);
    amqp_table_entry_t able[] = {entry_bool("connection.blocked"), entry_bool("consumer_cancel_notify"), entry_bool("publisher_confirms"),
                                 entry_bool("basic.nack")};
    amqp_table_entry_t entry[3] = {entry_text("connection_name", name), entry_text("product", "assayd"), {.key = amqp_cstring_bytes("capabilities")}};
    entry[2].value.kind = AMQP_FIELD_KIND_TABLE;
    entry[2].value.value.table = (amqp_table_t){.num_entries = sizeof able / sizeof able[0], .entries = able};
    amqp_table_t props = {.num_entries = sizeof entry / sizeof entry[0], .entries = entry};
    int code = 0;
    int st = aq_reply(amqp_login_with_properties(l->conn, info->vhost, 0, 131072, l->d->heartbeat_s, &props, AMQP_SASL_METHOD_PLAIN, info->user,
                                                 info->password),
                      &code, err, "signing in");
    if (st != 0 && code == AMQP_ACCESS_REFUSED)
        return assay_err_set(err, st, "RabbitMQ refuses the user or the password of amqp_url");
    if (st != 0 && code == AMQP_NOT_ALLOWED)
        return assay_err_set(err, st, "RabbitMQ has no vhost \"%.64s\" for this user; the one that is there from the start is called /", info->vhost);
    return st;
}

int aq_connect(struct aq_link *l, struct assay_err *err)
{
    struct assay_str urls = assay_secret_reveal(l->d->urls);
    struct amqp_connection_info info;
    struct timeval call = {.tv_sec = CALL_S};
    size_t n = 0;
    wipe(url_at(urls, SIZE_MAX, &n));
    char *url = url_at(urls, n != 0 ? l->tries % n : 0, NULL);
    int st = url ? parse(url, &info, err) : assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (st == 0) {
        (void)snprintf(l->peer, sizeof l->peer, "%.255s:%d", info.host, info.port);
        l->conn = amqp_new_connection();
        amqp_socket_t *s = NULL;
        if (!l->conn)
            st = assay_err_set(err, ASSAY_E_NOMEM, "no memory for a connection");
        else if (info.ssl)
            s = tls_socket(l, err);
        else if (!(s = amqp_tcp_socket_new(l->conn)))
            st = assay_err_set(err, ASSAY_E_NOMEM, "no memory for a connection");
        if (st == 0 && !s)
            st = err->code;
        if (st == 0)
            st = aq_status(amqp_socket_open_noblock(s, info.host, info.port, &call), err, "connecting");
        if (st == 0)
            st = aq_status(amqp_set_handshake_timeout(l->conn, &call), err, "a time limit");
        if (st == 0)
            st = aq_status(amqp_set_rpc_timeout(l->conn, &call), err, "a time limit");
        if (st == 0) {
            (void)pthread_mutex_lock(&l->lock);
            l->fd = amqp_get_sockfd(l->conn);
            (void)pthread_mutex_unlock(&l->lock);
            st = login(l, &info, err);
        }
    }
    wipe(url);
    if (st != 0) {
        aq_disconnect(l, false);
        return assay_err_prefix(err, "%s", l->peer[0] != '\0' ? l->peer : "RabbitMQ");
    }
    return 0;
}

void aq_disconnect(struct aq_link *l, bool orderly)
{
    if (!l->conn)
        return;
    if (orderly)
        (void)amqp_connection_close(l->conn, AMQP_REPLY_SUCCESS); /* the broker notices an abrupt end too */
    (void)pthread_mutex_lock(&l->lock);
    l->fd = -1;
    (void)pthread_mutex_unlock(&l->lock);
    (void)amqp_destroy_connection(l->conn);
    l->conn = NULL;
}

/* ---- declaring -------------------------------------------------------------------------------------------------- */

/* A refusal closes the channel it was asked on. */
static int setup_channel(struct aq_link *l, bool again, struct assay_err *err)
{
    amqp_channel_close_ok_t ok = {.dummy = 0};
    if (again) {
        int st = aq_status(amqp_send_method(l->conn, AQ_SETUP_CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok), err, "closing a channel");
        if (st != 0)
            return st;
    }
    (void)amqp_channel_open(l->conn, AQ_SETUP_CHANNEL);
    return aq_reply(amqp_get_rpc_reply(l->conn), NULL, err, "opening a channel");
}

static int declare_queue(struct aq_link *l, const char *queue, struct assay_err *err)
{
    amqp_table_entry_t type = entry_text("x-queue-type", "quorum");
    amqp_table_t args = l->d->quorum ? (amqp_table_t){.num_entries = 1, .entries = &type} : amqp_empty_table;
    int code = 0, st = 0;
    bool other = false;
    if (l->d->declare) {
        (void)amqp_queue_declare(l->conn, AQ_SETUP_CHANNEL, amqp_cstring_bytes(queue), 0, 1, 0, 0, args);
        st = aq_reply(amqp_get_rpc_reply(l->conn), &code, err, "declaring a queue");
        if (st == 0)
            return 0;
        if (code != AMQP_PRECONDITION_FAILED && code != AMQP_ACCESS_REFUSED)
            return assay_err_prefix(err, "queue %.100s", queue);
        other = code == AMQP_PRECONDITION_FAILED;
        st = setup_channel(l, true, err);
        if (st != 0)
            return st;
    }
    (void)amqp_queue_declare(l->conn, AQ_SETUP_CHANNEL, amqp_cstring_bytes(queue), 1, 0, 0, 0, amqp_empty_table);
    st = aq_reply(amqp_get_rpc_reply(l->conn), &code, err, "looking for a queue");
    if (st != 0 && code == AMQP_NOT_FOUND)
        return assay_err_set(err, st, "the queue %.100s does not exist, and this user %s", queue,
                             l->d->declare ? "may not make it" : "does not make it (amqp_declare is off): make it, durable");
    if (st != 0)
        return assay_err_prefix(err, "queue %.100s", queue);
    if (other) {
        aq_link_note(l, "the queue %.100s was made with other arguments than ours (durable, %s) and is used as it is; if it is not durable, it "
                        "does not outlive a restart of RabbitMQ",
                     queue, l->d->quorum ? "quorum" : "no arguments");
    }
    return 0;
}

static int declare_dead_exchange(struct aq_link *l, struct assay_err *err)
{
    const char *x = l->d->dead_exchange;
    int code = 0, st;
    if (l->d->declare) {
        (void)amqp_exchange_declare(l->conn, AQ_SETUP_CHANNEL, amqp_cstring_bytes(x), amqp_cstring_bytes("direct"), 0, 1, 0, 0, amqp_empty_table);
        st = aq_reply(amqp_get_rpc_reply(l->conn), &code, err, "declaring amqp_dead_exchange");
        if (st == 0) {
            (void)amqp_queue_bind(l->conn, AQ_SETUP_CHANNEL, amqp_cstring_bytes(l->d->dead), amqp_cstring_bytes(x), amqp_cstring_bytes(l->d->dead),
                                  amqp_empty_table);
            return aq_reply(amqp_get_rpc_reply(l->conn), &code, err, "binding amqp_dead_queue to amqp_dead_exchange");
        }
        if (code != AMQP_PRECONDITION_FAILED && code != AMQP_ACCESS_REFUSED)
            return st;
        st = setup_channel(l, true, err);
        if (st != 0)
            return st;
    }
    (void)amqp_exchange_declare(l->conn, AQ_SETUP_CHANNEL, amqp_cstring_bytes(x), amqp_cstring_bytes("direct"), 1, 1, 0, 0, amqp_empty_table);
    st = aq_reply(amqp_get_rpc_reply(l->conn), &code, err, "looking for amqp_dead_exchange");
    if (st == 0 && l->d->declare)
        aq_link_note(l, "the exchange %.100s is there already and is used as it is: its bindings are yours", x);
    return st;
}

int aq_declare(struct aq_link *l, enum assay_channel ch, struct assay_err *err)
{
    const char *queue = aq_queue_of(l->d, ch);
    int st = queue[0] != '\0' ? setup_channel(l, false, err) : 0;
    if (st != 0 || queue[0] == '\0')
        return st;
    st = declare_queue(l, queue, err);
    if (st == 0 && ch == ASSAY_CHANNEL_DEAD && l->d->dead_exchange[0] != '\0')
        st = declare_dead_exchange(l, err);
    if (st == 0)
        st = aq_reply(amqp_channel_close(l->conn, AQ_SETUP_CHANNEL, AMQP_REPLY_SUCCESS), NULL, err, "closing a channel");
    return st;
}
