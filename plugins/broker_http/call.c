/* One HTTP request to the gateway, with the agent's token, over a connection that is kept. */
#include "local.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct bh_call {
    struct bh_driver *d;
    CURL *curl;
    struct curl_slist *headers;
    struct assay_buf *out;
    size_t max;
};

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct bh_call *c = arg;
    if (c->out->n + size * n > c->max)
        return 0;
    assay_buf_str(c->out, (struct assay_str){p, size * n});
    return c->out->failed ? 0 : size * n;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t e, curl_off_t f)
{
    const struct bh_call *c = arg;
    (void)a;
    (void)b;
    (void)e;
    (void)f;
    return atomic_load(&c->d->stop) ? 1 : 0;
}

void bh_call_free(struct bh_call *c)
{
    if (c == NULL)
        return;
    if (c->curl != NULL)
        curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->headers);
    free(c);
}

static bool header(struct bh_call *c, const char *line)
{
    struct curl_slist *more = curl_slist_append(c->headers, line);
    if (more != NULL)
        c->headers = more;
    return more != NULL;
}

struct bh_call *bh_call_new(struct bh_driver *d, struct assay_err *err)
{
    struct bh_call *c = calloc(1, sizeof *c);
    char line[600];
    struct assay_str token = assay_secret_reveal(d->token);
    (void)snprintf(line, sizeof line, "Authorization: Bearer %.*s", ASSAY_FMT(token));
    if (c != NULL) {
        c->d = d;
        c->curl = curl_easy_init();
    }
    bool ok = c != NULL && c->curl != NULL && header(c, line) && header(c, "Content-Type: application/json") && header(c, "Expect:");
    if (!ok) {
        bh_call_free(c);
        (void)assay_err_set(err, ASSAY_E_NOMEM, "no memory for a request");
        return NULL;
    }
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, 10000L);
    curl_easy_setopt(c->curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, c);
    curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c->curl, CURLOPT_FOLLOWLOCATION, 0L); /* the token goes to the gateway and to nobody else */
    if (d->ca[0] != '\0')
        curl_easy_setopt(c->curl, CURLOPT_CAINFO, d->ca);
    return c;
}

int bh_call(struct bh_call *c, const char *path, const struct assay_str *body, int64_t timeout_ms, size_t max, struct assay_buf *out,
            struct assay_err *err)
{
    char url[2048];
    long status = 0;
    size_t n = strlen(c->d->url);
    while (n != 0 && c->d->url[n - 1] == '/')
        n--;
    (void)snprintf(url, sizeof url, "%.*s%s", (int)n, c->d->url, path);
    assay_buf_reset(out);
    c->out = out;
    c->max = max;
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    if (body != NULL) {
        curl_easy_setopt(c->curl, CURLOPT_POST, 1L);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body->p);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->n);
    } else {
        curl_easy_setopt(c->curl, CURLOPT_HTTPGET, 1L);
    }
    CURLcode rc = curl_easy_perform(c->curl);
    if (rc == CURLE_PEER_FAILED_VERIFICATION)
        return assay_err_set(err, ASSAY_E_IO, "the gateway's certificate is not trusted: name its authority's file in gateway_ca, or mend the certificate (%s)",
                             curl_easy_strerror(rc));
    if (rc == CURLE_SSL_CACERT_BADFILE)
        return assay_err_set(err, ASSAY_E_IO, "gateway_ca: %s cannot be used as a file of authorities", c->d->ca);
    if (rc != CURLE_OK)
        return assay_err_set(err, ASSAY_E_IO, "%s: %s", url, curl_easy_strerror(rc));
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

void bh_trouble(struct bh_driver *d, const char *what, int status, const struct assay_err *err)
{
    char text[sizeof d->trouble] = "";
    if (status < 0)
        (void)snprintf(text, sizeof text, "%s: %.160s", what, err->msg);
    else if (status == 401 || status == 403)
        (void)snprintf(text, sizeof text, "%s: the gateway answers %d: gateway_token must be a token of the agent gateway_agent, with the "
                       "scopes jobs:lease and results:write", what, status);
    else if (status >= 300)
        (void)snprintf(text, sizeof text, "%s: the gateway answers %d", what, status);
    pthread_mutex_lock(&d->lock);
    bool news = strcmp(text, d->trouble) != 0;
    memcpy(d->trouble, text, sizeof text);
    pthread_mutex_unlock(&d->lock);
    if (news && text[0] != '\0' && !atomic_load(&d->stop))
        assay_log(d->host, ASSAY_LOG_WARN, "gateway_trouble", ASSAY_KZ("error", text));
    else if (news && text[0] == '\0')
        assay_log(d->host, ASSAY_LOG_INFO, "gateway_well", ASSAY_KZ("url", d->url));
}

void bh_sleep(struct bh_driver *d, int64_t ms)
{
    for (; ms > 0 && !atomic_load(&d->stop); ms -= 50)
        nanosleep(&(struct timespec){.tv_nsec = (ms < 50 ? ms : 50) * 1000000L}, NULL);
}
