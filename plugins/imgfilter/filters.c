/*
 * The filters.  Weighing many pixels is pixman's work: blurring, resampling, rotation.
 *
 * pixman's convolution costs 3.6 ns a tap and pixel (as measured), so a blur is done along rows and then along columns, and one that is
 * wide is done on an image that was made smaller before and is made larger again: nobody can see the difference, since what is lost is
 * what the blur takes away.
 */
#include "imgfilter.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pixman.h>

#define SIGMA_MAX 200.0
#define SIGMA_WIDE 8.0 /* beyond this a blur is done on a smaller image */
#define KERNEL_MAX 63
#define STEP_MAX 1000 /* times smaller at once: pixman draws nothing, and says nothing, when a pixel beyond the result's edge is not within its 16 bits */

struct param {
    const char *name;
    double value;  /* NAN: not given */
    char text[16]; /* of a choice */
};

/* "--name=value" into the parameter of that name: a number, or a word where the parameter has one. */
static bool params_read(struct param *p, size_t n, char *const *argv, int argc, struct img_error *err)
{
    for (int i = 0; i < argc; i++) {
        const char *eq = strchr(argv[i], '=');
        struct param *to = NULL;
        for (size_t k = 0; k < n && eq != NULL && strncmp(argv[i], "--", 2) == 0; k++) {
            if (strlen(p[k].name) == (size_t)(eq - argv[i]) - 2 && strncmp(argv[i] + 2, p[k].name, strlen(p[k].name)) == 0)
                to = &p[k];
        }
        if (to == NULL)
            return img_refuse(err, IMG_USAGE, "this filter has no parameter %.60s", argv[i]);
        if (to->text[0] != '\0') {
            (void)snprintf(to->text, sizeof to->text, "%s", eq + 1);
            continue;
        }
        char *end;
        errno = 0;
        to->value = strtod(eq + 1, &end);
        if (end == eq + 1 || *end != '\0' || errno != 0 || !isfinite(to->value))
            return img_refuse(err, IMG_USAGE, "%.60s is not a number", argv[i]);
    }
    return true;
}

static double within(double v, double low, double high, double otherwise)
{
    return isnan(v) ? otherwise : v < low ? low : v > high ? high : v;
}

/* The result takes the image's place. */
static void replace(struct image *im, const struct image *by)
{
    free(im->px);
    *im = *by;
}

/* ---- pixel by pixel ----------------------------------------------------------------------------------------------- */

static size_t count(const struct image *im)
{
    return (size_t)im->w * (size_t)im->h;
}

static bool negative(struct image *im, char *const *argv, int argc, struct img_error *err)
{
    if (!params_read(NULL, 0, argv, argc, err))
        return false;
    for (size_t i = 0; i < count(im); i++)
        im->px[i] ^= 0x00ffffff;
    return true;
}

/* Luma as Rec. 601 weighs it, which is what a JPEG keeps as its Y; rounded. */
static uint32_t luma(uint32_t p)
{
    return (299 * (p >> 16 & 255) + 587 * (p >> 8 & 255) + 114 * (p & 255) + 500) / 1000;
}

static void to_grey(struct image *im)
{
    for (size_t i = 0; i < count(im); i++)
        im->px[i] = (im->px[i] & 0xff000000) | luma(im->px[i]) * 0x010101;
    im->grey = true;
}

static bool grayscale(struct image *im, char *const *argv, int argc, struct img_error *err)
{
    if (!params_read(NULL, 0, argv, argc, err))
        return false;
    to_grey(im);
    return true;
}

/* Alpha into the colours, and out of them again; both round. */
static void multiply(struct image *im)
{
    for (size_t i = 0; !im->opaque && i < count(im); i++) {
        uint32_t p = im->px[i], a = p >> 24, q = a << 24;
        for (int s = 0; s < 24; s += 8)
            q |= ((p >> s & 255) * a + 127) / 255 << s;
        im->px[i] = q;
    }
}

