#include "hostile.h"

#include <sys/resource.h>
#include <sys/socket.h>

int main(void)
{
    struct rlimit r;
    int n = 0, last = -1;
    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max + 100000;
    r.rlim_max = r.rlim_cur;
    int raised = setrlimit(RLIMIT_NOFILE, &r) == 0;
    for (int fd; (fd = open("/dev/null", O_RDONLY)) >= 0; n++)
        last = fd;
    int why = errno;
    for (int i = 0; i < 100000; i++)
        if (dup(last) >= 0 || dup2(last, 1000000) >= 0)
            raised = 1;
    printf("%s %s\n", raised ? "raised" : n < 70000 ? "bounded" : "endless", strerror(why));
    return 1;
}
