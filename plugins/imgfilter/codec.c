/*
 * Images in and out.  libpng and libjpeg look at every byte; what is ours is to ask for the size before anything is decoded, and to
 * take no half of an image for a whole one: libjpeg by itself fills what is missing with grey and calls that a warning.
 */
#include "imgfilter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>
#include <libexif/exif-data.h>
#include <png.h>

const char *img_word(enum img_fault f)
{
    static const char *const word[] = {"fine", "usage", "not_an_image", "damaged", "too_large", "memory", "failed"};
    return word[f];
}

int img_status(enum img_fault f)
{
    return f == IMG_FINE ? 0 : f == IMG_USAGE ? 2 : f == IMG_OURS ? 4 : 1;
}

bool img_refuse(struct img_error *err, enum img_fault fault, const char *fmt, ...)
{
    va_list ap;
    err->fault = fault;
    va_start(ap, fmt);
    (void)vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    for (char *p = err->text; *p != '\0'; p++) {
        if (*p < ' ' || *p > '~')
            *p = '?';
    }
    return false;
}

void img_free(struct image *im)
{
    free(im->px);
    im->px = NULL;
}

bool img_new(struct image *im, int64_t w, int64_t h, struct img_error *err)
{
    if (w < 1 || h < 1 || w > IMG_SIDE_MAX || h > IMG_SIDE_MAX || w * h > IMG_PIXELS_MAX)
        return img_refuse(err, IMG_SIZE, "%lld x %lld pixels: at most %d on a side and %lld in all", (long long)w, (long long)h, IMG_SIDE_MAX,
                          (long long)IMG_PIXELS_MAX);
    *im = (struct image){.w = (int)w, .h = (int)h, .px = calloc((size_t)(w * h), sizeof *im->px)};
    return im->px != NULL || img_refuse(err, IMG_MEMORY, "no memory for %lld x %lld pixels", (long long)w, (long long)h);
}

/* Says of the image what it is. */
static void look(struct image *im)
{
    size_t n = (size_t)im->w * (size_t)im->h;
    uint32_t all = 0xffffffff, colours = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t p = im->px[i];
        all &= p;
        colours |= ((p >> 16) ^ (p >> 8)) | ((p >> 8) ^ p);
    }
    im->opaque = all >> 24 == 255;
    im->grey = (colours & 255) == 0;
}

/* ---- PNG ---------------------------------------------------------------------------------------------------------- */

static bool read_png(const unsigned char *bytes, size_t n, struct image *out, struct img_error *err)
{
    png_image png;
    memset(&png, 0, sizeof png);
    png.version = PNG_IMAGE_VERSION;
    if (!png_image_begin_read_from_memory(&png, bytes, n))
        return img_refuse(err, IMG_DAMAGED, "the PNG cannot be read: %s", png.message);
    if (!img_new(out, png.width, png.height, err)) {
        png_image_free(&png);
        return false;
    }
    png.format = PNG_FORMAT_BGRA;                 /* a8r8g8b8 on a machine that has the lowest byte first, */
    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
        png.format = PNG_FORMAT_ARGB;             /* and on one that has not */
    png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;       /* 16 bits without a word on their meaning are no linear light */
    if (!png_image_finish_read(&png, NULL, out->px, 0, NULL)) {
        bool memory = strstr(png.message, "memory") != NULL;
        return img_refuse(err, memory ? IMG_MEMORY : IMG_DAMAGED, "the PNG cannot be read: %s", png.message);
    }
    return true;
}

bool img_write(const struct image *im, void *file, struct img_error *err)
{
    png_image png;
    memset(&png, 0, sizeof png);
    png.version = PNG_IMAGE_VERSION;
    png.width = (png_uint_32)im->w;
    png.height = (png_uint_32)im->h;
    size_t n = (size_t)im->w * (size_t)im->h, channels = (im->grey ? 1u : 3u) + (im->opaque ? 0u : 1u);
    png.format = (im->grey ? 0u : PNG_FORMAT_FLAG_COLOR) | (im->opaque ? 0u : PNG_FORMAT_FLAG_ALPHA);
    /* as few channels as it needs, made in place: the pixels are not needed any more */
    unsigned char *to = (unsigned char *)im->px;
    for (size_t i = 0; i < n; i++) {
        uint32_t p = im->px[i];
        if (!im->grey)
            *to++ = (unsigned char)(p >> 16);
        if (!im->grey)
            *to++ = (unsigned char)(p >> 8);
        *to++ = (unsigned char)p;
        if (!im->opaque)
            *to++ = (unsigned char)(p >> 24);
    }
    if (!png_image_write_to_stdio(&png, file, 0, im->px, (png_int_32)(channels * (size_t)im->w), NULL))
        return img_refuse(err, IMG_OURS, "the result cannot be written: %s", png.message);
    return fflush(file) == 0 || img_refuse(err, IMG_OURS, "the result cannot be written");
}

/* ---- JPEG --------------------------------------------------------------------------------------------------------- */

struct jpeg {
    struct jpeg_error_mgr mgr; /* first: libjpeg knows it by this */
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    struct img_error *err;
    struct image im;
    unsigned char *row; /* of a CMYK image */
    int orientation;
};

static void jpeg_end(j_common_ptr c)
{
    struct jpeg *j = (struct jpeg *)c->err;
    char text[JMSG_LENGTH_MAX];
    (*c->err->format_message)(c, text);
    (void)img_refuse(j->err, c->err->msg_code == JERR_OUT_OF_MEMORY ? IMG_MEMORY : IMG_DAMAGED, "the JPEG cannot be read: %s", text);
    longjmp(j->back, 1);
}