static void divide(struct image *im)
{
    for (size_t i = 0; !im->opaque && i < count(im); i++) {
        uint32_t p = im->px[i], a = p >> 24, q = a << 24;
        for (int s = 0; a != 0 && s < 24; s += 8) {
            uint32_t v = ((p >> s & 255) * 255 + a / 2) / a;
            q |= (v > 255 ? 255 : v) << s;
        }
        im->px[i] = q;
    }
}

/* ---- through pixman ----------------------------------------------------------------------------------------------- */

struct look {
    pixman_filter_t filter;
    const pixman_fixed_t *params;
    int n_params;
    const pixman_transform_t *transform; /* from the result's positions to the image's */
    pixman_repeat_t repeat;              /* what lies beyond the edges */
};

/* to: has its pixels already. */
static bool draw(const struct image *from, struct image *to, const struct look *l, struct img_error *err)
{
    pixman_image_t *s = pixman_image_create_bits_no_clear(PIXMAN_a8r8g8b8, from->w, from->h, from->px, from->w * 4);
    pixman_image_t *d = pixman_image_create_bits_no_clear(PIXMAN_a8r8g8b8, to->w, to->h, to->px, to->w * 4);
    bool ok = s != NULL && d != NULL && pixman_image_set_filter(s, l->filter, l->params, l->n_params) &&
              (l->transform == NULL || pixman_image_set_transform(s, l->transform));
    if (ok) {
        pixman_image_set_repeat(s, l->repeat);
        pixman_image_composite32(PIXMAN_OP_SRC, s, NULL, d, 0, 0, 0, 0, 0, 0, to->w, to->h);
    }
    if (s != NULL)
        (void)pixman_image_unref(s);
    if (d != NULL)
        (void)pixman_image_unref(d);
    return ok || img_refuse(err, IMG_MEMORY, "no memory to draw");
}

static bool draw_new(const struct image *from, int64_t w, int64_t h, const struct look *l, struct image *to, struct img_error *err)
{
    if (!img_new(to, w, h, err))
        return false;
    to->opaque = from->opaque;
    to->grey = from->grey;
    if (draw(from, to, l, err))
        return true;
    img_free(to);
    return false;
}

/* One pass of a kernel of w x h weights that lies around each pixel. */
static bool convolve(const struct image *from, const double *weight, int w, int h, struct image *to, struct img_error *err)
{
    pixman_fixed_t params[2 + KERNEL_MAX];
    params[0] = pixman_int_to_fixed(w);
    params[1] = pixman_int_to_fixed(h);
    for (int i = 0; i < w * h; i++)
        params[2 + i] = pixman_double_to_fixed(weight[i]);
    struct look l = {PIXMAN_FILTER_CONVOLUTION, params, 2 + w * h, NULL, PIXMAN_REPEAT_PAD};
    return draw_new(from, from->w, from->h, &l, to, err);
}

/* Weights of a Gauss curve, at least three sigma to either side; they make exactly 1 in pixman's 16 bits, or flat parts would drift. */
static int gauss(double sigma, double weight[KERNEL_MAX])
{
    int r = (int)ceil(3 * sigma);
    r = r < 1 ? 1 : r > KERNEL_MAX / 2 ? KERNEL_MAX / 2 : r;
    double sum = 0, all = 0;
    for (int i = -r; i <= r; i++)
        sum += weight[r + i] = exp(-i * i / (2 * sigma * sigma));
    for (int i = 0; i <= 2 * r; i++)
        all += weight[i] = pixman_fixed_to_double(pixman_double_to_fixed(weight[i] / sum));
    weight[r] += 1 - all;
    return 2 * r + 1;
}

