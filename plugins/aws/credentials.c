/*
 * The chain of places that have keys: the environment, the shared file, the container's endpoint (ECS, EKS Pod Identity), the
 * instance's (EC2 metadata, version 2: with a session's token), in this order, which Amazon's own tools keep too.
 *
 * Keys are asked for by one thread at a time while others go on with the old ones, or wait when there are none that still
 * hold.  Keys that expire are renewed five minutes before; when the endpoint does not answer, the old ones are used to their end
 * and the next try is a few seconds later.  A place that is configured and broken is an error and never skipped: other keys
 * than the ones that somebody meant are worse than none.  Only the instance's endpoint is tried on mere hope, for a second.
 *
 * States: none -> asking -> have -> (five minutes before the end, or refused by the service) asking -> have.
 */
#include "aws.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <assay/value.h>

#define EARLY_MS (5 * 60 * 1000)
#define AGAIN_MIN_MS 1000
#define AGAIN_MAX_MS 30000
#define CONTAINER_MS 2000
#define INSTANCE_MS 1000
#define FILE_MAX ((size_t)1 << 20)
#define CONTAINER_HOST "http://169.254.170.2"
#define INSTANCE_HOST "http://169.254.169.254"
#define ROLES "/latest/meta-data/iam/security-credentials/"

struct aws_chain {
    const struct assay_host *host;
    struct aws_http *http;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t ended;
    bool asking, have, refused;
    struct aws_keys keys;
    const char *source;
    int64_t again_ms, delay_ms; /* after a failure: not before, on the monotonic clock */
    struct assay_err last;
};

void aws_keys_wipe(struct aws_keys *k)
{
    explicit_bzero(k, sizeof *k);
}

struct aws_chain *aws_chain_new(const struct assay_host *host)
{
    struct aws_chain *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->ended, NULL);
    c->host = host;
    c->source = "none yet";
    c->http = aws_http_new("");
    if (c->http == NULL) {
        aws_chain_free(c);
        return NULL;
    }
    return c;
}

void aws_chain_free(struct aws_chain *c)
{
    if (c == NULL)
        return;
    aws_http_free(c->http);
    pthread_cond_destroy(&c->ended);
    pthread_mutex_destroy(&c->lock);
    aws_keys_wipe(&c->keys);
    free(c);
}

static const char *env(const char *name)
{
    const char *v = getenv(name); /* nothing in this process writes the environment */
    return v != NULL ? v : "";
}

/* ---- the environment ---- */

static int from_environment(struct aws_keys *k, struct assay_err *err)
{
    const char *id = env("AWS_ACCESS_KEY_ID"), *secret = env("AWS_SECRET_ACCESS_KEY"), *token = env("AWS_SESSION_TOKEN");
    if (id[0] == '\0' && secret[0] == '\0')
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "AWS_ACCESS_KEY_ID is not set");
    if (id[0] == '\0' || secret[0] == '\0')
        return assay_err_set(err, ASSAY_E_CONFIG, "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set");
    if (strlen(id) >= sizeof k->id || strlen(secret) >= sizeof k->secret || strlen(token) >= sizeof k->token)
        return assay_err_set(err, ASSAY_E_CONFIG, "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_SESSION_TOKEN is too long");
    memcpy(k->id, id, strlen(id) + 1);
    memcpy(k->secret, secret, strlen(secret) + 1);
    memcpy(k->token, token, strlen(token) + 1);
    return 0;
}

/* ---- files ---- */

/* The bytes of a file, at most FILE_MAX. ASSAY_E_NOT_FOUND. */
static int read_file(const char *path, struct assay_buf *out, struct assay_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat sb;
    if (fd < 0)
        return assay_err_errno(err, errno == ENOENT || errno == ENOTDIR ? ASSAY_E_NOT_FOUND : ASSAY_E_CONFIG, errno, "%s", path);
    int rc = 0;
    if (fstat(fd, &sb) != 0 || !S_ISREG(sb.st_mode))
        rc = assay_err_set(err, ASSAY_E_CONFIG, "%s is not a regular file", path);
    while (rc == 0) {
        char *to = assay_buf_reserve(out, 65536);
        ssize_t n = to != NULL ? read(fd, to, 65536) : -1;
        if (to == NULL || out->n > FILE_MAX)
            rc = assay_err_set(err, ASSAY_E_CONFIG, "%s has more than %zu bytes", path, FILE_MAX);
        else if (n < 0 && errno != EINTR)
            rc = assay_err_errno(err, ASSAY_E_CONFIG, errno, "%s", path);
        else if (n == 0)
            break;
        else if (n > 0)
            out->n += (size_t)n;
    }
    (void)close(fd);
    return rc;
}

