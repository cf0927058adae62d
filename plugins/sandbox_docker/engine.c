/*
 * HTTP with a Docker engine.  Blocking, bounded in time and size, any thread: one curl handle for each call, since
 * the calls are few (a warm container costs two, and then serves for long) and a restarted engine leaves no stale
 * connection behind.
 *
 * What the engine answers is trusted as far as root's own daemon must be, but not with our memory or
 * time: a reply has a cap, a call a deadline, and what does not decode is an error with the call's name in it.
 */
#include "local.h"

#include <assay/json.h>
#include <assay/value.h>

#include <curl/curl.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECT_MS 3000L
#define REPLY_MAX ((size_t)8 << 20)
#define WANTED_API 41 /* 1.41 (Docker 20.10): nothing newer is needed */
#define OLDEST_API 35 /* 1.35 (Docker 17.12): mounts, init-less containers and archives as used here */

static const char default_host[] = "unix:///var/run/docker.sock";

int sd_engine_address(struct sd_engine *e, const char *host, bool tls, const char *cert_path, struct assay_err *err)
{
    const char *h = host[0] != '\0' ? host : default_host;
    int n = -1;

    snprintf(e->host, sizeof(e->host), "%s", h);
    if (strncmp(h, "unix://", 7) == 0 && h[7] == '/') {
        n = snprintf(e->socket, sizeof(e->socket), "%s", h + 7);
        snprintf(e->url, sizeof(e->url), "http://docker");
        if ((size_t)n >= sizeof(e->socket))
            return assay_err_set(err, ASSAY_E_CONFIG, "docker_host: the path of the socket is longer than a socket's path may be");
        return 0;
    }
    if (strncmp(h, "tcp://", 6) == 0 && h[6] != '\0') {
        n = snprintf(e->url, sizeof(e->url), "%s://%s", tls ? "https" : "http", h + 6);
        if (tls && cert_path[0] == '\0')
            return assay_err_set(err, ASSAY_E_CONFIG, "docker_tls_verify is set and docker_cert_path is not: name the folder with "
                                 "ca.pem, cert.pem and key.pem");
    }
    if (n < 0 || (size_t)n >= sizeof(e->url))
        return assay_err_set(err, ASSAY_E_CONFIG, "docker_host is \"%.100s\" and must be unix:///PATH or tcp://HOST:PORT", h);
    if (tls) {
        snprintf(e->ca, sizeof(e->ca), "%s/ca.pem", cert_path);
        snprintf(e->cert, sizeof(e->cert), "%s/cert.pem", cert_path);
        snprintf(e->key, sizeof(e->key), "%s/key.pem", cert_path);
        e->tls = true;
    }
    return 0;
}

static size_t take(char *p, size_t size, size_t n, void *arg)
{
    struct assay_buf *b = arg;

    (void)size;
    assay_buf_add(b, p, n);
    return b->failed ? 0 : n;
}

void *sd_engine_handle(const struct sd_engine *e)
{
    CURL *c = curl_easy_init();

    if (c == NULL)
        return NULL;
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(c, CURLOPT_PROXY, ""); /* the environment's proxies are not for the engine */
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    if (e->socket[0] != '\0')
        curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, e->socket);
    if (e->tls) {
        curl_easy_setopt(c, CURLOPT_CAINFO, e->ca);
        curl_easy_setopt(c, CURLOPT_SSLCERT, e->cert);
        curl_easy_setopt(c, CURLOPT_SSLKEY, e->key);
    }
    return c;
}

