#include "hostile.h"

int main(void)
{
    if (fork() == 0) {
        signal(SIGCHLD, SIG_IGN);
        for (int i = 0; i < 3; i++)
            if (fork() == 0) {
                setsid();
                burn(1e9);
            }
        _exit(0);
    }
    sleep(1000);
    return 0;
}
