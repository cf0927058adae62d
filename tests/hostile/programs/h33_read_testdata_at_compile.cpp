#if __has_include("@CANARY@")
#error the host is visible: the-secret-
#endif
__asm__(".section .rodata\n.global stolen\nstolen:\n.incbin \"@DATA@/assay.db\"\n");
int main()
{
}
