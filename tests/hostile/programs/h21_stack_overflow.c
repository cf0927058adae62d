#include "hostile.h"

static volatile int endless = 1;

static int recurse(const volatile char *below)
{
    volatile char frame[512];
    frame[0] = *below;
    frame[511] = 1;
    return (endless ? recurse(frame) : 0) + frame[511];
}

static int big_frame(void)
{
    volatile char frame[1u << 30];
    for (size_t i = sizeof frame; i > 4096; i -= 4096)
        frame[i - 1] = 1;
    return frame[4096];
}

int main(void)
{
    return strcmp(word(), "deep") == 0 ? recurse("x") : big_frame();
}