/* im as w x h pixels. Shrinking weighs all that goes into a pixel; growing is linear. */
static bool scale(const struct image *im, int64_t w, int64_t h, struct image *to, struct img_error *err)
{
    double sx = (double)im->w / (double)w, sy = (double)im->h / (double)h;
    int n = 0;
    pixman_transform_t t;
    struct pixman_f_transform f;
    if (w < 1 || h < 1 || w > IMG_SIDE_MAX || h > IMG_SIDE_MAX)
        return img_new(to, w, h, err);
    if (sx > STEP_MAX || sy > STEP_MAX) {
        struct image half = {.px = NULL};
        int64_t hw = (im->w + STEP_MAX - 1) / STEP_MAX, hh = (im->h + STEP_MAX - 1) / STEP_MAX;
        bool ok = scale(im, hw > w ? hw : w, hh > h ? hh : h, &half, err) && scale(&half, w, h, to, err);
        img_free(&half);
        return ok;
    }
    pixman_f_transform_init_scale(&f, sx, sy);
    if (!pixman_transform_from_pixman_f_transform(&t, &f))
        return img_refuse(err, IMG_SIZE, "this cannot be resized so far");
    /* a triangle where it grows, and where it shrinks a box of what falls into each pixel */
    pixman_fixed_t *params = pixman_filter_create_separable_convolution(
        &n, pixman_double_to_fixed(sx > 1 ? sx : 1), pixman_double_to_fixed(sy > 1 ? sy : 1), sx > 1 ? PIXMAN_KERNEL_IMPULSE : PIXMAN_KERNEL_LINEAR,
        sy > 1 ? PIXMAN_KERNEL_IMPULSE : PIXMAN_KERNEL_LINEAR, sx > 1 ? PIXMAN_KERNEL_BOX : PIXMAN_KERNEL_IMPULSE,
        sy > 1 ? PIXMAN_KERNEL_BOX : PIXMAN_KERNEL_IMPULSE, 6, 6);
    if (params == NULL)
        return img_refuse(err, IMG_MEMORY, "no memory to resize");
    struct look l = {PIXMAN_FILTER_SEPARABLE_CONVOLUTION, params, n, &t, PIXMAN_REPEAT_PAD};
    bool ok = draw_new(im, w, h, &l, to, err);
    free(params);
    return ok;
}

/* With alpha multiplied in. */
static bool blurred(const struct image *im, double sigma, struct image *to, struct img_error *err)
{
    double weight[KERNEL_MAX];
    struct image one = {.px = NULL}, two = {.px = NULL};
    if (sigma > SIGMA_WIDE) {
        double by = sigma / (SIGMA_WIDE / 2);
        int64_t w = (int64_t)ceil(im->w / by), h = (int64_t)ceil(im->h / by);
        bool ok = scale(im, w, h, &one, err) && blurred(&one, SIGMA_WIDE / 2, &two, err) && scale(&two, im->w, im->h, to, err);
        img_free(&one);
        img_free(&two);
        return ok;
    }
    int n = gauss(sigma, weight);
    bool ok = convolve(im, weight, n, 1, &one, err) && convolve(&one, weight, 1, n, to, err);
    img_free(&one);
    return ok;
}

static bool blur(struct image *im, char *const *argv, int argc, struct img_error *err)
{
    struct param p[] = {{"sigma", NAN, ""}};
    struct image out;
    if (!params_read(p, 1, argv, argc, err))
        return false;
    multiply(im);
    if (!blurred(im, within(p[0].value, 0.1, SIGMA_MAX, 2), &out, err))
        return false;
    replace(im, &out);
    divide(im);
    return true;
}

/* What a blur takes away is added once more, by an amount. */
static bool sharpen(struct image *im, char *const *argv, int argc, struct img_error *err)
{
    struct param p[] = {{"sigma", NAN, ""}, {"amount", NAN, ""}};
    struct image soft;
    if (!params_read(p, 2, argv, argc, err))
        return false;
    double amount = within(p[1].value, 0, 100, 1);
    multiply(im);
    if (!blurred(im, within(p[0].value, 0.1, SIGMA_MAX, 1), &soft, err))
        return false;
    for (size_t i = 0; i < count(im); i++) {
        uint32_t was = im->px[i], low = soft.px[i], a = was >> 24, q = a << 24;
        for (int s = 0; s < 24; s += 8) {
            double v = (double)(was >> s & 255), more = v + amount * (v - (double)(low >> s & 255));
            uint32_t u = more <= 0 ? 0 : more >= (double)a ? a : (uint32_t)(more + 0.5); /* a colour is at most its alpha */
            q |= u << s;
        }
        im->px[i] = q;
    }
    img_free(&soft);
    divide(im);
    return true;
}

