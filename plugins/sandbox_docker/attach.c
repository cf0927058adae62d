/*
 * A warden's stream through the engine, for an engine that does not see our file system: the API's attach, "hijacked"
 * (the connection stops being HTTP after the answer's head).  Towards the container the bytes are its
 * stdin as they are; from it they come in frames, a byte that names stdout or stderr, three zeros and a
 * length (big-endian).  One thread a container copies; it costs two more copies of each byte than a descriptor
 * that was passed, which is why that is preferred.
 *
 * The end: when the runner closes its stream the connection is closed, the engine closes the container's
 * stdin (StdinOnce), the warden sees its stream's end and leaves.  The same happens when this process dies.
 */
#include "local.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MAX 4096
#define HEAD_MS 10000

struct relay {
    CURL *curl;
    curl_socket_t sock;
    int stream, life;
    /* from the engine */
    unsigned char in[65536];
    size_t start, end;
    unsigned char head[8];
    size_t head_have;
    uint32_t left; /* of the frame under way */
    /* from the runner */
    char out[65536];
    size_t out_start, out_end;
    char last[400]; /* of stderr */
    size_t last_n;
};

static void relay_free(struct relay *r)
{
    if (r->curl != NULL)
        curl_easy_cleanup(r->curl);
    if (r->stream >= 0)
        close(r->stream);
    if (r->life >= 0)
        close(r->life);
    free(r);
}

static bool wait_for(const struct relay *r, short events, int ms)
{
    struct pollfd p = {.fd = r->sock, .events = events};

    return poll(&p, 1, ms) > 0;
}

