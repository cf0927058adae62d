/* assay-imgfilter from inside: images that are made here by the libraries' other halves, and what hostile ones may not do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

#include "imgfilter.h"

static struct img_error err;

static bool filter(struct image *im, const char *name, const char *a, const char *b)
{
    char word[2][60];
    char *argv[] = {word[0], word[1]};
    (void)snprintf(word[0], sizeof word[0], "%s", a != NULL ? a : "");
    (void)snprintf(word[1], sizeof word[1], "%s", b != NULL ? b : "");
    return img_filter(name, argv, (a != NULL) + (b != NULL), im, &err);
}

/* A JPEG of w x h pixels; each component a flat value. Freed by the caller. */
static unsigned char *jpeg(int w, int h, J_COLOR_SPACE space, const unsigned char *value, bool progressive, unsigned long *n)
{
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr mgr;
    unsigned char *out = NULL;
    *n = 0;
    c.err = jpeg_std_error(&mgr);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &out, n);
    c.image_width = (JDIMENSION)w;
    c.image_height = (JDIMENSION)h;
    c.input_components = space == JCS_GRAYSCALE ? 1 : space == JCS_CMYK ? 4 : 3;
    c.in_color_space = space;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, 100, TRUE);
    if (progressive)
        jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    unsigned char *row = malloc((size_t)w * 4);
    assert_non_null(row);
    for (int x = 0; x < w * c.input_components; x++)
        row[x] = value[x % c.input_components];
    while (c.next_scanline < c.image_height)
        (void)jpeg_write_scanlines(&c, &row, 1);
    free(row);
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    return out;
}

static void assert_near(uint32_t got, uint32_t want)
{
    for (int s = 0; s < 32; s += 8)
        assert_in_range((got >> s & 255) + 2, want >> s & 255, (want >> s & 255) + 4);
}

static void jpegs_of_every_kind_come_out_as_they_were(void **state)
{
    (void)state;
    static const struct {
        J_COLOR_SPACE space;
        unsigned char value[4];
        bool progressive;
        uint32_t want;
    } kind[] = {
        {JCS_GRAYSCALE, {77}, false, 0xff4d4d4d},      {JCS_RGB, {200, 30, 90}, false, 0xffc81e5a}, {JCS_RGB, {200, 30, 90}, true, 0xffc81e5a},
        {JCS_CMYK, {255, 128, 0, 255}, false, 0xffff8000}, {JCS_CMYK, {255, 255, 255, 0}, true, 0xff000000},
    };
    for (size_t i = 0; i < sizeof kind / sizeof kind[0]; i++) {
        unsigned long n;
        unsigned char *bytes = jpeg(21, 13, kind[i].space, kind[i].value, kind[i].progressive, &n);
        struct image im;
        if (!img_read(bytes, n, &im, &err))
            fail_msg("%zu: %s", i, err.text);
        assert_true(im.w == 21 && im.h == 13 && im.opaque && im.grey == (kind[i].space == JCS_GRAYSCALE || i == 4));
        for (int k = 0; k < 21 * 13; k++)
            assert_near(im.px[k], kind[i].want);
        img_free(&im);
        free(bytes);
    }
}

static void no_part_of_an_image_is_taken_for_the_whole(void **state)
{
    (void)state;
    static const unsigned char grey[] = {200, 10, 99};
    for (int progressive = 0; progressive < 2; progressive++) {
        unsigned long n;
        unsigned char *bytes = jpeg(70, 40, JCS_RGB, grey, progressive != 0, &n);
        struct image im;
        assert_true(img_read(bytes, n, &im, &err));
        img_free(&im);
        for (unsigned long cut = 0; cut + 2 < n; cut++) { /* without its end marker alone nothing is missing */
            unsigned char *part = malloc(cut + 1); /* of its own, so that a sanitizer sees what is read beyond */
            assert_non_null(part);
            memcpy(part, bytes, cut);
            assert_false(img_read(part, cut, &im, &err));
            assert_true(err.fault == IMG_DAMAGED || (cut < 3 && err.fault == IMG_KIND));
            assert_null(im.px);
            free(part);
        }
        free(bytes);
    }
    uint32_t px[] = {0xff112233, 0x80445566, 0x00000000, 0xff010203};
    png_image png = {.version = PNG_IMAGE_VERSION, .width = 2, .height = 2, .format = PNG_FORMAT_BGRA};
    unsigned char file[400];
    png_alloc_size_t n = sizeof file;
    assert_true(png_image_write_to_memory(&png, file, &n, 0, px, 0, NULL));
    struct image im;
    assert_true(img_read(file, n, &im, &err) && im.w == 2 && im.px[1] == px[1] && !im.opaque && !im.grey);
    img_free(&im);
    for (size_t cut = 0; cut + 12 < n; cut++) /* IEND says nothing of the picture */
        assert_false(img_read(file, cut, &im, &err));
}

static void endless_scans_are_refused(void **state)
{
    (void)state;
    static const unsigned char grey[] = {9};
    unsigned long n;
    unsigned char *bytes = jpeg(16, 16, JCS_GRAYSCALE, grey, true, &n);
    /* its last scan, refining what is there, again and again */
    unsigned long at = n - 2;
    while (at > 0 && !(bytes[at] == 0xff && bytes[at + 1] == 0xda))
        at--;
    size_t scan = n - 2 - at, times = 5000;
    unsigned char *bomb = malloc(at + times * scan + 2);
    assert_non_null(bomb);
    memcpy(bomb, bytes, at);
    for (size_t i = 0; i < times; i++)
        memcpy(bomb + at + i * scan, bytes + at, scan);
    memcpy(bomb + at + times * scan, "\xff\xd9", 2);
    struct image im;
    assert_false(img_read(bomb, at + times * scan + 2, &im, &err));
    assert_int_equal(err.fault, IMG_DAMAGED);
    free(bomb);
    free(bytes);
}

