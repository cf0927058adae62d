/* Every child leaves the session and forks twice, so that no parent and no process group leads to it. */
#include <unistd.h>

int main(void)
{
    for (;;)
        if (fork() == 0) {
            setsid();
            if (fork() != 0)
                _exit(0);
        }
}