static int ask(struct relay *r, const char *text, struct assay_err *err)
{
    size_t n = strlen(text), sent = 0, have = 0;
    char head[HEAD_MAX + 1];
    const char *end = NULL;

    while (sent < n) {
        size_t k = 0;
        CURLcode rc = curl_easy_send(r->curl, text + sent, n - sent, &k);

        if (rc == CURLE_AGAIN && wait_for(r, POLLOUT, HEAD_MS))
            continue;
        if (rc != CURLE_OK)
            return assay_err_set(err, ASSAY_E_IO, "cannot ask the Docker engine for a container's stream");
        sent += k;
    }
    while (end == NULL) {
        size_t k = 0;
        CURLcode rc = have < HEAD_MAX ? curl_easy_recv(r->curl, head + have, HEAD_MAX - have, &k) : CURLE_RECV_ERROR;

        if (rc == CURLE_AGAIN && wait_for(r, POLLIN, HEAD_MS))
            continue;
        if (rc != CURLE_OK || k == 0)
            return assay_err_set(err, ASSAY_E_IO, "the Docker engine did not give a container's stream");
        have += k;
        head[have] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    if (strncmp(head, "HTTP/1.1 101", 12) != 0 && strncmp(head, "HTTP/1.1 200", 12) != 0)
        return assay_err_set(err, ASSAY_E_IO, "the Docker engine refused a container's stream: %.*s", (int)strcspn(head, "\r\n"), head);
    end += 4;
    r->end = (size_t)(head + have - end); /* what came behind the head */
    memcpy(r->in, end, r->end);
    return 0;
}

/* All of it, waiting as long as the runner does not read. */
static bool give(const struct relay *r, const unsigned char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = send(r->stream, p, n, MSG_NOSIGNAL);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static void remember(struct relay *r, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = (char)p[i];

        if (r->last_n > 0 && r->last[r->last_n - 1] == '\n')
            r->last_n = 0;
        if (r->last_n < sizeof(r->last) - 1)
            r->last[r->last_n++] = c == '\n' || (c >= ' ' && c <= '~') ? c : '?';
    }
}

static bool take_frames(struct relay *r)
{
    while (r->start < r->end) {
        size_t k = r->end - r->start;

        if (r->left == 0) {
            size_t need = sizeof(r->head) - r->head_have;

            k = k < need ? k : need;
            memcpy(r->head + r->head_have, r->in + r->start, k);
            r->head_have += k;
            r->start += k;
            if (r->head_have < sizeof(r->head))
                break;
            if ((r->head[0] != 1 && r->head[0] != 2) || r->head[1] != 0 || r->head[2] != 0 || r->head[3] != 0)
                return false;
            r->left = (uint32_t)r->head[4] << 24 | (uint32_t)r->head[5] << 16 | (uint32_t)r->head[6] << 8 | r->head[7];
            r->head_have = 0;
            continue;
        }
        k = k < r->left ? k : r->left;
        if (r->head[0] == 2)
            remember(r, r->in + r->start, k);
        else if (!give(r, r->in + r->start, k))
            return false;
        r->start += k;
        r->left -= (uint32_t)k;
    }
    r->start = r->end = 0;
    return true;
}

static bool send_out(struct relay *r)
{
    while (r->out_start < r->out_end) {
        size_t k = 0;
        CURLcode rc = curl_easy_send(r->curl, r->out + r->out_start, r->out_end - r->out_start, &k);

        if (rc == CURLE_AGAIN)
            return true;
        if (rc != CURLE_OK)
            return false;
        r->out_start += k;
    }
    r->out_start = r->out_end = 0;
    return true;
}

static bool turn(struct relay *r)
{
    struct pollfd p[3] = {
        {.fd = r->sock, .events = (short)(POLLIN | (r->out_end > 0 ? POLLOUT : 0))},
        {.fd = r->out_end > 0 ? -1 : r->stream, .events = POLLIN},
        {.fd = r->life, .events = 0},
    };

    if (poll(p, 3, -1) < 0)
        return errno == EINTR;
    if (p[2].revents != 0)
        return false;
    if (p[1].revents != 0) {
        ssize_t n = recv(r->stream, r->out, sizeof(r->out), MSG_DONTWAIT);

        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        r->out_end = n > 0 ? (size_t)n : 0;
    }
    if (!send_out(r))
        return false;
    for (int i = 0; i < 16 && p[0].revents != 0; i++) { /* TLS may hold more than the socket shows */
        size_t k = 0;
        CURLcode rc = curl_easy_recv(r->curl, r->in, sizeof(r->in), &k);

        if (rc == CURLE_AGAIN)
            break;
        if (rc != CURLE_OK || k == 0)
            return false;
        r->start = 0;
        r->end = k;
        if (!take_frames(r))
            return false;
    }
    return true;
}

static void *copy(void *arg)
{
    struct relay *r = arg;

    if (take_frames(r))
        while (turn(r))
            ;
    if (r->last_n > 0) {
        struct assay_warden_grief g = {.type = ASSAY_WARDEN_GRIEF};

        snprintf(g.text, sizeof(g.text), "%.*s", (int)strcspn(r->last, "\n"), r->last);
        (void)!send(r->life, &g, sizeof(g), MSG_NOSIGNAL | MSG_DONTWAIT); /* who is not there needs no words */
    }
    relay_free(r);
    return NULL;
}

int sd_attach(const struct sd_setup *s, const char *container, int stream, int life, struct assay_err *err)
{
    struct relay *r = calloc(1, sizeof(*r));
    char request[400];
    pthread_attr_t attr;
    pthread_t thread;
    CURLcode rc;
    int e;

    if (r == NULL) {
        close(stream);
        close(life);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a container's stream");
    }
    r->stream = stream;
    r->life = life;
    r->curl = sd_engine_handle(&s->engine);
    if (r->curl == NULL) {
        relay_free(r);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a container's stream");
    }
    curl_easy_setopt(r->curl, CURLOPT_URL, s->engine.url);
    curl_easy_setopt(r->curl, CURLOPT_CONNECT_ONLY, 1L);
    rc = curl_easy_perform(r->curl);
    if (rc == CURLE_OK)
        rc = curl_easy_getinfo(r->curl, CURLINFO_ACTIVESOCKET, &r->sock);
    if (rc != CURLE_OK) {
        relay_free(r);
        return assay_err_set(err, ASSAY_E_IO, "no Docker engine answers at %.120s (%s)", s->engine.host, curl_easy_strerror(rc));
    }
    snprintf(request, sizeof(request),
             "POST %s/containers/%.80s/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: docker\r\n"
             "Upgrade: tcp\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
             s->engine.api, container);
    e = ask(r, request, err);
    if (e != 0) {
        relay_free(r);
        return e;
    }
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    e = pthread_create(&thread, &attr, copy, r);
    pthread_attr_destroy(&attr);
    if (e != 0) {
        relay_free(r);
        return assay_err_errno(err, ASSAY_E_INTERNAL, e, "cannot start a thread for a container's stream");
    }
    return 0;
}
