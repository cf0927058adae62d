#include "fake_http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS 64

struct connection {
    struct fake *f;
    pthread_t thread;
    _Atomic int fd;
};

struct fake {
    void (*handle)(void *arg, const struct fake_request *rq, struct fake_answer *a);
    void *arg;
    int listener, port;
    pthread_t thread;
    pthread_mutex_t lock; /* the handler's */
    _Atomic bool over;
    struct connection of[CONNECTIONS];
    size_t n;
};

const char *fake_header(const struct fake_request *rq, const char *name, char *out, size_t room)
{
    size_t n = strlen(name);
    out[0] = '\0';
    for (const char *l = rq->head; l != NULL; l = strchr(l, '\n') != NULL ? strchr(l, '\n') + 1 : NULL)
        if (strncasecmp(l, name, n) == 0 && l[n] == ':') {
            const char *v = l + n + 1 + strspn(l + n + 1, " ");
            snprintf(out, room, "%.*s", (int)strcspn(v, "\r\n"), v);
            return out;
        }
    return out;
}

/* false: the client is gone or the test over */
static bool say(struct connection *c, const char *p, size_t n, bool slow)
{
    while (n > 0) {
        if (slow && (atomic_load(&c->f->over) || poll(&(struct pollfd){.fd = c->fd, .events = POLLRDHUP}, 1, 100) > 0))
            return false;
        ssize_t k = send(c->fd, p, slow ? 1 : n, MSG_NOSIGNAL);
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static void reset(struct connection *c)
{
    const struct linger l = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
}

static bool answer(struct connection *c, const struct fake_request *rq)
{
    struct fake_answer a = {.status = 200};
    ASSAY_CLEANUP_BUF struct assay_buf head = ASSAY_BUF_INIT;
    pthread_mutex_lock(&c->f->lock);
    c->f->handle(c->f->arg, rq, &a);
    pthread_mutex_unlock(&c->f->lock);
    bool go = true;
    assay_buf_fmt(&head, "HTTP/1.1 %d X\r\n%s", a.status, a.lines);
    if (a.no_length)
        assay_buf_puts(&head, "Connection: close\r\n");
    else if (strstr(a.lines, "Content-Length") == NULL)
        assay_buf_fmt(&head, "Content-Length: %zu\r\n", a.body.n);
    assay_buf_puts(&head, "\r\n");
    bool bodiless = strcmp(rq->method, "HEAD") == 0;
    switch (a.way) {
    case FAKE_HANG:
        while (!atomic_load(&c->f->over) && poll(&(struct pollfd){.fd = c->fd, .events = POLLRDHUP}, 1, 50) == 0)
            ;
        go = false;
        break;
    case FAKE_RESET:
        reset(c);
        go = false;
        break;
    case FAKE_CUT:
        if (say(c, head.p, head.n, false))
            (void)say(c, a.body.p, a.body.n / 2, false);
        usleep(20000); /* so that what was sent is read before the RST throws it away */
        reset(c);
        go = false;
        break;
    case FAKE_SLOW:
    case FAKE_ANSWER:
        go = say(c, head.p, head.n, a.way == FAKE_SLOW) && (bodiless || say(c, a.body.p, a.body.n, a.way == FAKE_SLOW)) && !a.no_length;
        break;
    }
    assay_buf_free(&a.body);
    return go;
}

static void *serve(void *arg)
{
    struct connection *c = arg;
    ASSAY_CLEANUP_BUF struct assay_buf in = ASSAY_BUF_INIT;
    for (bool go = true; go;) {
        char *end = in.p != NULL ? strstr(in.p, "\r\n\r\n") : NULL;
        size_t want = 0, head_n = end != NULL ? (size_t)(end - in.p) + 4 : 0;
        struct fake_request rq = {.head = in.p};
        if (end != NULL) {
            char length[32];
            want = (size_t)strtoull(fake_header(&rq, "content-length", length, sizeof length), NULL, 10);
        }
        if (end == NULL || in.n < head_n + want) {
            char *to = assay_buf_reserve(&in, 65536);
            ssize_t n = to != NULL ? recv(c->fd, to, 65535, 0) : -1;
            if (n <= 0)
                break;
            in.n += (size_t)n;
            in.p[in.n] = '\0';
            continue;
        }
        end[2] = '\0';
        if (sscanf(in.p, "%15s %2047s", rq.method, rq.target) != 2)
            break;
        rq.body = (struct assay_str){in.p + head_n, want};
        go = answer(c, &rq);
        memmove(in.p, in.p + head_n + want, in.n - head_n - want + 1);
        in.n -= head_n + want;
    }
    (void)shutdown(c->fd, SHUT_RDWR);
    int fd = c->fd;
    c->fd = -1;
    (void)close(fd);
    return NULL;
}

static void *take(void *arg)
{
    struct fake *f = arg;
    while (!atomic_load(&f->over) && f->n < CONNECTIONS) {
        if (poll(&(struct pollfd){.fd = f->listener, .events = POLLIN}, 1, 50) <= 0)
            continue;
        struct connection *c = &f->of[f->n];
        c->f = f;
        c->fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        if (c->fd >= 0 && pthread_create(&c->thread, NULL, serve, c) == 0)
            f->n++;
    }
    return NULL;
}

struct fake *fake_new(void (*handle)(void *arg, const struct fake_request *rq, struct fake_answer *a), void *arg)
{
    struct fake *f = calloc(1, sizeof *f);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    if (f == NULL)
        abort();
    f->handle = handle;
    f->arg = arg;
    pthread_mutex_init(&f->lock, NULL);
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (f->listener < 0 || bind(f->listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(f->listener, 64) != 0 ||
        getsockname(f->listener, (struct sockaddr *)&at, &n) != 0 || pthread_create(&f->thread, NULL, take, f) != 0)
        abort();
    f->port = ntohs(at.sin_port);
    return f;
}

void fake_free(struct fake *f)
{
    atomic_store(&f->over, true);
    (void)pthread_join(f->thread, NULL);
    for (size_t i = 0; i < f->n; i++) {
        int fd = f->of[i].fd;
        if (fd >= 0)
            (void)shutdown(fd, SHUT_RDWR);
        (void)pthread_join(f->of[i].thread, NULL);
    }
    (void)close(f->listener);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

int fake_port(const struct fake *f)
{
    return f->port;
}
