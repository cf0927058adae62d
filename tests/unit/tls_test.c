/* The certificate's reader, and connections over TLS with the front turned by hand: the client's OpenSSL on the same thread, its
 * bytes cut and held back as a network would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "gateway/tls.h"

#include "http_rig.h"

#define DAY 86400L

static char folder[] = "/tmp/assay-tls-test-XXXXXX";
static char cert_file[64], key_file[64];

/* ---- certificates ----------------------------------------------------------------------------------- */

static void write_key(EVP_PKEY *key, const char *passphrase)
{
    FILE *f = fopen(key_file, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, key, passphrase ? EVP_aes_256_cbc() : NULL, NULL, 0, NULL, (void *)(uintptr_t)passphrase), 1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(key_file, 0600), 0);
}

/* A certificate of its own key, valid from now + from to now + to, behind those that the file has when more. */
static EVP_PKEY *write_cert(long from, long to, bool more)
{
    static long serial = 1;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    assert_non_null(key);
    assert_non_null(x);
    (void)X509_set_version(x, 2);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), from));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), to));
    (void)X509_set_pubkey(x, key);
    (void)X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"a\nname", -1, -1, 0);
    (void)X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:assay.test,IP:127.0.0.1");
    assert_non_null(names);
    assert_int_equal(X509_add_ext(x, names, -1), 1);
    X509_EXTENSION_free(names);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    FILE *f = fopen(cert_file, more ? "a" : "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, x), 1);
    assert_int_equal(fclose(f), 0);
    X509_free(x);
    return key;
}

