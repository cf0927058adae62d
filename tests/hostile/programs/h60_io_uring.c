#include "hostile.h"

int main(void)
{
    static char params[256];
    refused("io_uring_setup", syscall(425, 8, params));
    refused("io_uring_enter", syscall(426, 0, 0, 0, 0, NULL, 0));
    refused("io_uring_register", syscall(427, 0, 0, NULL, 0));
    refused("io_setup", syscall(SYS_io_setup, 8, params));
    return held(4);
}
