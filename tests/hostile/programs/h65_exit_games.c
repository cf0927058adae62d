/* Ends in every way there is; the input says which: a signal's number, or "exit N". */
#include "hostile.h"

int main(void)
{
    char what[32] = "";
    int n = 0;
    if (scanf("%31s %d", what, &n) != 2)
        return 99;
    puts("held");
    fflush(stdout);
    fprintf(stderr, "Segmentation fault (core dumped)\n");
    if (strcmp(what, "exit") == 0)
        exit(n);
    if (strcmp(what, "_exit") == 0)
        _exit(n);
    if (strcmp(what, "thread") == 0)
        syscall(SYS_exit, n);
    if (strcmp(what, "signal") == 0) {
        kill(getpid(), n);
        /* one that is ignored by default, or stops only those who have a terminal */
        struct timespec t = {0, 20000000};
        nanosleep(&t, NULL);
    }
    return 0;
}
