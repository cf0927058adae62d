#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    size_t n = 64u << 20;
    char *p = malloc(n);
    if (!p)
        return 1;
    memset(p, 1, n);
    __asm__ volatile("" : : "r"(p) : "memory");
    puts("started");
    return 0;
}
