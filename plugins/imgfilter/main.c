/* assay-imgfilter: its command line (imgfilter.h says all of it). */
#include "imgfilter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUT_MAX ((size_t)64 << 20)

/* All of standard input. */
static bool read_all(unsigned char **out, size_t *n, struct img_error *err)
{
    size_t room = (size_t)1 << 20;
    unsigned char *p = malloc(room);
    for (*n = 0; p != NULL;) {
        ssize_t got = read(STDIN_FILENO, p + *n, room - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(p);
            return img_refuse(err, IMG_OURS, "the image cannot be read: %s", strerror(errno));
        }
        if (got == 0) {
            *out = p;
            return true;
        }
        *n += (size_t)got;
        if (*n < room)
            continue;
        if (room >= INPUT_MAX) {
            free(p);
            return img_refuse(err, IMG_SIZE, "the image has more than %zu bytes", INPUT_MAX);
        }
        room *= 2;
        unsigned char *more = realloc(p, room);
        if (more == NULL)
            free(p);
        p = more;
    }
    return img_refuse(err, IMG_MEMORY, "no memory for the image");
}

int main(int argc, char **argv)
{
    struct img_error err = {IMG_FINE, ""};
    struct image im = {.px = NULL};
    unsigned char *bytes = NULL;
    size_t n = 0;
    bool ok = argc >= 2 || img_refuse(&err, IMG_USAGE, "usage: assay-imgfilter FILTER [--PARAMETER=VALUE]... < image > result.png");
    ok = ok && read_all(&bytes, &n, &err) && img_read(bytes, n, &im, &err);
    free(bytes);
    ok = ok && img_filter(argv[1], argv + 2, argc - 2, &im, &err) && img_write(&im, stdout, &err);
    img_free(&im);
    if (!ok)
        (void)fprintf(stderr, "%s: %s\n", img_word(err.fault), err.text);
    return img_status(err.fault);
}
