/*
 * assay-imgfilter: applies one filter to one image.
 *
 *     assay-imgfilter FILTER [--PARAMETER=VALUE]... < image > result.png
 *
 * It runs inside a box: the image is a stranger's, and so is what it takes of memory and time.  It is one static program (where the
 * system has static libraries), so that it runs in every image.  One process, no threads, no files.  What filters there are, what each
 * parameter means and what it is when nobody says it stands in processors/image.json, which the server checks requests by; here values
 * are only kept from doing harm.
 *
 * Exit status, and one line of standard error, "WORD: TEXT", that may be shown to whoever sent the image:
 *
 *     0  done: standard output is a PNG, of nothing but the pixels
 *     1  refused: no PNG or JPEG ("not_an_image"), a broken one ("damaged"), one that has too many pixels, or would get too many
 *        ("too_large"), or too much memory ("memory")
 *     2  wrong usage
 *     4  a fault of ours: the result could not be written
 *
 * Images.  PNG of every kind (palette, grey, 16 bits a channel, interlaced, transparent) and JPEG (grey, YCbCr, RGB, CMYK, YCCK;
 * progressive too) become 8 bits a channel in sRGB; a JPEG is first turned as its EXIF says.  Pixels are kept as pixman's
 * a8r8g8b8, alpha not multiplied in.  Who blurs, resizes or rotates does so with alpha multiplied in, so that the colour of
 * what cannot be seen does not bleed; an image without transparency is never touched by that.
 */
#ifndef ASSAY_IMGFILTER_H
#define ASSAY_IMGFILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMG_PIXELS_MAX INT64_C(25000000)
#define IMG_SIDE_MAX 20000 /* pixman counts positions in 16 bits, sign included */
#define IMG_SCANS_MAX 100  /* of a progressive JPEG; each costs as much as an image */

enum img_fault { IMG_FINE, IMG_USAGE, IMG_KIND, IMG_DAMAGED, IMG_SIZE, IMG_MEMORY, IMG_OURS };
const char *img_word(enum img_fault f);
int img_status(enum img_fault f); /* the exit status */

struct img_error {
    enum img_fault fault;
    char text[300]; /* one printable line */
};
/* Sets it; always false. */
bool img_refuse(struct img_error *err, enum img_fault fault, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

struct image {
    int w, h;
    bool opaque; /* every alpha is 255 */
    bool grey;   /* red, green and blue of every pixel are the same */
    uint32_t *px; /* w * h, 0xAARRGGBB; freed by img_free */
};
void img_free(struct image *im);
/* Takes w * h pixels, all 0; what im had is not freed. */
bool img_new(struct image *im, int64_t w, int64_t h, struct img_error *err);

/* codec.c: any bytes in; *out is to be freed when it is true */
bool img_read(const unsigned char *bytes, size_t n, struct image *out, struct img_error *err);
bool img_write(const struct image *im, void *file, struct img_error *err); /* file: a FILE * */

/* filters.c: im is replaced. argv: "--name=value"s. */
bool img_filter(const char *name, char *const *argv, int argc, struct image *im, struct img_error *err);
/* EXIF's orientation, 1 to 8; others change nothing. */
bool img_orient(struct image *im, int orientation, struct img_error *err);

#endif