static void sizes_are_looked_at_first(void **state)
{
    (void)state;
    static const int64_t size[][2] = {{0, 1}, {1, -1}, {IMG_SIDE_MAX + 1, 1}, {1, INT64_MAX}, {5001, 5000}, {INT64_MAX, INT64_MAX}};
    struct image im;
    for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
        assert_false(img_new(&im, size[i][0], size[i][1], &err));
        assert_int_equal(err.fault, IMG_SIZE);
        assert_int_equal(img_status(err.fault), 1);
    }
    assert_true(img_new(&im, 3, 2, &err));
    assert_false(filter(&im, "resize", "--width=1e300", NULL));
    assert_int_equal(err.fault, IMG_SIZE);
    assert_false(filter(&im, "resize", "--width=20000", "--height=20000"));
    img_free(&im);
    assert_true(img_new(&im, IMG_SIDE_MAX, 1, &err));
    im.opaque = true;
    for (int i = 0; i < im.w; i++)
        im.px[i] = i % 2 != 0 ? 0xffffffff : 0xff000000;
    assert_true(filter(&im, "resize", "--width=1", "--mode=stretch")); /* all of it goes into one pixel */
    assert_true(im.w == 1 && im.h == 1);
    assert_near(im.px[0], 0xff808080);
    img_free(&im);
    assert_true(img_new(&im, IMG_SIDE_MAX, 100, &err));
    assert_false(filter(&im, "rotate", "--angle=45", NULL)); /* a square around it would be too large */
    assert_int_equal(err.fault, IMG_SIZE);
    img_free(&im);
}

static void quarters_and_orientations_are_exact(void **state)
{
    (void)state;
    /* 1 2 3 / 4 5 6, and how each orientation shows it */
    static const char *const shown[] = {"", "123456", "321654", "654321", "456123", "142536", "415263", "635241", "362514"};
    for (int o = 1; o <= 8; o++) {
        struct image im;
        assert_true(img_new(&im, 3, 2, &err));
        for (int i = 0; i < 6; i++)
            im.px[i] = (uint32_t)i + '1';
        assert_true(img_orient(&im, o, &err));
        assert_true(im.w == (o < 5 ? 3 : 2) && im.h == (o < 5 ? 2 : 3));
        for (int i = 0; i < 6; i++)
            assert_int_equal(im.px[i], shown[o][i]);
        img_free(&im);
    }
    struct image im;
    assert_true(img_new(&im, 31, 17, &err));
    for (int i = 0; i < 31 * 17; i++)
        im.px[i] = (uint32_t)i * 2654435761u;
    for (int k = 0; k < 4; k++)
        assert_true(filter(&im, "rotate", "--angle=90", NULL));
    assert_true(im.w == 31 && im.h == 17);
    for (int i = 0; i < 31 * 17; i++)
        assert_int_equal(im.px[i], (uint32_t)i * 2654435761u);
    img_free(&im);
}

static void values_out_of_reason_do_no_harm(void **state)
{
    (void)state;
    static const char *const odd[][2] = {{"blur", "--sigma=-5"}, {"blur", "--sigma=1e9"}, {"sharpen", "--amount=1e12"}, {"sharpen", "--sigma=0"},
                                         {"rotate", "--angle=1e30"}, {"rotate", "--angle=0.000001"}, {"resize", "--width=-3"}, {"resize", "--height=0"}};
    static const char *const wrong[][2] = {{"blur", "--sigma=nan"}, {"blur", "--sigma=inf"}, {"blur", "--sigma="}, {"blur", "--sigma=1x"}, {"blur", "--radius=1"},
                                           {"blur", "sigma=1"}, {"blur", "--sigma"}, {"negative", "--sigma=1"}, {"resize", "--mode=zoom"}, {"resize", NULL}, {"sepia", NULL}};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0] + sizeof wrong / sizeof wrong[0]; i++) {
        struct image im;
        assert_true(img_new(&im, 5, 4, &err));
        im.px[7] = 0x7f102030;
        bool is_odd = i < sizeof odd / sizeof odd[0];
        const char *const *words = is_odd ? odd[i] : wrong[i - sizeof odd / sizeof odd[0]];
        err.fault = IMG_FINE;
        bool ok = filter(&im, words[0], words[1], NULL);
        if (is_odd && !ok)
            fail_msg("%s %s: %s", words[0], words[1], err.text);
        if (!is_odd)
            assert_true(!ok && err.fault == IMG_USAGE && img_status(err.fault) == 2);
        img_free(&im);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jpegs_of_every_kind_come_out_as_they_were), cmocka_unit_test(no_part_of_an_image_is_taken_for_the_whole),
        cmocka_unit_test(endless_scans_are_refused),                 cmocka_unit_test(sizes_are_looked_at_first),
        cmocka_unit_test(quarters_and_orientations_are_exact),       cmocka_unit_test(values_out_of_reason_do_no_harm),
    };
    return cmocka_run_group_tests_name("imgfilter", tests, NULL, NULL);
}