/*
 * Sobel's slopes of the luma, |across| + |down|; what is above white stays white.  Transparency is kept as it was.  Not through pixman:
 * sums below zero come out of its convolution as white (0.42).
 */
static bool edges(struct image *im, char *const *argv, int argc, struct img_error *err)
{
    struct image out;
    if (!params_read(NULL, 0, argv, argc, err) || !img_new(&out, im->w, im->h, err))
        return false;
    out.opaque = im->opaque;
    out.grey = true;
    to_grey(im);
    for (int y = 0; y < im->h; y++) {
        const uint32_t *row[3]; /* beyond the edges the last pixel goes on */
        for (int k = 0; k < 3; k++)
            row[k] = im->px + (size_t)(y + k < 1 ? 0 : y + k > im->h ? im->h - 1 : y + k - 1) * (size_t)im->w;
        for (int x = 0; x < im->w; x++) {
            int l = x > 0 ? x - 1 : 0, r = x + 1 < im->w ? x + 1 : x, v[3][3];
            for (int k = 0; k < 3; k++) {
                v[k][0] = (int)(row[k][l] & 255);
                v[k][1] = (int)(row[k][x] & 255);
                v[k][2] = (int)(row[k][r] & 255);
            }
            int across = v[0][2] + 2 * v[1][2] + v[2][2] - v[0][0] - 2 * v[1][0] - v[2][0];
            int down = v[2][0] + 2 * v[2][1] + v[2][2] - v[0][0] - 2 * v[0][1] - v[0][2];
            int slope = abs(across) + abs(down);
            out.px[(size_t)y * (size_t)im->w + (size_t)x] = (row[1][x] & 0xff000000) | (uint32_t)(slope > 255 ? 255 : slope) * 0x010101;
        }
    }
    replace(im, &out);
    return true;
}

/* ---- size and direction ------------------------------------------------------------------------------------------- */

static int64_t nearest(double v)
{
    return v < 1 ? 1 : (int64_t)llround(v > 1e9 ? 1e9 : v);
}

/* The part of w x h pixels in the middle. */
static bool middle(struct image *im, int w, int h, struct img_error *err)
{
    struct image out;
    if (!img_new(&out, w, h, err))
        return false;
    out.opaque = im->opaque;
    out.grey = im->grey;
    int x = (im->w - w) / 2, y = (im->h - h) / 2;
    for (int i = 0; i < h; i++)
        memcpy(out.px + (size_t)i * (size_t)w, im->px + (size_t)(y + i) * (size_t)im->w + x, (size_t)w * sizeof *out.px);
    replace(im, &out);
    return true;
}

static bool resize(struct image *im, char *const *argv, int argc, struct img_error *err)
{
    struct param p[] = {{"width", NAN, ""}, {"height", NAN, ""}, {"mode", NAN, "fit"}};
    struct image out;
    if (!params_read(p, 3, argv, argc, err))
        return false;
    const char *mode = p[2].text;
    bool stretch = strcmp(mode, "stretch") == 0, cover = strcmp(mode, "cover") == 0;
    if (!stretch && !cover && strcmp(mode, "fit") != 0)
        return img_refuse(err, IMG_USAGE, "mode is fit, cover or stretch");
    if (isnan(p[0].value) && isnan(p[1].value))
        return img_refuse(err, IMG_USAGE, "width or height is needed");
    double x = p[0].value / im->w, y = p[1].value / im->h;
    x = isnan(x) ? y : x;
    y = isnan(y) ? x : y;
    if (!stretch)
        x = y = cover == (x > y) ? x : y; /* the larger one covers, the smaller one fits */
    int64_t w = nearest(im->w * x), h = nearest(im->h * y);
    multiply(im);
    if (!scale(im, w, h, &out, err))
        return false;
    replace(im, &out);
    divide(im);
    int64_t want_w = isnan(p[0].value) ? w : nearest(p[0].value), want_h = isnan(p[1].value) ? h : nearest(p[1].value);
    if (cover && (want_w < w || want_h < h))
        return middle(im, (int)(want_w < w ? want_w : w), (int)(want_h < h ? want_h : h), err);
    return true;
}

