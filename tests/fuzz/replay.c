/*
 * The driver of a fuzz target where no fuzzer is linked in: `make check` replays what was found before.
 *
 * Every file of tests/fuzz/corpus/<target>/ is fed as it is, cut short at many lengths, and with seeded
 * mutations, always the same ones, so that a failure comes again.  TAP on stdout.  With arguments it feeds
 * those files alone: to look at one crash.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define INPUT_MAX ((size_t)1 << 20)
#define MUTATIONS 60u
#define CUTS 24u

static uint64_t seed = 0x9e3779b97f4a7c15u;
static size_t fed;

/* xorshift64*: no quality is needed, only the same numbers everywhere */
static uint64_t next_random(void)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return seed * 0x2545f4914f6cdd1du;
}

/* In a block of its exact size, so that a sanitizer sees one byte too far. */
static void feed(const uint8_t *p, size_t n)
{
    uint8_t *exact = malloc(n ? n : 1);
    if (!exact)
        abort();
    if (n)
        memcpy(exact, p, n);
    (void)LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    fed++;
}

static void mutate(uint8_t *p, size_t n)
{
    static const uint8_t telling[] = {0, '\n', '\r', ' ', '\t', ':', '.', '%', '/', '"', '{', '}', '\\', 0x7f, 0x80, 0xff};
    for (unsigned k = 1 + (unsigned)(next_random() % 4); k > 0 && n; k--) {
        size_t at = (size_t)(next_random() % n);
        switch (next_random() % 3) {
        case 0:
            p[at] ^= (uint8_t)(1u << next_random() % 8);
            break;
        case 1:
            p[at] = telling[next_random() % sizeof telling];
            break;
        default:
            memmove(p + at, p + next_random() % n, 1); /* a byte of its own from elsewhere */
            break;
        }
    }
}

static int replay(const char *path, bool mutations)
{
    static uint8_t input[INPUT_MAX], copy[INPUT_MAX];
    FILE *f = fopen(path, "rb");
    if (!f)
        return -1;
    size_t n = fread(input, 1, sizeof input, f);
    (void)fclose(f);
    feed(input, n);
    if (!mutations)
        return 0;
    for (unsigned i = 0; i < CUTS; i++)
        feed(input, n * i / CUTS);
    for (unsigned i = 0; i < MUTATIONS; i++) {
        memcpy(copy, input, n);
        mutate(copy, n);
        feed(copy, n);
    }
    return 0;
}

/* ".../http_fuzz" -> "http" */
static void target_name(const char *program, char *out, size_t n)
{
    const char *slash = strrchr(program, '/');
    (void)snprintf(out, n, "%s", slash ? slash + 1 : program);
    char *end = strstr(out, "_fuzz");
    if (end)
        *end = 0;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        for (int i = 1; i < argc; i++)
            if (replay(argv[i], false) != 0)
                return 1;
        return 0;
    }
    char target[64], folder[4096];
    const char *top = getenv("top_srcdir");
    target_name(argv[0], target, sizeof target);
    (void)snprintf(folder, sizeof folder, "%s/tests/fuzz/corpus/%s", top ? top : ".", target);
    DIR *d = opendir(folder);
    size_t files = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[8192];
        (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.' && replay(path, true) == 0)
            files++;
    }
    if (d)
        (void)closedir(d);
    (void)printf("1..1\n%s 1 - %s: %zu inputs made of %zu files of the corpus\n", files ? "ok" : "not ok", target, fed, files);
    return files ? 0 : 1;
}
