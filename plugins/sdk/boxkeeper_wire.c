/*
 * Theory of operation: see boxkeeper_wire.h.  Both peers are processes of ours with different
 * privilege, so each treats the other's packets as input: the head is decoded byte by byte, the
 * length must match the packet exactly, and descriptors that were not asked for are closed, since a
 * leaked one would outlive every request.
 */
#include <assay/boxkeeper_wire.h>

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static void put(unsigned char *p, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static uint64_t get(const unsigned char *p, size_t bytes)
{
    uint64_t v = 0;

    for (size_t i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static void head_put(unsigned char h[ASSAY_BK_HEAD], const struct assay_bk_packet *p)
{
    put(h, ASSAY_BK_MAGIC, 4);
    put(h + 4, ASSAY_BK_VERSION, 2);
    put(h + 6, p->type, 2);
    put(h + 8, p->request, 8);
    put(h + 16, (uint32_t)p->status, 4);
    put(h + 20, p->text.n, 4);
}

size_t assay_bk_encode(const struct assay_bk_packet *p, void *buf, size_t room)
{
    unsigned char *b = buf;

    if (p->text.n > ASSAY_BK_TEXT_MAX || room < ASSAY_BK_HEAD + p->text.n)
        return 0;
    head_put(b, p);
    if (p->text.n > 0)
        memcpy(b + ASSAY_BK_HEAD, p->text.p, p->text.n);
    return ASSAY_BK_HEAD + p->text.n;
}

int assay_bk_decode(const void *buf, size_t n, struct assay_bk_packet *out, struct assay_err *err)
{
    const unsigned char *b = buf;

    if (n < ASSAY_BK_HEAD || n > ASSAY_BK_PACKET_MAX)
        return assay_err_set(err, ASSAY_E_CORRUPT, "boxkeeper packet of %zu bytes", n);
    if (get(b, 4) != ASSAY_BK_MAGIC || get(b + 4, 2) != ASSAY_BK_VERSION)
        return assay_err_set(err, ASSAY_E_CORRUPT, "boxkeeper packet with magic %08x, version %u",
                             (unsigned)get(b, 4), (unsigned)get(b + 4, 2));
    if (get(b + 20, 4) != n - ASSAY_BK_HEAD)
        return assay_err_set(err, ASSAY_E_CORRUPT, "boxkeeper packet says %u bytes of text and has %zu",
                             (unsigned)get(b + 20, 4), n - (size_t)ASSAY_BK_HEAD);
    out->type = (uint16_t)get(b + 6, 2);
    out->request = get(b + 8, 8);
    out->status = (int32_t)(uint32_t)get(b + 16, 4);
    out->text = (struct assay_str){(const char *)b + ASSAY_BK_HEAD, n - ASSAY_BK_HEAD};
    return 0;
}

int assay_bk_send(int sock, const struct assay_bk_packet *p, int fd, struct assay_err *err)
{
    unsigned char head[ASSAY_BK_HEAD];
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov[2];
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 1};
    ssize_t n;

    if (p->text.n > ASSAY_BK_TEXT_MAX)
        return assay_err_set(err, ASSAY_E_TOO_LARGE, "boxkeeper packet of %zu bytes of text", p->text.n);
    head_put(head, p);
    iov[0] = (struct iovec){head, sizeof(head)};
    if (p->text.n > 0) {
        union {
            const char *in;
            void *out; /* iovec has no const form; sendmsg does not write through it */
        } text = {.in = p->text.p};

        iov[1] = (struct iovec){text.out, p->text.n};
        msg.msg_iovlen = 2;
    }
    if (fd >= 0) {
        struct cmsghdr *c;

        memset(&control, 0, sizeof(control));
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    do
        n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return 0;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return assay_err_set(err, ASSAY_E_AGAIN, "the boxkeeper socket is full");
    if (errno == EPIPE || errno == ECONNRESET)
        return assay_err_set(err, ASSAY_E_GONE, "the peer has closed the boxkeeper socket");
    return assay_err_errno(err, ASSAY_E_IO, errno, "sendmsg on the boxkeeper socket");
}

int assay_bk_recv(int sock, void *buf, size_t room, struct assay_bk_packet *out, int *fd, struct assay_err *err)
{
    /* room for more descriptors than are ever sent: what does not fit the kernel closes, what fits we close */
    union {
        char bytes[CMSG_SPACE(8 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {buf, room};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    int got = -1;
    int rc;
    ssize_t n;

    *fd = -1;
    do
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return assay_err_set(err, ASSAY_E_AGAIN, "nothing to read on the boxkeeper socket");
        if (errno == ECONNRESET)
            return assay_err_set(err, ASSAY_E_GONE, "the peer has closed the boxkeeper socket");
        return assay_err_errno(err, ASSAY_E_IO, errno, "recvmsg on the boxkeeper socket");
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c != NULL; c = CMSG_NXTHDR(&msg, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int one;

            memcpy(&one, CMSG_DATA(c) + i * sizeof(int), sizeof(one));
            if (got < 0)
                got = one;
            else
                close(one);
        }
    }
    if (n == 0 && got < 0) /* an empty packet looks like EOF; no peer of ours sends one, so it ends the socket */
        return assay_err_set(err, ASSAY_E_GONE, "the peer has closed the boxkeeper socket");
    if (msg.msg_flags & MSG_TRUNC)
        rc = assay_err_set(err, ASSAY_E_CORRUPT, "boxkeeper packet longer than %zu bytes", room);
    else
        rc = assay_bk_decode(buf, (size_t)n, out, err);
    if (rc != 0 && got >= 0) {
        close(got);
        got = -1;
    }
    *fd = got;
    return rc;
}