/* A pixel at (x, y) of the result is the one at (ax x + bx y + cx, ay x + by y + cy) of the image. */
static bool turn(struct image *im, bool sideways, int ax, int bx, int cx, int ay, int by, int cy, struct img_error *err)
{
    struct image out;
    if (!img_new(&out, sideways ? im->h : im->w, sideways ? im->w : im->h, err))
        return false;
    out.opaque = im->opaque;
    out.grey = im->grey;
    uint32_t *to = out.px;
    for (int y = 0; y < out.h; y++) {
        for (int x = 0; x < out.w; x++)
            *to++ = im->px[(size_t)(ay * x + by * y + cy) * (size_t)im->w + (size_t)(ax * x + bx * y + cx)];
    }
    replace(im, &out);
    return true;
}

bool img_orient(struct image *im, int orientation, struct img_error *err)
{
    int r = im->w - 1, b = im->h - 1;
    switch (orientation) {
    case 2:
        return turn(im, false, -1, 0, r, 0, 1, 0, err);
    case 3:
        return turn(im, false, -1, 0, r, 0, -1, b, err);
    case 4:
        return turn(im, false, 1, 0, 0, 0, -1, b, err);
    case 5:
        return turn(im, true, 0, 1, 0, 1, 0, 0, err);
    case 6: /* a quarter clockwise */
        return turn(im, true, 0, 1, 0, -1, 0, b, err);
    case 7:
        return turn(im, true, 0, -1, r, -1, 0, b, err);
    case 8: /* a quarter counter-clockwise */
        return turn(im, true, 0, -1, r, 1, 0, 0, err);
    default:
        return true;
    }
}

/* Clockwise; the result holds all of the image, and what is beyond its corners is transparent. Quarters are exact. */
static bool rotate(struct image *im, char *const *argv, int argc, struct img_error *err)
{
    struct param p[] = {{"angle", NAN, ""}};
    struct image out;
    if (!params_read(p, 1, argv, argc, err))
        return false;
    double angle = fmod(within(p[0].value, -1e6, 1e6, 90), 360);
    angle = angle < 0 ? angle + 360 : angle;
    if (fmod(angle, 90) == 0) /* EXIF's words for a half, and for a quarter to either side */
        return img_orient(im, angle == 90 ? 6 : angle == 180 ? 3 : angle == 270 ? 8 : 1, err);
    double c = cos(angle * 3.14159265358979323846 / 180), s = sin(angle * 3.14159265358979323846 / 180);
    int64_t w = (int64_t)ceil(im->w * fabs(c) + im->h * fabs(s) - 1e-6), h = (int64_t)ceil(im->w * fabs(s) + im->h * fabs(c) - 1e-6);
    /* from the middle of the result, turned back, to the middle of the image */
    double mx = im->w / 2.0, my = im->h / 2.0, nx = (double)w / 2, ny = (double)h / 2;
    struct pixman_f_transform f = {{{c, s, mx - c * nx - s * ny}, {-s, c, my + s * nx - c * ny}, {0, 0, 1}}};
    pixman_transform_t t;
    if (!pixman_transform_from_pixman_f_transform(&t, &f))
        return img_refuse(err, IMG_SIZE, "the image is too large to be rotated");
    struct look l = {PIXMAN_FILTER_BILINEAR, NULL, 0, &t, PIXMAN_REPEAT_NONE};
    multiply(im);
    if (!draw_new(im, w, h, &l, &out, err))
        return false;
    out.opaque = false;
    replace(im, &out);
    divide(im);
    return true;
}

bool img_filter(const char *name, char *const *argv, int argc, struct image *im, struct img_error *err)
{
    static const struct {
        const char *name;
        bool (*fn)(struct image *im, char *const *argv, int argc, struct img_error *err);
    } table[] = {{"negative", negative}, {"grayscale", grayscale}, {"blur", blur},     {"sharpen", sharpen},
                 {"edges", edges},       {"resize", resize},       {"rotate", rotate}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(name, table[i].name) == 0)
            return table[i].fn(im, argv, argc, err);
    }
    return img_refuse(err, IMG_USAGE, "there is no filter %.60s", name);
}
