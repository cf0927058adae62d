/* Sets clocks, works where it hopes nobody looks: after its output is closed, while it exits, in what outlives it. */
#include "hostile.h"

#include <sys/time.h>
#include <sys/timex.h>

static void late(void)
{
    burn(0.3);
}

int main(void)
{
    const char *what = word();
    if (strcmp(what, "clocks") == 0) {
        struct timespec t = {0, 0};
        struct timeval v = {0, 0};
        struct timex x = {.modes = ADJ_FREQUENCY, .freq = 1000};
        refused("clock_settime", clock_settime(CLOCK_REALTIME, &t));
        refused("settimeofday", settimeofday(&v, NULL));
        refused("adjtimex", syscall(SYS_adjtimex, &x));
        refused("clock_adjtime", syscall(SYS_clock_adjtime, CLOCK_REALTIME, &x));
        refused("a raw clock", clock_settime(CLOCK_MONOTONIC_RAW, &t));
        return held(5);
    }
    if (strcmp(what, "atexit") == 0) {
        atexit(late);
        puts("held");
        fclose(stdout);
        return 0;
    }
    /* closed: all that could be waited for is done, but for the work */
    puts("held");
    fclose(stdout);
    fclose(stderr);
    close(0);
    for (;;)
        burn(1e9);
}
