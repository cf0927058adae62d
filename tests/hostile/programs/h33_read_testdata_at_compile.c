/* Whatever a compiler can be made to read, it cannot read the tests or the host. */
__asm__(".section .rodata\n.global stolen\nstolen:\n.incbin \"@CANARY@\"\n");
#include "@CANARY@"
#include "@DATA@/jwt.secret"
#include "/proc/self/fd/0"
#include "../input.txt"
#if __has_include("@DATA@/assay.db")
#error the data directory is visible: the-secret-
#endif

int main(void)
{
    return 0;
}
