/* Eight children, each well below the limit; their sum is not. */
#include "hostile.h"

int main(void)
{
    for (int i = 0; i < 8; i++)
        if (fork() == 0) {
            eat((size_t)24 << 20);
            for (;;)
                pause();
        }
    for (;;)
        pause();
}
