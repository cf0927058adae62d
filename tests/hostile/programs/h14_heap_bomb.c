#include "hostile.h"

int main(void)
{
    eat(SIZE_MAX);
    return 0;
}
