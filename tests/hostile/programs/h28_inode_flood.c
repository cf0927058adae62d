/* As many names as there is room for: a million files, or directories in directories. */
#include "hostile.h"

int main(void)
{
    char name[32];
    if (strcmp(word(), "files") == 0) {
        for (long n = 0; n < 1000000; n++) {
            snprintf(name, sizeof name, "f%ld", n);
            int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
            if (fd < 0) {
                printf("%s %s\n", n < 100000 ? "capped" : "many", strerror(errno));
                return 1;
            }
            close(fd);
        }
    } else { /* deeper than any path can name */
        for (long n = 0; n < 1000000; n++)
            if (mkdir("ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd", 0755) < 0 ||
                chdir("ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd") < 0) {
                printf("%s %s\n", n < 100000 ? "capped" : "many", strerror(errno));
                return 1;
            }
    }
    puts("endless");
    return 0;
}
