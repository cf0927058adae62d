/* Mail through an SMTP server: libcurl speaks, this writes the message (RFC 5322, RFC 2045) and looks at addresses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>

#include <assay/mail.h>
#include <assay/plugin.h>
#include <assay/value.h>

#define CONNECT_S 10L
#define WHOLE_S 30L
#define TEXT_MAX ((size_t)64 << 10)

static const struct assay_option options[] = {
    {.name = "smtp_user", .env = "SMTP_USER,SMTP_USERNAME", .type = ASSAY_OPT_STRING, .default_text = "", .help = "Account at the SMTP server; empty: none is needed."},
    {.name = "smtp_password", .env = "SMTP_PASSWORD", .type = ASSAY_OPT_STRING, .default_text = "", .flags = ASSAY_OPT_SECRET, .help = "That account's password."},
    {.name = "smtp_tls", .env = "SMTP_TLS", .type = ASSAY_OPT_CHOICE, .default_text = "require", .choices = "require|try|off",
     .help = "Encryption with smtp:// servers (STARTTLS); smtps:// is always encrypted."},
    {.name = "smtp_ca_bundle", .type = ASSAY_OPT_STRING, .default_text = "", .help = "File with the certificates that the SMTP server's is checked by; empty for the system's."},
    {.name = "mail_from", .env = "MAIL_FROM,SMTP_FROM", .type = ASSAY_OPT_STRING, .default_text = "", .help = "Address that mail comes from."},
};

struct mailer {
    const struct assay_host *host;
};

struct reading {
    struct assay_str left;
};

static size_t give(char *to, size_t size, size_t n, void *arg)
{
    struct reading *r = arg;
    size_t take = size * n < r->left.n ? size * n : r->left.n;
    if (take > 0)
        memcpy(to, r->left.p, take);
    r->left.p += take;
    r->left.n -= take;
    return take;
}

/* Nothing in it may begin another line, or another address. */
static bool plain(struct assay_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f || s.p[i] == '<' || s.p[i] == '>')
            return false;
    return s.n > 0 && s.n < 512;
}

