/* Images: whatever comes is an image within the bounds, or refused with a word and one printable line; and every filter stands it. */
#include "fuzz.h"
#include "plugins/imgfilter/imgfilter.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        const char *name, *word;
    } filters[] = {{"negative", NULL}, {"grayscale", NULL}, {"blur", "--sigma=3"}, {"blur", "--sigma=30"}, {"sharpen", "--amount=3"}, {"edges", NULL},
                   {"resize", "--width=7"}, {"rotate", "--angle=33"}, {"rotate", "--angle=90"}};
    struct img_error err = {IMG_FINE, ""};
    struct image im;
    if (size < 1)
        return 0;
    size_t k = data[0] % (sizeof filters / sizeof filters[0]); /* which filter; the image follows */
    bool ok = img_read(data + 1, size - 1, &im, &err);
    FUZZ_CHECK(ok == (err.fault == IMG_FINE) && ok == (im.px != NULL) && err.fault != IMG_OURS && err.fault != IMG_USAGE);
    for (const char *c = err.text; *c != '\0'; c++)
        FUZZ_CHECK(*c >= ' ' && *c <= '~');
    if (!ok)
        return 0;
    FUZZ_CHECK(im.w >= 1 && im.h >= 1 && (int64_t)im.w * im.h <= IMG_PIXELS_MAX);
    if ((int64_t)im.w * im.h > 250000) { /* a fuzzer has no time for them */
        img_free(&im);
        return 0;
    }
    char word[32] = "", *argv[] = {word};
    if (filters[k].word != NULL)
        memcpy(word, filters[k].word, strlen(filters[k].word) + 1);
    ok = img_filter(filters[k].name, argv, filters[k].word != NULL, &im, &err);
    FUZZ_CHECK(ok == (err.fault == IMG_FINE) && (ok || err.fault == IMG_SIZE || err.fault == IMG_MEMORY));
    for (int64_t i = 0; ok && im.opaque && i < (int64_t)im.w * im.h; i++)
        FUZZ_CHECK(im.px[i] >> 24 == 255);
    FILE *sink = fopen("/dev/null", "wb");
    FUZZ_CHECK(sink != NULL && (!ok || img_write(&im, sink, &err)));
    (void)fclose(sink);
    img_free(&im);
    return 0;
}