static int from_one_file(const char *path, const char *profile, struct aws_keys *k, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    int rc = read_file(path, &text, err);
    if (rc == 0) {
        rc = aws_profile_read(assay_buf_view(&text), profile, k, err);
        if (rc != 0)
            rc = rc == ASSAY_E_NOT_FOUND ? assay_err_prefix(err, "%s", path)
                                         : assay_err_set(err, ASSAY_E_CONFIG, "%s: %s", path, err->msg);
    }
    if (text.p != NULL)
        explicit_bzero(text.p, text.n);
    return rc;
}

static void file_path(const char *variable, const char *below_home, char *out, size_t room)
{
    if (env(variable)[0] != '\0')
        (void)snprintf(out, room, "%s", env(variable));
    else if (env("HOME")[0] != '\0')
        (void)snprintf(out, room, "%s/%s", env("HOME"), below_home);
    else
        out[0] = '\0';
}

static int from_files(struct aws_keys *k, struct assay_err *err)
{
    char path[2][4096];
    const char *profile = env("AWS_PROFILE")[0] != '\0' ? env("AWS_PROFILE") : "default";
    bool meant = env("AWS_PROFILE")[0] != '\0' || env("AWS_SHARED_CREDENTIALS_FILE")[0] != '\0';
    file_path("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", path[0], sizeof path[0]);
    file_path("AWS_CONFIG_FILE", ".aws/config", path[1], sizeof path[1]);
    struct assay_err first = {ASSAY_E_NOT_FOUND, "no home folder, and AWS_SHARED_CREDENTIALS_FILE is not set"};
    for (int i = 0; i < 2; i++) {
        if (path[i][0] == '\0')
            continue;
        struct assay_err why = {0, ""};
        int rc = from_one_file(path[i], profile, k, &why);
        if (rc == 0)
            return 0;
        /* a file that we may not read is the account's we came from (root's home, for one), unless somebody named it */
        if (rc != ASSAY_E_NOT_FOUND && meant)
            return assay_err_set(err, ASSAY_E_CONFIG, "%s", why.msg);
        if (i == 0 || first.msg[0] == '\0')
            first = why;
    }
    return assay_err_set(err, meant ? ASSAY_E_CONFIG : ASSAY_E_NOT_FOUND, "%s", first.msg);
}

/* ---- endpoints ---- */

/* Where keys may be asked for without TLS: on this machine and at the addresses that containers have for this. */
static bool may_be_plain(const char *url)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", NULL};
    for (const char *const *h = hosts; *h != NULL; h++) {
        size_t n = strlen(*h);
        if (strncmp(url + 7, *h, n) == 0 && (url[7 + n] == '/' || url[7 + n] == ':' || url[7 + n] == '\0' || url[7 + n] == '?'))
            return true;
    }
    return false;
}

static int ask(struct aws_chain *c, const char *method, const char *url, struct assay_str lines, int64_t timeout_ms,
               struct aws_http_reply *rp, struct assay_err *err)
{
    const struct aws_http_request rq = {
        .method = method, .url = url, .lines = lines, .timeout_ms = timeout_ms, .reply_max = 65536, .no_proxy = true};
    struct assay_err why = {0, ""};
    int rc = aws_http_do(c->http, &rq, rp, &why);
    if (rc != 0) {
        assay_buf_free(&rp->body);
        rc = aws_http_do(c->http, &rq, rp, &why);
    }
    if (rc != 0)
        return assay_err_set(err, ASSAY_E_BUSY, "%.200s: %s", url, why.msg);
    if (rp->status != 200)
        return assay_err_set(err, rp->status == 404 ? ASSAY_E_NOT_FOUND : ASSAY_E_BUSY, "%.200s answers %d", url, rp->status);
    return 0;
}

static int keys_of(const char *url, struct assay_str json, struct aws_keys *k, struct assay_err *err)
{
    struct assay_err why = {0, ""};
    int rc = aws_metadata_keys(json, k, &why);
    return rc == 0 ? 0 : assay_err_set(err, ASSAY_E_BUSY, "%.200s: %s", url, why.msg);
}