static int message(struct assay_buf *out, struct assay_str from, const struct assay_letter *m, struct assay_err *err)
{
    char id[ASSAY_ID_SIZE], date[64];
    time_t now = time(NULL);
    struct tm tm;
    static const char day[] = "SunMonTueWedThuFriSat", month[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const char *at = from.n ? memchr(from.p, '@', from.n) : NULL;
    if (gmtime_r(&now, &tm) == NULL || at == NULL)
        return assay_err_set(err, ASSAY_E_CONFIG, "mail_from must be an address");
    assay_id_new(id);
    (void)snprintf(date, sizeof date, "%.3s, %02d %.3s %04d %02d:%02d:%02d +0000", day + tm.tm_wday * 3, tm.tm_mday, month + tm.tm_mon * 3,
                   tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    assay_buf_fmt(out, "Date: %s\r\nFrom: <%.*s>\r\nTo: <%.*s>\r\nSubject: %.*s\r\nMessage-ID: <%s%.*s>\r\n", date, ASSAY_FMT(from), ASSAY_FMT(m->to),
                  ASSAY_FMT(m->subject), id, (int)(from.p + from.n - at), at);
    assay_buf_puts(out, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
                        "Auto-Submitted: auto-generated\r\n\r\n");
    for (size_t i = 0; i < m->text.n; i++) {
        if (m->text.p[i] == '\n')
            assay_buf_putc(out, '\r');
        assay_buf_putc(out, m->text.p[i]);
    }
    return out->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory for the mail") : 0;
}

static int send_mail(void *self, const struct assay_letter *m, struct assay_err *err)
{
    struct mailer *d = self;
    const struct assay_host *h = d->host;
    const char *from = h->option_str(h->ctx, "mail_from"), *tls = h->option_str(h->ctx, "smtp_tls");
    const char *user = h->option_str(h->ctx, "smtp_user"), *ca = h->option_str(h->ctx, "smtp_ca_bundle");
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    char to_z[520], from_z[520], why[CURL_ERROR_SIZE] = "";
    if (!plain(m->to) || !plain(m->subject) || m->text.n > TEXT_MAX)
        return assay_err_set(err, ASSAY_E_INVALID, "the mail's address or subject cannot stand in a header");
    int rc = message(&text, assay_str(from), m, err);
    if (rc != 0)
        return rc;
    (void)snprintf(to_z, sizeof to_z, "<%.*s>", ASSAY_FMT(m->to));
    (void)snprintf(from_z, sizeof from_z, "<%s>", from);
    struct reading reading = {assay_buf_view(&text)};
    struct curl_slist *to = curl_slist_append(NULL, to_z);
    CURL *c = curl_easy_init();
    CURLcode code = c != NULL && to != NULL ? CURLE_OK : CURLE_OUT_OF_MEMORY;
#define SET(option, value)                                                                                             \
    if (code == CURLE_OK)                                                                                              \
    code = curl_easy_setopt(c, option, value)
    SET(CURLOPT_URL, h->option_str(h->ctx, "smtp_url"));
    SET(CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    SET(CURLOPT_ERRORBUFFER, why);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    SET(CURLOPT_TIMEOUT, WHOLE_S);
    SET(CURLOPT_USE_SSL, (long)(strcmp(tls, "require") == 0 ? CURLUSESSL_ALL : strcmp(tls, "try") == 0 ? CURLUSESSL_TRY : CURLUSESSL_NONE));
    SET(CURLOPT_MAIL_FROM, from_z);
    SET(CURLOPT_MAIL_RCPT, to);
    SET(CURLOPT_READFUNCTION, give);
    SET(CURLOPT_READDATA, &reading);
    SET(CURLOPT_UPLOAD, 1L);
    if (user[0] != '\0') {
        SET(CURLOPT_USERNAME, user);
        SET(CURLOPT_PASSWORD, h->option_str(h->ctx, "smtp_password"));
    }
    if (ca[0] != '\0')
        SET(CURLOPT_CAINFO, ca);
#undef SET
    if (code == CURLE_OK)
        code = curl_easy_perform(c);
    long answer = 0;
    if (c != NULL)
        (void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &answer);
    curl_easy_cleanup(c);
    curl_slist_free_all(to);
    if (code == CURLE_OUT_OF_MEMORY)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the mail");
    if (code != CURLE_OK)
        return assay_err_set(err, answer >= 500 && answer <= 599 ? ASSAY_E_INVALID : ASSAY_E_IO, "the SMTP server (smtp_url) did not take it: %s",
                             why[0] != '\0' ? why : curl_easy_strerror(code));
    return 0;
}

static const struct assay_mail_ops ops = {.size = sizeof ops, .send = send_mail};

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct assay_str from = assay_str(host->option_str(host->ctx, "mail_from")), url = assay_str(host->option_str(host->ctx, "smtp_url"));
    if (!assay_str_starts(url, "smtp://") && !assay_str_starts(url, "smtps://"))
        return assay_err_set(err, ASSAY_E_CONFIG, "smtp_url must begin with smtp:// or smtps://");
    if (!plain(from) || memchr(from.p, '@', from.n) == NULL)
        return assay_err_set(err, ASSAY_E_CONFIG, "smtp_url needs mail_from, the address that mail comes from");
    struct mailer *d = calloc(1, sizeof *d);
    if (d == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(d);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for mail");
    }
    d->host = host;
    *self = d;
    return 0;
}

static void fini(void *self)
{
    free(self);
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_MAIL),
    .name = "mail_smtp",
    .version = "0.1.0",
    .summary = "Mail through an SMTP server",
    .options = ASSAY_TABLE(options),
    .driver = &ops,
    .init = init,
    .fini = fini,
};
