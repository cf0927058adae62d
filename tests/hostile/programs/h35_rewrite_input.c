/* Rewrites its input and any answer that it can name, so that a judge that reads them again agrees. */
#include "hostile.h"

int main(void)
{
    static const char *const names[] = {"input.txt", "output.txt", "answer.txt", "expected.txt", "1.in", "1.ans", "../input.txt",
                                        "/tmp/input.txt", "@CANARY@"};
    char c;
    while (read(0, &c, 1) == 1)
        ;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int fd = open(names[i], O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (fd >= 0 && write(fd, "42\n", 3) != 3)
            return 1;
        unlink(names[i]);
    }
    lseek(0, 0, SEEK_SET);
    (void)!write(0, "42\n", 3);
    int again = open("/proc/self/fd/0", O_WRONLY | O_NONBLOCK);
    if (again >= 0 && write(again, "42\n", 3) != 3)
        return 1;
    puts("42");
    return 0;
}