int sd_call(const struct sd_engine *e, const char *method, const char *path, struct assay_str body, const char *type,
            int64_t timeout_ms, int *status, struct assay_buf *reply, struct assay_err *err)
{
    CURL *c = sd_engine_handle(e);
    struct curl_slist *headers = NULL;
    char url[2048], header[80];
    long code = 0;
    CURLcode rc;

    if (c == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a call of the Docker engine");
    snprintf(url, sizeof(url), "%s%s%s", e->url, e->api, path);
    snprintf(header, sizeof(header), "Content-Type: %s", type != NULL ? type : "application/json");
    headers = curl_slist_append(headers, header);
    headers = curl_slist_append(headers, "Expect:"); /* no round trip before a body */
    assay_buf_init(reply, REPLY_MAX);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, reply);
    if (strcmp(method, "GET") != 0) {
        curl_easy_setopt(c, CURLOPT_POST, 1L);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, body.n > 0 ? body.p : "");
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    }
    rc = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &code);
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    *status = (int)code;
    if (reply->failed)
        return assay_err_set(err, ASSAY_E_TOO_LARGE, "the Docker engine's answer to %s %.80s is over %zu bytes", method, path,
                             REPLY_MAX);
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return assay_err_set(err, ASSAY_E_TIMEOUT, "the Docker engine at %.120s did not answer %s %.80s in %lld ms", e->host,
                             method, path, (long long)timeout_ms);
    if (rc != CURLE_OK)
        return assay_err_set(err, ASSAY_E_IO, "no Docker engine answers at %.120s (%s): is it running, and may this user use it?",
                             e->host, curl_easy_strerror(rc));
    return 0;
}

void sd_printable(struct assay_str text, char *out, size_t room)
{
    snprintf(out, room, "%.*s", (int)(text.n < room ? text.n : room - 1), text.p != NULL ? text.p : "");
    for (char *p = out; *p != '\0'; p++)
        if (!isprint((unsigned char)*p))
            *p = ' ';
}

void sd_said(struct assay_str reply, char *out, size_t room)
{
    struct {
        struct assay_str message;
    } m = {{NULL, 0}};
    static const struct assay_json_field fields[] = {
        {.name = "message", .type = ASSAY_JSON_STRING, .offset = 0, .has_offset = -1},
        {.name = "*", .has_offset = -1},
        {.name = NULL},
    };
    struct assay_json_faults faults = {.n = 0};
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);

    if (arena != NULL && assay_json_decode(reply, fields, &m, NULL, arena, &faults, NULL) == 0 && m.message.n > 0)
        sd_printable(m.message, out, room);
    else
        sd_printable((struct assay_str){reply.p, reply.n < 120 ? reply.n : 120}, out, room);
}

int sd_want(const struct sd_engine *e, const char *method, const char *path, struct assay_str body, const char *type,
            int64_t timeout_ms, struct assay_buf *reply, struct assay_err *err)
{
    char said[300];
    int status = 0, code;
    int rc = sd_call(e, method, path, body, type, timeout_ms, &status, reply, err);

    if (rc != 0 || (status >= 200 && status < 300) || status == 304)
        return rc;
    sd_said(assay_buf_view(reply), said, sizeof(said));
    switch (status) {
    case 404:
        code = ASSAY_E_NOT_FOUND;
        break;
    case 409:
        code = ASSAY_E_CONFLICT;
        break;
    case 400:
        code = ASSAY_E_INVALID;
        break;
    default:
        code = strstr(said, "no space left") != NULL ? ASSAY_E_FULL : ASSAY_E_IO;
    }
    return assay_err_set(err, code, "the Docker engine answers %d to %s %.60s: %s", status, method, path, said);
}

int sd_decode(const char *what, struct assay_str text, const struct assay_json_field *fields, void *out,
              struct assay_arena *arena, struct assay_err *err)
{
    struct assay_json_faults faults = {.n = 0};
    int rc = assay_json_decode(text, fields, out, NULL, arena, &faults, err);

    if (rc == ASSAY_E_INVALID)
        return assay_err_set(err, ASSAY_E_CORRUPT, "the Docker engine's %s is not what is expected: %.*s %.*s", what,
                             ASSAY_FMT(faults.item[0].pointer), ASSAY_FMT(faults.item[0].detail));
    return rc;
}

static int minor_of(struct assay_str v)
{
    char text[16];
    int major = 0, minor = 0;

    snprintf(text, sizeof(text), "%.*s", (int)(v.n < 15 ? v.n : 15), v.p != NULL ? v.p : "");
    return sscanf(text, "%d.%d", &major, &minor) == 2 && major == 1 ? minor : -1;
}

