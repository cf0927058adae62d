/* The honest job that runs after each hostile one: a fixed amount of work, nothing of the kernel's in it. */
#include <stdint.h>
#include <stdio.h>

int main(void)
{
    uint64_t x = 88172645463325252u, sum = 0;
    for (int i = 0; i < 30000000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        sum += x;
    }
    printf("%llu\n", (unsigned long long)sum);
    return 0;
}
