/* In the place of tls.c and http_tls.c where assayd is built without OpenSSL (configure --without-tls). */
#include "http_impl.h"

#include "tls.h"

static int without(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_UNSUPPORTED, "this assayd was built without TLS: leave tls_cert_file and tls_key_file empty and put a proxy in "
                                                   "front, or build it with OpenSSL (Debian: apt-get install libssl-dev)");
}

bool assay_tls_built(void)
{
    return false;
}

int assay_tls_new(const struct assay_tls_config *cfg, struct assay_tls **ret, struct assay_err *err)
{
    (void)cfg, (void)ret;
    return without(err);
}

int assay_tls_reload(struct assay_tls *t, bool *changed, struct assay_err *err)
{
    (void)t, (void)changed;
    return without(err);
}

int assay_tls_check(const struct assay_tls_config *cfg, const char *host, struct assay_tls_facts *out, struct assay_err *err)
{
    (void)cfg, (void)host, (void)out;
    return without(err);
}

enum assay_tls_state assay_tls_judge(const struct assay_tls_facts *f, int64_t now_s)
{
    return now_s < f->not_after_s ? ASSAY_TLS_VALID : ASSAY_TLS_ENDED;
}

void assay_tls_facts_get(struct assay_tls *t, struct assay_tls_facts *out)
{
    (void)t;
    *out = (struct assay_tls_facts){.chain = 0};
}

void assay_tls_free(struct assay_tls *t)
{
    assert(t == NULL);
}

/* ---- for connections, of which none is ever over TLS */

bool assay_tls_start(struct conn *c, struct assay_tls *from)
{
    (void)c, (void)from;
    return false;
}

void assay_tls_end(struct conn *c)
{
    (void)c;
}

size_t assay_tls_send(struct conn *c, const char *p, size_t n)
{
    (void)c, (void)p, (void)n;
    assert(!"no connection is over TLS");
    return 0;
}

void assay_tls_again(struct conn *c)
{
    (void)assay_tls_send(c, NULL, 0);
}

void assay_tls_settle(struct conn *c)
{
    (void)assay_tls_send(c, NULL, 0);
}

bool assay_tls_bye(struct conn *c)
{
    return assay_tls_send(c, NULL, 0) == 0;
}

void assay_tls_timed_out(struct conn *c)
{
    (void)assay_tls_send(c, NULL, 0);
}
