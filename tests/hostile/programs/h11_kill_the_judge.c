#include "hostile.h"

int main(void)
{
    const pid_t parent = getppid();
    for (int s = 1; s < 65; s++) {
        if (s == SIGCONT)
            continue;
        kill(1, s);
        if (parent > 0)
            kill(parent, s);
    }
    for (pid_t p = 2; p < 40000; p++) /* whatever there is: the judge is not among it */
        if (p != getpid())
            kill(p, SIGKILL);
    kill(-1, SIGKILL); /* all but the caller */
    puts("alive");
    fflush(stdout);
    kill(0, SIGKILL);
    return 1;
}
