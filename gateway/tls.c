/*
 * Theory of operation.  All that is read from the two files becomes one SSL_CTX, which is complete before it replaces the
 * current one under the lock; OpenSSL counts its holders, so the old one goes with its last connection.  Each
 * context has ticket keys of its own: a reload also ends what tickets could resume.
 *
 * What OpenSSL chooses by itself (groups, cipher suites, their order) is left to it and to the system's policy, which is kept
 * up to date where a list of ours would age.  Set are only what a server of requests needs: no renegotiation, no session
 * store (tickets need none), buffers given back while a connection idles.
 *
 * The key is read by the server's own account, after root is gone: a reload must be able to read it too.
 */
#include "tls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#define FILE_MAX_BYTES ((size_t)1 << 20)

struct assay_tls {
    char *cert_file, *key_file, *min_version;
    bool tickets;
    pthread_mutex_t lock; /* guards what follows */
    SSL_CTX *ctx;
    struct assay_tls_facts facts;
};

bool assay_tls_built(void)
{
    return true;
}

/* What OpenSSL says of its last failure, without its file names and numbers. */
static const char *reason(void)
{
    unsigned long e = ERR_peek_last_error();
    const char *why = e != 0 ? ERR_reason_error_string(e) : NULL;
    return why != NULL ? why : "OpenSSL gives no reason";
}

/* ---- files ---------------------------------------------------------------------------------------- */

/* Read here rather than by OpenSSL: a missing file, one without permission and one that is no PEM are three messages. */
static int read_file(const char *what, const char *path, bool key, struct assay_buf *out, bool *exposed, struct assay_err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == EACCES)
        return assay_err_set(err, ASSAY_E_CONFIG, "%s: uid %u, as which the server runs, may not read %s: give it to the server's group and to nobody "
                             "else (chgrp assay FILE; chmod 640 FILE), and open the folders above it (chmod o+x)", what, (unsigned)geteuid(), path);
    if (fd < 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "%s: cannot open %s", what, path);
    int rc = 0;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = assay_err_set(err, ASSAY_E_CONFIG, "%s: %s is not a file", what, path);
    else if (st.st_size <= 0 || (size_t)st.st_size > FILE_MAX_BYTES)
        rc = assay_err_set(err, ASSAY_E_CONFIG, "%s: %s has %lld bytes; a PEM file has 1 to %zu", what, path, (long long)st.st_size, FILE_MAX_BYTES);
    char *p = rc == 0 ? assay_buf_reserve(out, (size_t)st.st_size) : NULL;
    if (rc == 0 && p == NULL)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for %s", path);
    while (rc == 0 && out->n < (size_t)st.st_size) {
        ssize_t n = read(fd, out->p + out->n, (size_t)st.st_size - out->n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = assay_err_errno(err, ASSAY_E_CONFIG, errno, "%s: cannot read %s", what, path);
        if (n <= 0)
            break;
        out->n += (size_t)n;
    }
    if (rc == 0 && key)
        *exposed = (st.st_mode & S_IROTH) != 0;
    close(fd);
    return rc;
}

static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    *(bool *)arg = true;
    return -1;
}

static EVP_PKEY *key_of(const struct assay_buf *pem, const char *path, struct assay_err *err)
{
    bool asked = false;
    BIO *b = BIO_new_mem_buf(pem->p, (int)pem->n);
    EVP_PKEY *key = b != NULL ? PEM_read_bio_PrivateKey(b, NULL, no_passphrase, &asked) : NULL;
    BIO_free(b);
    if (key == NULL && asked)
        (void)assay_err_set(err, ASSAY_E_CONFIG, "tls_key_file: %s has a passphrase, which nobody is there to type: write it without one "
                            "(openssl pkey -in FILE -out NEW)", path);
    else if (key == NULL)
        (void)assay_err_set(err, ASSAY_E_CONFIG, "tls_key_file: %s holds no private key in PEM form (%s)", path, reason());
    return key;
}

/* ---- what a certificate says ----------------------------------------------------------------------- */

