/*
 * The certificate of this server and its key: read, judged, and replaced while connections live.
 *
 * One struct assay_tls serves all loops.  A new connection takes what is current then; who has connected before keeps
 * what it began with, so a reload interrupts nobody.  A reload that fails changes nothing.
 *
 * Threads: new and free on the main thread, with no connection left at free; the rest from any thread.  In a build without OpenSSL
 * (configure --without-tls) everything here answers ASSAY_E_UNSUPPORTED.
 */
#ifndef ASSAY_GATEWAY_TLS_H
#define ASSAY_GATEWAY_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include <assay/err.h>
#include <assay/str.h>

/* A certificate that ends sooner is said to end soon. */
#define ASSAY_TLS_SOON_S (INT64_C(21) * 86400)

struct assay_tls;
struct ssl_st;

struct assay_tls_config {
    const char *cert_file; /* PEM: the server's own certificate first, then those between it and the authority */
    const char *key_file;  /* PEM, without a passphrase */
    const char *min_version; /* "1.2" or "1.3" */
    bool tickets;          /* clients may resume without a full handshake */
};

struct assay_tls_facts {
    int64_t not_before_s, not_after_s; /* Unix time: when the first certificate of the chain to end ends */
    char subject[256];
    char names[512];    /* what the certificate vouches for: "DNS:a.example, IP Address:192.0.2.1"; "" for none */
    char serial[80];
    int chain;          /* certificates in the file */
    bool key_exposed;   /* anyone on this machine may read the key */
    bool covers;        /* it vouches for the host that was asked about */
};

enum assay_tls_state { ASSAY_TLS_VALID, ASSAY_TLS_ENDS_SOON, ASSAY_TLS_ENDED, ASSAY_TLS_NOT_YET };

/* Whether this program can speak TLS at all. */
bool assay_tls_built(void);

/* Reads the files; err says which of them is wrong, and what to do. */
int assay_tls_new(const struct assay_tls_config *cfg, struct assay_tls **ret, struct assay_err *err) ASSAY_MUST_CHECK;
/* Reads them again. A certificate that has ended does not replace one that ends later. */
int assay_tls_reload(struct assay_tls *t, bool *changed, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_tls_facts_get(struct assay_tls *t, struct assay_tls_facts *out);
void assay_tls_free(struct assay_tls *t); /* NULL is fine */

/* Reads and judges the files and keeps nothing of them. host: a name or an address that clients use, or "". */
int assay_tls_check(const struct assay_tls_config *cfg, const char *host, struct assay_tls_facts *out, struct assay_err *err) ASSAY_MUST_CHECK;
enum assay_tls_state assay_tls_judge(const struct assay_tls_facts *f, int64_t now_s);

/* For http_tls.c: the server's side of a new connection, to be freed by SSL_free; NULL: no memory. */
struct ssl_st *assay_tls_session(struct assay_tls *t);

#endif