static void issue(long from, long to)
{
    EVP_PKEY *key = write_cert(from, to, false);
    write_key(key, NULL);
    EVP_PKEY_free(key);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static const struct assay_tls_config files = {cert_file, key_file, "1.2", true};

static void what_is_read_is_judged(void **state)
{
    struct assay_tls_facts f;
    struct assay_err err = {0};
    int64_t now = (int64_t)time(NULL);
    (void)state;
    issue(-DAY, 90 * DAY);
    assert_int_equal(assay_tls_check(&files, "assay.test", &f, &err), 0);
    assert_int_equal(f.chain, 1);
    assert_true(f.covers && !f.key_exposed);
    assert_string_equal(f.names, "DNS:assay.test, IP Address:127.0.0.1");
    assert_null(strchr(f.subject, '\n'));
    assert_int_equal(assay_tls_judge(&f, now), ASSAY_TLS_VALID);
    assert_int_equal(assay_tls_judge(&f, now + 80 * DAY), ASSAY_TLS_ENDS_SOON);
    assert_int_equal(assay_tls_judge(&f, f.not_after_s), ASSAY_TLS_ENDED);
    assert_int_equal(assay_tls_judge(&f, now - 2 * DAY), ASSAY_TLS_NOT_YET);
    assert_int_equal(assay_tls_check(&files, "127.0.0.1", &f, &err), 0);
    assert_true(f.covers);
    assert_int_equal(assay_tls_check(&files, "other.test", &f, &err), 0);
    assert_false(f.covers);
    assert_int_equal(chmod(key_file, 0644), 0);
    assert_int_equal(assay_tls_check(&files, "", &f, &err), 0);
    assert_true(f.key_exposed && f.covers);
    /* a chain ends with the first of it to end */
    issue(-DAY, 90 * DAY);
    EVP_PKEY_free(write_cert(-2 * DAY, 10 * DAY, true));
    assert_int_equal(assay_tls_check(&files, "", &f, &err), 0);
    assert_int_equal(f.chain, 2);
    assert_true(f.not_after_s < now + 11 * DAY && f.not_before_s > now - 2 * DAY);
    assert_int_equal(assay_tls_judge(&f, now), ASSAY_TLS_ENDS_SOON);
}

static void expect_kept(struct assay_tls *t, const char *why)
{
    struct assay_tls_facts before, after;
    struct assay_err err = {0};
    bool changed = false;
    assay_tls_facts_get(t, &before);
    assert_int_equal(assay_tls_reload(t, &changed, &err), ASSAY_E_CONFIG);
    if (!strstr(err.msg, why))
        fail_msg("\"%s\" is not in \"%s\"", why, err.msg);
    assay_tls_facts_get(t, &after);
    assert_string_equal(before.serial, after.serial);
    assert_false(changed);
}

static void bad_files_are_named_and_change_nothing(void **state)
{
    struct assay_tls *t = NULL;
    struct assay_err err = {0};
    bool changed = true;
    (void)state;
    issue(-DAY, 90 * DAY);
    assert_int_equal(assay_tls_new(&files, &t, &err), 0);
    assert_int_equal(assay_tls_reload(t, &changed, &err), 0);
    assert_false(changed);

    EVP_PKEY *key = write_cert(-DAY, 90 * DAY, false);
    expect_kept(t, "does not belong to the certificate");
    write_key(key, "secret");
    expect_kept(t, "has a passphrase");
    write_text(key_file, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    expect_kept(t, "holds no private key");
    write_text(key_file, "");
    expect_kept(t, "has 0 bytes");
    assert_int_equal(unlink(key_file), 0);
    expect_kept(t, "cannot open");
    assert_int_equal(mkdir(key_file, 0700), 0);
    expect_kept(t, "is not a file");
    assert_int_equal(rmdir(key_file), 0);
    write_key(key, NULL);
    assert_int_equal(assay_tls_reload(t, &changed, &err), 0);
    assert_true(changed);
    write_text(cert_file, "nothing\n");
    expect_kept(t, "holds no certificate");
    issue(-9 * DAY, -DAY);
    expect_kept(t, "has ended");
    /* where that in use has ended earlier, the later one is better */
    issue(-9 * DAY, -8 * DAY);
    struct assay_tls *old = NULL;
    assert_int_equal(assay_tls_new(&files, &old, &err), 0);
    issue(-9 * DAY, -DAY);
    assert_int_equal(assay_tls_reload(old, &changed, &err), 0);
    assert_true(changed);
    assay_tls_free(old);
    assay_tls_free(t);
    EVP_PKEY_free(key);
    struct assay_tls_config none = files;
    none.min_version = "1.3";
    issue(-DAY, 90 * DAY);
    assert_int_equal(assay_tls_new(&none, &t, &err), 0);
    assay_tls_free(t);
}

/* ---- connections ------------------------------------------------------------------------------------ */

struct peer {
    struct fixture *f;
    struct assay_tls *tls;
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in, *out; /* what the client is given, what it says */
    int fd;
    size_t step;   /* bytes of the client's that go at a time; 0: all */
    bool eof;
};

static void peer_make(struct peer *p, struct assay_front_config cfg)
{
    struct assay_err err = {0};
    int fd[2];
    memset(p, 0, sizeof *p);
    issue(-DAY, 90 * DAY);
    assert_int_equal(assay_tls_new(&files, &p->tls, &err), 0);
    cfg.loops = 1;
    cfg.tls = p->tls;
    p->f = hand_make(cfg);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    p->fd = fd[0];
    assay_front_adopt_tls(p->f->app.front, fd[1]);
    p->ctx = SSL_CTX_new(TLS_client_method());
    p->ssl = SSL_new(p->ctx);
    p->in = BIO_new(BIO_s_mem());
    p->out = BIO_new(BIO_s_mem());
    assert_true(p->ctx && p->ssl && p->in && p->out);
    (void)BIO_set_mem_eof_return(p->in, -1);
    SSL_set_bio(p->ssl, p->in, p->out);
    SSL_set_connect_state(p->ssl);
}

static void peer_unmake(struct peer *p)
{
    if (p->fd >= 0)
        (void)close(p->fd);
    for (int i = 0; i < 5; i++)
        assay_front_turn(p->f->app.front);
    SSL_free(p->ssl);
    SSL_CTX_free(p->ctx);
    void *f = p->f;
    (void)hand_teardown(&f);
    assay_tls_free(p->tls);
}

/* Sends what the client has to say, piece by piece, and gives it what has come. */
static void carry(struct peer *p)
{
    char buf[65536];
    int n;
    while ((n = BIO_read(p->out, buf, (int)(p->step && p->step < sizeof buf ? p->step : sizeof buf))) > 0) {
        for (ssize_t at = 0; at < n;) {
            ssize_t w = send(p->fd, buf + at, (size_t)(n - at), MSG_NOSIGNAL);
            if (w < 0 && errno == EPIPE)
                break;
            at += w > 0 ? w : 0;
            assay_front_turn(p->f->app.front);
        }
        assay_front_turn(p->f->app.front);
    }
    assay_front_turn(p->f->app.front);
    ssize_t r = recv(p->fd, buf, sizeof buf, MSG_DONTWAIT);
    if (r > 0)
        assert_int_equal(BIO_write(p->in, buf, (int)r), r);
    else if (r == 0)
        p->eof = true;
}

static void shake(struct peer *p)
{
    for (int i = 0; i < 100 && !SSL_is_init_finished(p->ssl); i++) {
        (void)SSL_do_handshake(p->ssl);
        carry(p);
    }
    assert_true(SSL_is_init_finished(p->ssl));
}

/* Writes all of it while taking what comes back: into g, as far as it holds, and counted. */
static size_t talk(struct peer *p, const char *text, size_t n, struct got *g)
{
    char buf[32768];
    size_t come = 0, said = 0;
    g->n = 0;
    g->closed = false;
    for (int quiet = 0; quiet < 20 && !g->closed;) {
        size_t w = 0;
        if (said < n && SSL_write_ex(p->ssl, text + said, n - said < 16000 ? n - said : 16000, &w) == 1)
            said += w;
        carry(p);
        int r = SSL_read(p->ssl, buf, sizeof buf);
        quiet = r > 0 || w > 0 ? 0 : quiet + 1;
        if (r > 0) {
            size_t fits = sizeof g->text - 1 - g->n < (size_t)r ? sizeof g->text - 1 - g->n : (size_t)r;
            memcpy(g->text + g->n, buf, fits);
            g->n += fits;
            come += (size_t)r;
        } else if (SSL_get_error(p->ssl, r) == SSL_ERROR_ZERO_RETURN) {
            g->closed = true;
        }
    }
    g->text[g->n] = '\0';
    return come;
}

static void a_request_is_answered_however_its_records_are_cut(void **state)
{
    static const size_t steps[] = {0, 1, 3, 100};
    struct got *g = calloc(1, sizeof *g);
    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct peer p;
        struct assay_front_stats stats;
        peer_make(&p, (struct assay_front_config){.hsts_s = 60});
        p.step = steps[i];
        shake(&p);
        static const char two[] = "GET /hello HTTP/1.1\r\n" HOST "\r\nPOST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nabcde";
        (void)talk(&p, two, sizeof two - 1, g);
        assert_int_equal(status_of(g->text), 200);
        assert_has(g, "Strict-Transport-Security: max-age=60\r\n");
        assert_int_equal(status_of(nth_answer(g->text, 1)), 201);
        assert_has(g, "\r\n\r\nabcde");
        static const char last[] = "GET /hello HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n";
        (void)talk(&p, last, sizeof last - 1, g);
        assert_int_equal(status_of(g->text), 200);
        assert_true(g->closed); /* by close_notify */
        assay_front_stats(p.f->app.front, &stats);
        assert_int_equal(stats.tls_handshakes[1][0], 1);
        peer_unmake(&p);
    }
    free(g);
}

/* Bodies larger than what is read ahead, in records as large as they come: nothing is left behind inside OpenSSL. */
static void more_than_the_input_holds_comes_through(void **state)
{
    static const char head[] = "POST /echo-worker HTTP/1.1\r\n" HOST "Content-Length: 300000\r\n\r\n";
    struct got *g = calloc(1, sizeof *g);
    char *text = malloc(sizeof head - 1 + 300000);
    struct peer p;
    (void)state;
    peer_make(&p, (struct assay_front_config){.loops = 1});
    shake(&p);
    memcpy(text, head, sizeof head - 1);
    memset(text + sizeof head - 1, 'b', 300000);
    for (int i = 0; i < 3; i++) {
        assert_true(talk(&p, text, sizeof head - 1 + 300000, g) > 300000);
        assert_int_equal(status_of(g->text), 201);
    }
    /* pipelined behind one that is held: they wait, more of them than the input takes */
    size_t n = 0;
    static const char ask[] = "GET /hello HTTP/1.1\r\n" HOST "\r\n";
    (void)talk(&p, "GET /keep HTTP/1.1\r\n" HOST "\r\n", sizeof "GET /keep HTTP/1.1\r\n" HOST "\r\n" - 1, g);
    for (n = 0; n + sizeof ask < 60000; n += sizeof ask - 1)
        memcpy(text + n, ask, sizeof ask - 1);
    assert_int_equal(talk(&p, text, n, g), 0);
    assay_front_resume(p.f->app.front, p.f->app.kept, 0, &(struct assay_response){.status = 200}, NULL);
    unsigned before = p.f->app.handled;
    size_t come = talk(&p, "", 0, g);
    assert_int_equal(status_of(g->text), 200);
    assert_int_equal(p.f->app.handled - before, n / (sizeof ask - 1));
    assert_true(come > n);
    free(text);
    free(g);
    peer_unmake(&p);
}

static void a_large_answer_waits_for_its_reader(void **state)
{
    struct got *g = calloc(1, sizeof *g);
    struct peer p;
    (void)state;
    peer_make(&p, (struct assay_front_config){.loops = 1});
    shake(&p);
    static const char ask[] = "GET /big HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\nGET /big HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n";
    assert_int_equal(SSL_write(p.ssl, ask, sizeof ask - 1), sizeof ask - 1);
    char buf[4096];
    int n = BIO_read(p.out, buf, sizeof buf);
    assert_int_equal(send(p.fd, buf, (size_t)n, MSG_NOSIGNAL), n);
    for (int i = 0; i < 50; i++) /* nobody reads */
        assay_front_turn(p.f->app.front);
    size_t come = talk(&p, "", 0, g);
    assert_true(g->closed);
    assert_true(come > 2 * BIG && come < 2 * BIG + 4000);
    free(g);
    peer_unmake(&p);
}

static void who_speaks_no_tls_is_told(void **state)
{
    struct got *g = calloc(1, sizeof *g);
    struct assay_front_stats stats;
    struct peer p;
    (void)state;
    peer_make(&p, (struct assay_front_config){.loops = 1});
    assert_true(send(p.fd, "PATCH /x HTTP/1.1\r\n\r\n", 21, MSG_NOSIGNAL) == 21);
    for (int i = 0; i < 5; i++)
        assay_front_turn(p.f->app.front);
    ssize_t n = recv(p.fd, g->text, sizeof g->text - 1, MSG_DONTWAIT);
    assert_true(n > 0);
    assert_int_equal(status_of(g->text), 400);
    assert_non_null(strstr(g->text, "use https://"));
    assert_int_equal(recv(p.fd, g->text, 10, MSG_DONTWAIT), 0);
    assay_front_stats(p.f->app.front, &stats);
    assert_int_equal(stats.tls_failures[ASSAY_TLS_PLAIN_HTTP], 1);
    peer_unmake(&p);
    free(g);
}

static void a_handshake_that_stands_still_is_ended(void **state)
{
    struct assay_front_stats stats;
    struct peer p;
    char c;
    (void)state;
    peer_make(&p, (struct assay_front_config){.header_deadline_ms = 100});
    assert_int_equal(send(p.fd, "\x16\x03", 2, MSG_NOSIGNAL), 2);
    for (int i = 0; i < 100 && recv(p.fd, &c, 1, MSG_DONTWAIT) != 0; i++) {
        (void)usleep(20000);
        assay_front_turn(p.f->app.front);
    }
    assay_front_stats(p.f->app.front, &stats);
    assert_int_equal(stats.tls_failures[ASSAY_TLS_TIMEOUT], 1);
    assert_true(stats.timeouts >= 1);
    peer_unmake(&p);
}

/* A stream that fails is cut: over HTTP/1.0, where only the end tells, a goodbye would say that it was whole. */
static void what_was_cut_off_is_not_said_goodbye_to(void **state)
{
    struct got *g = calloc(1, sizeof *g);
    (void)state;
    for (int whole = 0; whole < 2; whole++) {
        struct peer p;
        peer_make(&p, (struct assay_front_config){.loops = 1});
        shake(&p);
        static const char ask[] = "GET /keep HTTP/1.0\r\n" HOST "\r\n";
        (void)talk(&p, ask, sizeof ask - 1, g);
        stream_open(p.f, "a piece", NULL);
        (void)talk(&p, "", 0, g);
        assert_has(g, "a piece");
        assert_false(g->closed);
        assay_front_stream_end(p.f->app.front, p.f->app.kept, whole ? 0 : ASSAY_E_IO);
        (void)talk(&p, "", 0, g);
        assert_int_equal(g->closed, whole);
        assert_true(p.eof || whole);
        peer_unmake(&p);
    }
    free(g);
}

static int make_folder(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(cert_file, sizeof cert_file, "%s/cert.pem", folder);
    (void)snprintf(key_file, sizeof key_file, "%s/key.pem", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(cert_file);
    (void)unlink(key_file);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_judged),
        cmocka_unit_test(bad_files_are_named_and_change_nothing),
        cmocka_unit_test(a_request_is_answered_however_its_records_are_cut),
        cmocka_unit_test(more_than_the_input_holds_comes_through),
        cmocka_unit_test(a_large_answer_waits_for_its_reader),
        cmocka_unit_test(who_speaks_no_tls_is_told),
        cmocka_unit_test(a_handshake_that_stands_still_is_ended),
        cmocka_unit_test(what_was_cut_off_is_not_said_goodbye_to),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