static int64_t seconds(const ASN1_TIME *t)
{
    struct tm tm;
    memset(&tm, 0, sizeof tm);
    return t != NULL && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

/* The text that a memory BIO holds, shortened to the room, on one line. */
static void text_of(BIO *b, char *out, size_t room)
{
    int n = b != NULL ? BIO_read(b, out, (int)room - 1) : 0;
    out[n > 0 ? n : 0] = '\0';
    for (char *p = out; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
}

static void describe(X509 *cert, struct assay_tls_facts *f)
{
    BIO *b = BIO_new(BIO_s_mem());
    if (b != NULL)
        (void)X509_NAME_print_ex(b, X509_get_subject_name(cert), 0, XN_FLAG_ONELINE & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
    text_of(b, f->subject, sizeof f->subject);
    BIO_free(b);
    b = BIO_new(BIO_s_mem());
    int at = X509_get_ext_by_NID(cert, NID_subject_alt_name, -1);
    X509_EXTENSION *names = at >= 0 ? X509_get_ext(cert, at) : NULL;
    if (b != NULL && names != NULL)
        (void)X509V3_EXT_print(b, names, X509V3_EXT_DEFAULT, 0);
    text_of(b, f->names, sizeof f->names);
    BIO_free(b);
    b = BIO_new(BIO_s_mem());
    if (b != NULL)
        (void)i2a_ASN1_INTEGER(b, X509_get0_serialNumber(cert));
    text_of(b, f->serial, sizeof f->serial);
    BIO_free(b);
}

static bool covers(X509 *cert, const char *host)
{
    return host[0] == '\0' || X509_check_ip_asc(cert, host, 0) == 1 || X509_check_host(cert, host, 0, 0, NULL) == 1;
}

enum assay_tls_state assay_tls_judge(const struct assay_tls_facts *f, int64_t now_s)
{
    if (now_s >= f->not_after_s)
        return ASSAY_TLS_ENDED;
    if (now_s < f->not_before_s)
        return ASSAY_TLS_NOT_YET;
    return f->not_after_s - now_s < ASSAY_TLS_SOON_S ? ASSAY_TLS_ENDS_SOON : ASSAY_TLS_VALID;
}

/* ---- a context ------------------------------------------------------------------------------------- */

/* RFC 7301: who names protocols and not ours is refused by an alert rather than answered in one that it does not speak. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in, unsigned in_n, void *arg)
{
    (void)ssl;
    (void)arg;
    for (unsigned i = 0; i < in_n && in[i] < in_n - i; i += in[i] + 1u)
        if (in[i] == 8 && memcmp(in + i + 1, "http/1.1", 8) == 0) {
            *out = in + i + 1;
            *out_n = 8;
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int add_chain(SSL_CTX *ctx, const struct assay_buf *pem, const char *path, const char *host, struct assay_tls_facts *f, struct assay_err *err)
{
    BIO *b = BIO_new_mem_buf(pem->p, (int)pem->n);
    int rc = b != NULL ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "no memory for %s", path);
    for (f->chain = 0; rc == 0; f->chain++) {
        X509 *cert = PEM_read_bio_X509(b, NULL, NULL, NULL);
        if (cert == NULL)
            break;
        int64_t from = seconds(X509_get0_notBefore(cert)), to = seconds(X509_get0_notAfter(cert));
        if (f->chain == 0 || from > f->not_before_s)
            f->not_before_s = from;
        if (f->chain == 0 || to < f->not_after_s)
            f->not_after_s = to;
        if (f->chain == 0) {
            describe(cert, f);
            f->covers = covers(cert, host);
        }
        if ((f->chain == 0 ? SSL_CTX_use_certificate(ctx, cert) : (int)SSL_CTX_add1_chain_cert(ctx, cert)) != 1)
            rc = assay_err_set(err, ASSAY_E_CONFIG, "tls_cert_file: certificate %d of %s cannot be used: %s", f->chain + 1, path, reason());
        X509_free(cert);
    }
    BIO_free(b);
    unsigned long e = ERR_peek_last_error();
    bool at_end = ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
    if (rc == 0 && (f->chain == 0 || !at_end))
        rc = assay_err_set(err, ASSAY_E_CONFIG, f->chain == 0 ? "tls_cert_file: %s holds no certificate in PEM form (%s)"
                           : "tls_cert_file: what follows the first certificates of %s is damaged (%s)", path, reason());
    ERR_clear_error();
    return rc;
}

static int use_files(SSL_CTX *ctx, const struct assay_tls_config *cfg, const char *host, struct assay_tls_facts *f, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf cert = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_BUF struct assay_buf pem = ASSAY_BUF_INIT;
    bool unused;
    int rc = read_file("tls_cert_file", cfg->cert_file, false, &cert, &unused, err);
    if (rc == 0)
        rc = add_chain(ctx, &cert, cfg->cert_file, host, f, err);
    if (rc == 0)
        rc = read_file("tls_key_file", cfg->key_file, true, &pem, &f->key_exposed, err);
    EVP_PKEY *key = rc == 0 ? key_of(&pem, cfg->key_file, err) : NULL;
    if (rc == 0 && key == NULL)
        rc = ASSAY_E_CONFIG;
    X509 *own = SSL_CTX_get0_certificate(ctx);
    if (rc == 0 && (own == NULL || X509_check_private_key(own, key) != 1))
        rc = assay_err_set(err, ASSAY_E_CONFIG, "the key in %s does not belong to the certificate in %s: the server's own certificate comes first "
                           "in its file, and both are renewed together", cfg->key_file, cfg->cert_file);
    if (rc == 0 && (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1))
        rc = assay_err_set(err, ASSAY_E_CONFIG, "tls_key_file: the key in %s cannot be used: %s", cfg->key_file, reason());
    EVP_PKEY_free(key);
    if (pem.p != NULL)
        OPENSSL_cleanse(pem.p, pem.n);
    return rc;
}

static int make(const struct assay_tls_config *cfg, const char *host, SSL_CTX **ret, struct assay_tls_facts *f, struct assay_err *err)
{
    static const unsigned char name[] = "assay";
    ERR_clear_error();
    memset(f, 0, sizeof *f);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "OpenSSL cannot be started: %s", reason());
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    /* an end without close_notify is an end like any other: requests say how long they are */
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_COMPRESSION | (cfg->tickets ? 0 : SSL_OP_NO_TICKET));
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_session_id_context(ctx, name, sizeof name - 1);
    if (!cfg->tickets)
        (void)SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    int rc = use_files(ctx, cfg, host, f, err);
    /* the system's policy may ask for more, and then stands */
    int least = strcmp(cfg->min_version, "1.3") == 0 ? TLS1_3_VERSION : TLS1_2_VERSION;
    if (rc == 0 && SSL_CTX_get_min_proto_version(ctx) < least && SSL_CTX_set_min_proto_version(ctx, least) != 1)
        rc = assay_err_set(err, ASSAY_E_CONFIG, "tls_min_version: OpenSSL does not speak TLS %s here", cfg->min_version);
    ERR_clear_error();
    if (rc != 0) {
        SSL_CTX_free(ctx);
        return rc;
    }
    *ret = ctx;
    return 0;
}

/* ---- the current one ------------------------------------------------------------------------------- */

int assay_tls_new(const struct assay_tls_config *cfg, struct assay_tls **ret, struct assay_err *err)
{
    struct assay_tls *t = calloc(1, sizeof *t);
    if (t == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for TLS");
    pthread_mutex_init(&t->lock, NULL);
    t->cert_file = strdup(cfg->cert_file);
    t->key_file = strdup(cfg->key_file);
    t->min_version = strdup(cfg->min_version);
    t->tickets = cfg->tickets;
    int rc = t->cert_file != NULL && t->key_file != NULL && t->min_version != NULL ? make(cfg, "", &t->ctx, &t->facts, err)
                                                                                   : assay_err_set(err, ASSAY_E_NOMEM, "no memory for TLS");
    if (rc != 0) {
        assay_tls_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

int assay_tls_reload(struct assay_tls *t, bool *changed, struct assay_err *err)
{
    const struct assay_tls_config cfg = {t->cert_file, t->key_file, t->min_version, t->tickets};
    struct assay_tls_facts facts;
    SSL_CTX *ctx = NULL;
    int rc = make(&cfg, "", &ctx, &facts, err);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&t->lock);
    SSL_CTX *old = ctx; /* what is thrown away */
    if (assay_tls_judge(&facts, (int64_t)time(NULL)) == ASSAY_TLS_ENDED && facts.not_after_s < t->facts.not_after_s) {
        rc = assay_err_set(err, ASSAY_E_CONFIG, "the certificate in %s has ended, and the one in use ends later", t->cert_file);
    } else {
        X509 *had = SSL_CTX_get0_certificate(t->ctx), *has = SSL_CTX_get0_certificate(ctx);
        *changed = had == NULL || has == NULL || X509_cmp(had, has) != 0;
        old = t->ctx;
        t->ctx = ctx;
        t->facts = facts;
    }
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old);
    return rc;
}

void assay_tls_facts_get(struct assay_tls *t, struct assay_tls_facts *out)
{
    pthread_mutex_lock(&t->lock);
    *out = t->facts;
    pthread_mutex_unlock(&t->lock);
}

int assay_tls_check(const struct assay_tls_config *cfg, const char *host, struct assay_tls_facts *out, struct assay_err *err)
{
    SSL_CTX *ctx = NULL;
    int rc = make(cfg, host, &ctx, out, err);
    SSL_CTX_free(ctx);
    return rc;
}

struct ssl_st *assay_tls_session(struct assay_tls *t)
{
    pthread_mutex_lock(&t->lock);
    SSL *ssl = SSL_new(t->ctx);
    pthread_mutex_unlock(&t->lock);
    return ssl;
}

void assay_tls_free(struct assay_tls *t)
{
    if (t == NULL)
        return;
    SSL_CTX_free(t->ctx);
    pthread_mutex_destroy(&t->lock);
    free(t->cert_file);
    free(t->key_file);
    free(t->min_version);
    free(t);
}