/* What libjpeg would guess its way around: only rubbish between the parts, and words on versions, do no harm. */
static void jpeg_told(j_common_ptr c, int level)
{
    int code = c->err->msg_code;
    if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_JFIF_MAJOR && code != JWRN_ADOBE_XFORM)
        jpeg_end(c);
}

static void jpeg_progress(j_common_ptr c)
{
    struct jpeg *j = (struct jpeg *)c->err;
    if (((j_decompress_ptr)c)->input_scan_number <= IMG_SCANS_MAX)
        return;
    (void)img_refuse(j->err, IMG_DAMAGED, "the JPEG has more than %d scans", IMG_SCANS_MAX);
    longjmp(j->back, 1);
}

static int orientation_of(const struct jpeg_marker_struct *m)
{
    int orientation = 1;
    for (; m != NULL; m = m->next) {
        if (m->marker != JPEG_APP0 + 1 || m->data_length < 6 || memcmp(m->data, "Exif\0\0", 6) != 0)
            continue;
        ExifData *exif = exif_data_new_from_data(m->data, m->data_length);
        ExifEntry *e = exif != NULL ? exif_content_get_entry(exif->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION) : NULL;
        if (e != NULL && e->format == EXIF_FORMAT_SHORT && e->components == 1 && e->size >= 2)
            orientation = exif_get_short(e->data, exif_data_get_byte_order(exif));
        if (exif != NULL)
            exif_data_unref(exif);
        break;
    }
    return orientation;
}

/* Ink to light. Adobe's files, which is nearly all of them, have the inks the other way round. */
static void from_cmyk(uint32_t *to, const unsigned char *cmyk, int w, bool inverted)
{
    for (int x = 0; x < w; x++, cmyk += 4) {
        uint32_t ink[4];
        for (int k = 0; k < 4; k++)
            ink[k] = inverted ? cmyk[k] : 255u - cmyk[k];
        to[x] = 0xff000000u | (ink[0] * ink[3] + 127) / 255 << 16 | (ink[1] * ink[3] + 127) / 255 << 8 | (ink[2] * ink[3] + 127) / 255;
    }
}

static bool jpeg_decode(struct jpeg *j, struct jpeg_decompress_struct *c, const unsigned char *bytes, size_t n)
{
    if (setjmp(j->back) != 0)
        return false;
    jpeg_create_decompress(c);
    c->progress = &j->progress;
    jpeg_mem_src(c, bytes, (unsigned long)n);
    jpeg_save_markers(c, JPEG_APP0 + 1, 0xffff);
    (void)jpeg_read_header(c, TRUE);
    j->orientation = orientation_of(c->marker_list);
    if (!img_new(&j->im, c->image_width, c->image_height, j->err))
        return false;
    bool cmyk = c->jpeg_color_space == JCS_CMYK || c->jpeg_color_space == JCS_YCCK;
    c->out_color_space = cmyk ? JCS_CMYK : __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? JCS_EXT_ARGB : JCS_EXT_BGRA;
    c->dct_method = JDCT_ISLOW;
    (void)jpeg_start_decompress(c);
    if (cmyk && (j->row = malloc((size_t)j->im.w * 4)) == NULL)
        return img_refuse(j->err, IMG_MEMORY, "no memory for a row");
    while (c->output_scanline < c->output_height) {
        uint32_t *to = j->im.px + (size_t)c->output_scanline * (size_t)j->im.w;
        JSAMPROW row = cmyk ? j->row : (JSAMPROW)to;
        if (jpeg_read_scanlines(c, &row, 1) == 1 && cmyk)
            from_cmyk(to, j->row, j->im.w, c->saw_Adobe_marker);
    }
    (void)jpeg_finish_decompress(c);
    return true;
}

static bool read_jpeg(const unsigned char *bytes, size_t n, struct image *out, struct img_error *err)
{
    struct jpeg_decompress_struct c;
    struct jpeg j = {.err = err, .orientation = 1};
    memset(&c, 0, sizeof c);
    c.err = jpeg_std_error(&j.mgr);
    j.mgr.error_exit = jpeg_end;
    j.mgr.emit_message = jpeg_told;
    j.progress.progress_monitor = jpeg_progress;
    bool ok = jpeg_decode(&j, &c, bytes, n);
    jpeg_destroy_decompress(&c);
    free(j.row);
    ok = ok && img_orient(&j.im, j.orientation, err);
    if (!ok)
        img_free(&j.im);
    *out = j.im;
    return ok;
}

bool img_read(const unsigned char *bytes, size_t n, struct image *out, struct img_error *err)
{
    static const struct {
        const char *magic, *name;
    } others[] = {{"GIF8", "a GIF"}, {"RIFF", "WebP"}, {"BM", "a BMP"}, {"II*", "a TIFF"}, {"MM", "a TIFF"}, {"%PDF", "a PDF"}, {"PK", "a ZIP"}, {"<", "text"}};
    const char *like = "";
    out->px = NULL;
    bool ok;
    if (n >= 8 && png_sig_cmp(bytes, 0, 8) == 0) {
        ok = read_png(bytes, n, out, err);
    } else if (n >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0) {
        ok = read_jpeg(bytes, n, out, err);
    } else {
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
            if (n >= strlen(others[i].magic) && memcmp(bytes, others[i].magic, strlen(others[i].magic)) == 0)
                like = others[i].name;
        }
        return img_refuse(err, IMG_KIND, "it is neither a PNG nor a JPEG%s%s", like[0] != '\0' ? "; it begins as " : n == 0 ? "; it is empty" : "",
                          like[0] != '\0' ? like : "");
    }
    if (ok)
        look(out);
    else
        img_free(out);
    return ok;
}
