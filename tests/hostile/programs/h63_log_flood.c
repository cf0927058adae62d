/* Ten thousand lines for the system's log, and crashes for the kernel's. */
#include "hostile.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>

int main(void)
{
    openlog("hostile-h63", LOG_NDELAY | LOG_CONS | LOG_PID, LOG_USER);
    for (int i = 0; i < 10000; i++)
        syslog(LOG_EMERG, "hostile-h63 %d", i);
    refused("/dev/log", access("/dev/log", F_OK));
    refused("/dev/kmsg", open("/dev/kmsg", O_WRONLY));
    refused("/dev/console", open("/dev/console", O_WRONLY));
    refused("/dev/tty", open("/dev/tty", O_WRONLY));
    for (int i = 0; i < 500; i++) {
        pid_t p = fork();
        if (p == 0)
            *(volatile int *)(uintptr_t)i = 1;
        while (p > 0 && waitpid(p, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    return held(4);
}