int sd_engine_greet(struct sd_engine *e, int64_t timeout_ms, struct assay_err *err)
{
    struct version {
        struct assay_str version, api, oldest;
    } v = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    static const struct assay_json_field version_fields[] = {
        {.name = "Version", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct version, version), .has_offset = -1},
        {.name = "ApiVersion", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct version, api), .has_offset = -1},
        {.name = "MinAPIVersion", .type = ASSAY_JSON_STRING, .offset = offsetof(struct version, oldest), .has_offset = -1},
        {.name = "*", .has_offset = -1},
        {.name = NULL},
    };
    struct info {
        struct assay_str id, os, cgroup_driver, cgroup_version;
        struct assay_strs security;
        int64_t cpus;
    } i = {.cpus = 0};
    static const struct assay_json_field info_fields[] = {
        {.name = "ID", .type = ASSAY_JSON_STRING, .offset = offsetof(struct info, id), .has_offset = -1},
        {.name = "OSType", .type = ASSAY_JSON_STRING, .offset = offsetof(struct info, os), .has_offset = -1},
        {.name = "CgroupDriver", .type = ASSAY_JSON_STRING, .offset = offsetof(struct info, cgroup_driver), .has_offset = -1},
        {.name = "CgroupVersion", .type = ASSAY_JSON_STRING, .offset = offsetof(struct info, cgroup_version), .has_offset = -1},
        {.name = "SecurityOptions", .type = ASSAY_JSON_STRINGS, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct info, security), .has_offset = -1},
        {.name = "NCPU", .type = ASSAY_JSON_INT, .offset = offsetof(struct info, cpus), .has_offset = -1},
        {.name = "*", .has_offset = -1},
        {.name = NULL},
    };
    ASSAY_CLEANUP_BUF struct assay_buf reply = ASSAY_BUF_INIT, more = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct sd_engine fresh = *e;
    int newest, oldest, use, rc;

    if (arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the Docker engine's answer");
    fresh.api[0] = '\0';
    rc = sd_want(&fresh, "GET", "/version", ASSAY_STR(""), NULL, timeout_ms, &reply, err);
    if (rc == 0)
        rc = sd_decode("version", assay_buf_view(&reply), version_fields, &v, arena, err);
    if (rc != 0)
        return rc;
    newest = minor_of(v.api);
    oldest = minor_of(v.oldest);
    use = newest < WANTED_API ? newest : oldest > WANTED_API ? oldest : WANTED_API;
    if (use < OLDEST_API)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "the Docker engine speaks API %.*s; 1.%d or newer is needed",
                             (int)(v.api.n < 10 ? v.api.n : 10), v.api.p, OLDEST_API);
    snprintf(fresh.api, sizeof(fresh.api), "/v1.%d", use);
    snprintf(fresh.version, sizeof(fresh.version), "%.*s", (int)(v.version.n < 40 ? v.version.n : 40), v.version.p);
    rc = sd_want(&fresh, "GET", "/info", ASSAY_STR(""), NULL, timeout_ms, &more, err);
    if (rc == 0)
        rc = sd_decode("info", assay_buf_view(&more), info_fields, &i, arena, err);
    if (rc != 0)
        return rc;
    if (!assay_str_is(i.os, "linux"))
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "the Docker engine runs %.*s containers; Linux is needed",
                             (int)(i.os.n < 20 ? i.os.n : 20), i.os.p);
    fresh.cpus = i.cpus;
    fresh.apparmor = fresh.rootless = fresh.userns = false;
    for (size_t k = 0; k < i.security.n; k++) {
        fresh.apparmor = fresh.apparmor || assay_str_starts(i.security.items[k], "name=apparmor");
        fresh.rootless = fresh.rootless || assay_str_starts(i.security.items[k], "name=rootless");
        fresh.userns = fresh.userns || assay_str_starts(i.security.items[k], "name=userns");
    }
    snprintf(fresh.cgroup, sizeof(fresh.cgroup), "version %.*s, driver %.*s", (int)(i.cgroup_version.n < 8 ? i.cgroup_version.n : 8),
             i.cgroup_version.p != NULL ? i.cgroup_version.p : "", (int)(i.cgroup_driver.n < 16 ? i.cgroup_driver.n : 16),
             i.cgroup_driver.p != NULL ? i.cgroup_driver.p : "");
    *e = fresh;
    return 0;
}

int sd_engine_watch(const struct sd_engine *e)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    int fd;

    if (e->socket[0] == '\0')
        return -1;
    memcpy(where.sun_path, e->socket, strlen(e->socket) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&where, sizeof(where)) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}
