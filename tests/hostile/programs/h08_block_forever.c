#include "hostile.h"

#include <poll.h>
#include <sys/select.h>

int main(void)
{
    const char *what = word();
    int p[2];
    char c;
    if (strcmp(what, "pause") == 0)
        for (;;)
            pause();
    if (strcmp(what, "select") == 0)
        select(0, NULL, NULL, NULL, NULL);
    if (strcmp(what, "read") == 0 && pipe(p) == 0)
        return (int)read(p[0], &c, 1);
    return 0;
}
