/* One of eight: half of them go through memory, half through files. */
#include "hostile.h"

int main(void)
{
    static volatile char room[24 << 20];
    static char block[1 << 20];
    const int io = strcmp(word(), "io") == 0;
    double end = cpu_seconds() + 0.8;
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        if (io) {
            int fd = open("hog", O_RDWR | O_CREAT | O_TRUNC, 0644);
            for (int i = 0; i < 16; i++)
                (void)!write(fd, block, sizeof block);
            fsync(fd);
            close(fd);
        } else {
            for (size_t i = 0; i < sizeof room; i += 64)
                room[(i * 17) % sizeof room]++;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (cpu_seconds() < end && now.tv_sec - start.tv_sec < 5);
    puts("held");
    return 0;
}
