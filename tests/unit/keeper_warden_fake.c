/*
 * A warden that runs nothing, for tests of the boxkeeper: what it does wrong is in its name.
 *   ...-die      ends at once with status 1
 *   ...-alien    says HELLO in another protocol
 *   ...-garbage  sends nonsense on its control socket
 *   otherwise    says HELLO, and obeys single letters on its stream:
 *                L  answers "leaves descriptors\n": how many leaves it was given, with how many descriptors
 *                S  gives its oldest leaf back (SPENT)
 *                J  puts a sleeping child into its newest leaf and answers the child's pid
 */
#include <assay/warden_wire.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define LEAVES 64

static struct {
    uint64_t id;
    int procs[3], n_procs;
} leaf[LEAVES];
static int n_leaves, spent, n_fds;

static void take_leaf(int flags)
{
    struct assay_warden_leaf msg;
    union {
        char bytes[CMSG_SPACE(ASSAY_LEAF_FD_COUNT * sizeof(int))];
        struct cmsghdr align;
    } c;
    struct iovec iov = {&msg, sizeof(msg)};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.bytes, .msg_controllen = sizeof(c.bytes)};
    struct cmsghdr *h;
    int k = 0;

    if (recvmsg(ASSAY_WARDEN_CONTROL_FD, &mh, flags) != (ssize_t)sizeof(msg) || n_leaves == LEAVES)
        return;
    h = CMSG_FIRSTHDR(&mh);
    leaf[n_leaves].id = msg.id;
    for (unsigned bit = 0; h != NULL && bit < ASSAY_LEAF_FD_COUNT; bit++) {
        int fd;

        if (!(msg.present & ASSAY_LEAF_BIT(bit)))
            continue;
        memcpy(&fd, CMSG_DATA(h) + (size_t)k++ * sizeof(int), sizeof(fd));
        n_fds++;
        if (bit == ASSAY_LEAF_MEMORY_PROCS || bit == ASSAY_LEAF_CPU_PROCS || bit == ASSAY_LEAF_PIDS_PROCS)
            leaf[n_leaves].procs[leaf[n_leaves].n_procs++] = fd;
    }
    n_leaves++;
}

static int join_leaf(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, 0); /* it must outlive its warden: that is what the test is about */
        for (int i = 0; n_leaves > 0 && i < leaf[n_leaves - 1].n_procs; i++)
            if (write(leaf[n_leaves - 1].procs[i], "0", 1) != 1)
                _exit(1);
        close(ASSAY_WARDEN_STREAM_FD);
        close(ASSAY_WARDEN_CONTROL_FD);
        execl("/bin/sleep", "sleep", "120", (char *)NULL); /* under another name than a warden's */
        _exit(1);
    }
    return (int)pid;
}

int main(int argc, char **argv)
{
    struct {
        struct assay_warden_frame f;
        struct assay_warden_hello h;
    } hello = {.f = {.length = sizeof(hello.h), .type = ASSAY_WARDEN_HELLO},
               .h = {.protocol = ASSAY_WARDEN_PROTOCOL, .features = 0x7f, .version = "fake", .mode = "native"}};
    const char *name = argc > 0 ? argv[0] : "";
    char text[64];

    if (strstr(name, "-die") != NULL)
        return 1;
    for (int i = 0; i < 2; i++) /* what was sent before the start */
        take_leaf(MSG_DONTWAIT);
    if (strstr(name, "-alien") != NULL)
        hello.h.protocol = 99;
    if (strstr(name, "-garbage") != NULL && send(ASSAY_WARDEN_CONTROL_FD, "nonsense", 8, 0) != 8)
        return 1;
    if (write(ASSAY_WARDEN_STREAM_FD, &hello, sizeof(hello)) != (ssize_t)sizeof(hello))
        return 1;
    for (;;) {
        struct pollfd p[2] = {{.fd = ASSAY_WARDEN_STREAM_FD, .events = POLLIN}, {.fd = ASSAY_WARDEN_CONTROL_FD, .events = POLLIN}};
        char c;

        if (poll(p, 2, -1) < 0)
            return 1;
        if (p[1].revents & POLLIN)
            take_leaf(0);
        if (p[1].revents & POLLHUP)
            return 0;
        if (p[0].revents == 0)
            continue;
        if (read(ASSAY_WARDEN_STREAM_FD, &c, 1) != 1)
            return 0;
        if (c == 'S' && spent < n_leaves) {
            struct assay_warden_spent s = {.type = ASSAY_WARDEN_SPENT, .id = leaf[spent++].id};

            if (send(ASSAY_WARDEN_CONTROL_FD, &s, sizeof(s), 0) != (ssize_t)sizeof(s))
                return 1;
            continue;
        }
        if (c == 'J')
            snprintf(text, sizeof(text), "%d\n", join_leaf());
        else
            snprintf(text, sizeof(text), "%d %d\n", n_leaves, n_fds);
        if (write(ASSAY_WARDEN_STREAM_FD, text, strlen(text)) < 0)
            return 1;
    }
}