static int from_container(struct aws_chain *c, struct aws_keys *k, struct assay_err *err)
{
    const char *relative = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), *full = env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    const char *token = env("AWS_CONTAINER_AUTHORIZATION_TOKEN"), *token_file = env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    ASSAY_CLEANUP_BUF struct assay_buf lines = ASSAY_BUF_INIT, text = ASSAY_BUF_INIT;
    char url[2048];
    if (relative[0] == '\0' && full[0] == '\0')
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set");
    if (relative[0] != '\0')
        (void)snprintf(url, sizeof url, CONTAINER_HOST "%s%s", relative[0] == '/' ? "" : "/", relative);
    else
        (void)snprintf(url, sizeof url, "%s", full);
    bool tls = strncmp(url, "https://", 8) == 0;
    if ((!tls && (strncmp(url, "http://", 7) != 0 || !may_be_plain(url))) || strpbrk(url, "@ \\") != NULL)
        return assay_err_set(err, ASSAY_E_CONFIG, "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or http at this machine or at an "
                             "address that containers have for it");
    if (token_file[0] != '\0') {
        struct assay_err why = {0, ""};
        if (read_file(token_file, &text, &why) != 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: %s", why.msg);
        while (text.n > 0 && (unsigned char)text.p[text.n - 1] <= ' ')
            text.n--;
    } else {
        assay_buf_puts(&text, token);
    }
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < ' ')
            return assay_err_set(err, ASSAY_E_CONFIG, "the container's authorization token has a control character");
    if (text.n > 0) {
        assay_buf_puts(&lines, "Authorization: ");
        assay_buf_str(&lines, assay_buf_view(&text));
        assay_buf_putc(&lines, '\0');
        explicit_bzero(text.p, text.n);
    }
    struct aws_http_reply rp;
    int rc = ask(c, "GET", url, assay_buf_view(&lines), CONTAINER_MS, &rp, err);
    if (rc == 0)
        rc = keys_of(url, assay_buf_view(&rp.body), k, err);
    assay_buf_free(&rp.body);
    return rc == ASSAY_E_NOT_FOUND ? ASSAY_E_BUSY : rc;
}

static int from_instance(struct aws_chain *c, struct aws_keys *k, struct assay_err *err)
{
    const char *base = env("AWS_EC2_METADATA_SERVICE_ENDPOINT")[0] != '\0' ? env("AWS_EC2_METADATA_SERVICE_ENDPOINT") : INSTANCE_HOST;
    ASSAY_CLEANUP_BUF struct assay_buf lines = ASSAY_BUF_INIT;
    char url[1024];
    size_t n = strlen(base);
    if (strcasecmp(env("AWS_EC2_METADATA_DISABLED"), "true") == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "AWS_EC2_METADATA_DISABLED is true");
    while (n > 0 && base[n - 1] == '/')
        n--;
    assay_buf_puts(&lines, "X-aws-ec2-metadata-token-ttl-seconds: 21600");
    assay_buf_putc(&lines, '\0');
    struct aws_http_reply rp;
    (void)snprintf(url, sizeof url, "%.*s/latest/api/token", (int)n, base);
    struct assay_err why = {0, ""};
    int rc = ask(c, "PUT", url, assay_buf_view(&lines), INSTANCE_MS, &rp, &why);
    assay_buf_reset(&lines);
    assay_buf_puts(&lines, "X-aws-ec2-metadata-token: ");
    for (size_t i = 0; i < rp.body.n; i++)
        if (rp.body.p[i] > ' ' && rp.body.p[i] < 127)
            assay_buf_putc(&lines, rp.body.p[i]);
    assay_buf_putc(&lines, '\0');
    assay_buf_free(&rp.body);
    if (rc != 0) /* most machines are no instances */
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no instance metadata: %s", why.msg);
    (void)snprintf(url, sizeof url, "%.*s" ROLES, (int)n, base);
    rc = ask(c, "GET", url, assay_buf_view(&lines), INSTANCE_MS, &rp, err);
    if (rc == ASSAY_E_NOT_FOUND)
        (void)assay_err_set(err, rc, "this instance has no role");
    char role[129] = "";
    for (size_t i = 0; rc == 0 && i < rp.body.n && i < sizeof role - 1 && rp.body.p[i] > ' ' && strchr("/?#%", rp.body.p[i]) == NULL; i++)
        role[i] = rp.body.p[i];
    assay_buf_free(&rp.body);
    if (rc != 0)
        return rc;
    if (role[0] == '\0')
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "this instance has no role");
    (void)snprintf(url, sizeof url, "%.*s" ROLES "%s", (int)n, base, role);
    rc = ask(c, "GET", url, assay_buf_view(&lines), INSTANCE_MS, &rp, err);
    if (rc == 0)
        rc = keys_of(url, assay_buf_view(&rp.body), k, err);
    assay_buf_free(&rp.body);
    return rc == ASSAY_E_NOT_FOUND ? ASSAY_E_BUSY : rc;
}

