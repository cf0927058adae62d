/* Small things that every file of the warden needs. */
#include "warden.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int tells = -1;

void die_tells(int control)
{
    tells = control;
}

void die(const char *fmt, ...)
{
    int e = errno;
    va_list ap;
    char text[512];
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (e)
        (void)fprintf(stderr, "assay-warden: %s: %s\n", text, strerror(e));
    else
        (void)fprintf(stderr, "assay-warden: %s\n", text);
    if (tells >= 0) {
        struct assay_warden_grief g = {.type = ASSAY_WARDEN_GRIEF};
        (void)snprintf(g.text, sizeof g.text, "%.400s%s%.80s", text, e ? ": " : "", e ? strerror(e) : "");
        (void)send(tells, &g, sizeof g, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    exit(1);
}

int note_set(struct note *n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(n->text, sizeof n->text, fmt, ap);
    va_end(ap);
    return -1;
}

int note_errno(struct note *n, const char *fmt, ...)
{
    int e = errno;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(n->text, sizeof n->text, fmt, ap);
    va_end(ap);
    size_t have = strlen(n->text);
    (void)snprintf(n->text + have, sizeof n->text - have, ": %s", strerror(e));
    return -1;
}

int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

bool parse_u64(const char *s, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        uint64_t digit = (uint64_t)(*s - '0');
        if (v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    if (v > max)
        return false;
    *ret = v;
    return true;
}

void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

#define FDS_MAX 16

int fds_send(int socket, const void *p, size_t n, const int *fd, size_t n_fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
        struct cmsghdr align;
    } ancillary = {.bytes = {0}};
    struct iovec iov = {.iov_len = n};
    memcpy(&iov.iov_base, &p, sizeof p); /* sendmsg does not write to it */
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = CMSG_SPACE(n_fd * sizeof *fd)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    if (n_fd == 0 || n_fd > FDS_MAX || !c)
        return -1;
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n_fd * sizeof *fd);
    memcpy(CMSG_DATA(c), fd, n_fd * sizeof *fd);
    return sendmsg(socket, &h, MSG_NOSIGNAL) == (ssize_t)n ? 0 : -1;
}

ssize_t fds_receive(int socket, void *p, size_t n, int *fd, size_t n_fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
        struct cmsghdr align;
    } ancillary;
    struct iovec iov = {p, n};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
    ssize_t k = recvmsg(socket, &h, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = k < 0 ? NULL : CMSG_FIRSTHDR(&h);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
        size_t have = (c->cmsg_len - CMSG_LEN(0)) / sizeof *fd;
        memcpy(fd, CMSG_DATA(c), (have < n_fd ? have : n_fd) * sizeof *fd);
    }
    return k;
}
