/*
 * Stream and control of a warden that inherited neither, because it is the init of a container and
 * the engine's child.
 *
 * With the boxkeeper on the same machine a directory with its socket is mounted into the container.  The
 * warden connects, says by a token which one it is, and is given the stream as a descriptor: from
 * then on it stands exactly as one that was forked, with leaves coming over the same socket.
 *
 * Where the engine is somewhere else, all there is is the container's standard input and output.  They are
 * pipes, and the warden's stream is a socket, so a child copies between them.  It is no part of any box: it
 * stays in the container's first namespaces, where no box can see it.
 */
#include "warden.h"

#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MS 10000
#define SAFE_FD 20 /* above the numbers that are handed out here */

static void settle_on(int fd, int number)
{
    if (fd < 0 || dup2(fd, number) < 0)
        die("descriptor %d", number);
    (void)close(fd);
}

static void wait_readable(int fd, const char *what)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;
    do
        n = poll(&p, 1, ANSWER_MS);
    while (n < 0 && errno == EINTR);
    if (n == 0) {
        errno = 0;
        die("%s did not come", what);
    }
    if (n < 0)
        die("poll");
}

void join_keeper(const struct options *o)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    struct assay_warden_join join = {.type = ASSAY_WARDEN_JOIN};
    struct assay_warden_stream answer;
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } ancillary;
    struct iovec iov = {&answer, sizeof answer};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
    int control = fcntl(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), F_DUPFD_CLOEXEC, SAFE_FD), stream = -1;
    if (strlen(o->connect) >= sizeof where.sun_path)
        die("the path %s is too long for a socket", o->connect);
    memcpy(where.sun_path, o->connect, strlen(o->connect) + 1);
    if (control < 0 || connect(control, (struct sockaddr *)&where, sizeof where) < 0)
        die("cannot reach the boxkeeper at %s", o->connect);
    die_tells(control);
    memcpy(join.token, o->token, ASSAY_WARDEN_TOKEN);
    if (send(control, &join, sizeof join, MSG_NOSIGNAL) != (ssize_t)sizeof join)
        die("cannot ask the boxkeeper for the stream");
    wait_readable(control, "the boxkeeper's answer");
    ssize_t n = recvmsg(control, &h, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&h);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&stream, CMSG_DATA(c), sizeof stream);
    if (n != (ssize_t)sizeof answer || answer.type != ASSAY_WARDEN_STREAM || stream < 0) {
        errno = 0;
        die("the boxkeeper does not know this warden");
    }
    if (answer.leaves > 0)
        wait_readable(control, "the leaf that was promised");
    stream = fcntl(stream, F_DUPFD_CLOEXEC, SAFE_FD);
    settle_on(stream, ASSAY_WARDEN_STREAM_FD);
    settle_on(control, ASSAY_WARDEN_CONTROL_FD);
    die_tells(ASSAY_WARDEN_CONTROL_FD);
}

struct flow {
    int from, to;
    size_t start, end;
    bool over; /* nothing more comes */
    char bytes[65536];
};

/* Moves what can be moved; false when the receiver is gone. */
static bool move(struct flow *f, bool readable)
{
    if (readable && f->end == 0) {
        ssize_t n = read(f->from, f->bytes, sizeof f->bytes);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            f->over = true;
        f->end = n > 0 ? (size_t)n : 0;
    }
    while (f->start < f->end) {
        ssize_t n = write(f->to, f->bytes + f->start, f->end - f->start);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        f->start += (size_t)n;
    }
    f->start = f->end = 0;
    return true;
}

static _Noreturn void relay(int sock)
{
    static struct flow in = {.from = 0}, out = {.to = 1};
    in.to = out.from = sock;
    for (int fd = 0; fd < 2; fd++)
        (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    (void)fcntl(sock, F_SETFL, O_NONBLOCK);
    (void)sys_close_range((unsigned)sock + 1, ~0u);
    while (!out.over) {
        struct pollfd p[4] = {
            {.fd = in.over || in.end > 0 ? -1 : in.from, .events = POLLIN},
            {.fd = in.end > 0 ? in.to : -1, .events = POLLOUT},
            {.fd = out.end > 0 ? -1 : out.from, .events = POLLIN},
            {.fd = out.end > 0 ? out.to : -1, .events = POLLOUT},
        };
        if (poll(p, 4, -1) < 0 && errno != EINTR)
            _exit(1);
        bool was_over = in.over;
        if ((p[0].revents || p[1].revents) && !move(&in, p[0].revents != 0))
            _exit(0);
        if (in.over && !was_over)
            (void)shutdown(sock, SHUT_WR); /* the runner has closed: the warden sees its stream's end */
        if ((p[2].revents || p[3].revents) && !move(&out, p[2].revents != 0))
            _exit(0);
    }
    _exit(0);
}

void join_stdio(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        die("socketpair");
    int ours = fcntl(pair[0], F_DUPFD_CLOEXEC, SAFE_FD), theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, SAFE_FD);
    (void)close(pair[0]);
    (void)close(pair[1]);
    pid_t pid = ours < 0 || theirs < 0 ? -1 : fork();
    if (pid == 0) {
        (void)close(ours);
        relay(theirs);
    }
    if (pid < 0)
        die("cannot make the relay");
    (void)close(theirs);
    (void)close(ASSAY_WARDEN_CONTROL_FD); /* none is given here, whatever was inherited */
    settle_on(ours, ASSAY_WARDEN_STREAM_FD);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
        die("/dev/null");
    (void)close(null);
}