/* ---- the chain ---- */

static int find(struct aws_chain *c, struct aws_keys *k, const char **source, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf places = ASSAY_BUF_INIT;
    static const char *const names[] = {"environment", "file", "container", "instance"};
    for (int i = 0; i < 4; i++) {
        struct assay_err why = {0, ""};
        aws_keys_wipe(k);
        int rc = i == 0 ? from_environment(k, &why)
               : i == 1 ? from_files(k, &why)
               : i == 2 ? from_container(c, k, &why)
                        : from_instance(c, k, &why);
        if (rc == 0) {
            *source = names[i];
            return 0;
        }
        if (rc != ASSAY_E_NOT_FOUND)
            return assay_err_set(err, rc, "AWS credentials: %s", why.msg);
        assay_buf_fmt(&places, "%s%.110s", i > 0 ? "; " : "", why.msg);
    }
    return assay_err_set(err, ASSAY_E_CONFIG, "there are no AWS credentials: %.*s", ASSAY_FMT(assay_buf_view(&places)));
}

static bool good(const struct aws_chain *c, int64_t now, int64_t early)
{
    return c->have && (c->keys.expires_ms == 0 || now < c->keys.expires_ms - early);
}

/* Called with the lock held, which it gives up meanwhile. */
static void renew(struct aws_chain *c)
{
    AWS_CLEANUP_KEYS struct aws_keys fresh;
    struct assay_err why = {0, ""};
    const char *source = c->source;
    c->asking = true;
    pthread_mutex_unlock(&c->lock);
    int rc = find(c, &fresh, &source, &why);
    pthread_mutex_lock(&c->lock);
    int64_t mono = assay_mono_ns() / 1000000;
    c->asking = false;
    if (rc == 0) {
        if (strcmp(source, c->source) != 0)
            assay_log(c->host, ASSAY_LOG_INFO, "aws_credentials", ASSAY_KZ("source", source),
                      ASSAY_KI("expires_ms", fresh.expires_ms));
        c->keys = fresh;
        c->have = true;
        c->refused = false;
        c->source = source;
        c->delay_ms = 0;
        /* keys that come with less than their five minutes left are taken, and asked for again soon */
        c->again_ms = mono + AGAIN_MIN_MS;
        c->last = (struct assay_err){0, ""};
    } else {
        c->delay_ms = c->delay_ms == 0 ? AGAIN_MIN_MS : c->delay_ms * 2 < AGAIN_MAX_MS ? c->delay_ms * 2 : AGAIN_MAX_MS;
        c->again_ms = mono + c->delay_ms;
        c->last = why;
        c->last.code = rc;
        assay_log(c->host, ASSAY_LOG_WARN, "aws_credentials_failed", ASSAY_KZ("error", why.msg));
    }
    pthread_cond_broadcast(&c->ended);
}

int aws_chain_get(struct aws_chain *c, struct aws_keys *out, struct assay_err *err)
{
    int rc = 0;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        int64_t now = c->host->now_ms(c->host->ctx), mono = assay_mono_ns() / 1000000;
        if (good(c, now, EARLY_MS) && !c->refused)
            break;
        bool usable = good(c, now, 0) && !c->refused;
        if (c->asking && usable)
            break;
        if (c->asking) {
            pthread_cond_wait(&c->ended, &c->lock);
            continue;
        }
        if (mono >= c->again_ms) {
            renew(c);
            continue;
        }
        /* just asked: what there is, or why there is nothing */
        if (c->have && (usable || c->last.code == 0))
            break;
        rc = c->last.code != 0 ? c->last.code : ASSAY_E_BUSY;
        (void)assay_err_set(err, rc, "%s", c->last.msg[0] != '\0' ? c->last.msg : "AWS credentials: the service refuses those that there are");
        break;
    }
    if (rc == 0)
        *out = c->keys;
    pthread_mutex_unlock(&c->lock);
    return rc;
}

void aws_chain_refused(struct aws_chain *c)
{
    pthread_mutex_lock(&c->lock);
    c->refused = true;
    pthread_mutex_unlock(&c->lock);
}

const char *aws_chain_source(struct aws_chain *c)
{
    pthread_mutex_lock(&c->lock);
    const char *s = c->source;
    pthread_mutex_unlock(&c->lock);
    return s;
}
