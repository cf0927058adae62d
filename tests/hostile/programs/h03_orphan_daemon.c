/* Prints the right answer and exits; a hundred daemons stay behind. */
#include "hostile.h"

int main(void)
{
    for (int i = 0; i < 100; i++)
        if (fork() == 0) {
            setsid();
            for (int s = 1; s < 65; s++)
                signal(s, SIG_IGN);
            /* half of them keep the output open, half of them let go of everything */
            if (i % 2)
                for (int fd = 0; fd < 3; fd++)
                    close(fd);
            for (;;)
                pause();
        }
    puts("42");
    return 0;
}
