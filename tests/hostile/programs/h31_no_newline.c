#include <stdio.h>

int main(void)
{
    fputs("held", stdout);
    return 0;
}
