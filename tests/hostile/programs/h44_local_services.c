/* What listens on the machine: the API, databases, the metadata service, sockets with and without a path. */
#include "hostile.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static void inet(const char *host, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &a.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    refused(host, fd < 0 ? -1 : connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS ? -1 : 0);
    if (fd >= 0)
        close(fd);
}

static void local(const char *name, int abstract, int type)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    if (n + 2 > sizeof a.sun_path)
        n = sizeof a.sun_path - 2;
    memcpy(a.sun_path + abstract, name, n);
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
    refused(name, fd < 0 ? -1 : connect(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)abstract + n)));
    if (fd >= 0)
        close(fd);
}

int main(void)
{
    static const int ports[] = {@PORT@, 22, 80, 5432, 6379, 8080, 2375};
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
        inet("127.0.0.1", ports[i]);
        inet("169.254.169.254", ports[i]);
        inet("172.17.0.1", ports[i]);
        inet("0.0.0.0", ports[i]);
    }
    local("@ABSTRACT@", 1, SOCK_STREAM);
    local("@PATHSOCKET@", 0, SOCK_STREAM);
    static const char *const paths[] = {"/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock",
                                        "/run/dbus/system_bus_socket", "/run/systemd/notify", "/dev/log", "/tmp/.X11-unix/X0"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        local(paths[i], 0, SOCK_STREAM);
        local(paths[i], 0, SOCK_DGRAM);
        local(paths[i], 1, SOCK_STREAM);
    }
    for (int family = 2; family < 46; family++) /* every other kind of socket */
        refused("a socket of another family", socket(family, SOCK_RAW, 0));
    refused("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
    refused("vsock", socket(40, SOCK_STREAM, 0));
    return held(60);
}
