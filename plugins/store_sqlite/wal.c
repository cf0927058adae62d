/*
 * Damage in the write-ahead log, told from a power cut.
 *
 * SQLite reads its log up to the first frame whose checksum is wrong and takes what follows for the remains of a write
 * that was cut off.  That is right after a power cut, and silently drops acknowledged transactions when a bit has
 * rotted in the middle.  The two can be told apart: the writer syncs the log at each commit before it writes on (FULL), so
 * what a cut leaves unsound lies in the last transaction.  A bad frame that is followed by a whole commit, and that by
 * one more sound frame, is damage; then nothing is opened, so that the file can be looked at and restored.
 *
 * Each frame's checksum goes on from that of the frame before it, and every frame holds its own: so frames behind a bad
 * one can be checked too, from what the frame before them says (file format: sqlite.org/fileformat2.html, 4.2).
 * Frames that a rolled-back transaction has left behind are in no commit; frames of an earlier round of the log have
 * other salts, and none of this round come after them.  The header is synced before the first frame is written and lies in
 * one sector: an unsound one before frames is damage.  A bad frame within the last transaction cannot be told from a cut.
 */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADER 32
#define FRAME_HEAD 24
#define ADVICE ". Keep a copy of the database and its -wal file, then restore a backup"

struct sum {
    uint32_t a, b;
};

static uint32_t big(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t word(const unsigned char *p, bool is_big)
{
    return is_big ? big(p) : (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static struct sum add(struct sum s, const unsigned char *p, size_t n, bool is_big)
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        s.a += word(p + i, is_big) + s.b;
        s.b += word(p + i + 4, is_big) + s.a;
    }
    return s;
}

static struct sum said(const unsigned char *p)
{
    return (struct sum){big(p), big(p + 4)};
}

static bool same(struct sum x, struct sum y)
{
    return x.a == y.a && x.b == y.b;
}

/* Whole frames one by one; 0, or corrupt with the number of the bad frame. */
static int look(FILE *f, const unsigned char header[HEADER], unsigned char *frame, size_t page, int64_t until_ns, const char *path,
                struct assay_err *err)
{
    bool is_big = (big(header) & 1) != 0, committed = false;
    struct sum before = said(header + 24);
    size_t n = 0, bad = 0;
    while (fread(frame, 1, FRAME_HEAD + page, f) == FRAME_HEAD + page) {
        n++;
        if (n % 1024 == 0 && assay_mono_ns() > until_ns)
            return 0;
        struct sum s = add(add(before, frame, 8, is_big), frame + FRAME_HEAD, page, is_big);
        before = said(frame + 16);
        if (!same(s, before) || memcmp(frame + 8, header + 16, 8) != 0) {
            if (bad == 0)
                bad = n;
            committed = false;
            continue;
        }
        if (committed)
            return assay_err_set(err, ASSAY_E_CORRUPT,
                                 "%s is damaged: frame %zu is not as it was written, and whole transactions follow it" ADVICE,
                                 path, bad);
        committed = bad != 0 && big(frame + 4) != 0;
    }
    return 0;
}

int sq_wal_check(const char *database, int64_t check_ms, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf path = ASSAY_BUF_INIT;
    assay_buf_puts(&path, database);
    assay_buf_puts(&path, "-wal");
    if (path.failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a path");
    FILE *f = check_ms > 0 ? fopen(path.p, "rbe") : NULL;
    unsigned char header[HEADER];
    size_t got = f ? fread(header, 1, HEADER, f) : 0;
    int st = 0;
    if (got == HEADER) {
        size_t page = big(header + 8);
        bool sound = (big(header) & ~1u) == 0x377f0682u && page >= 512 && page <= 65536 &&
                     same(add((struct sum){0, 0}, header, 24, (big(header) & 1) != 0), said(header + 24));
        unsigned char *frame = sound ? malloc(FRAME_HEAD + page) : NULL;
        if (frame)
            st = look(f, header, frame, page, assay_mono_ns() + check_ms * 1000000, path.p, err);
        else if (!sound && memcmp(header, (unsigned char[HEADER]){0}, HEADER) != 0 && fgetc(f) != EOF)
            st = assay_err_set(err, ASSAY_E_CORRUPT, "%s is damaged: its header is not as it was written" ADVICE, path.p);
        free(frame);
    }
    if (f)
        (void)fclose(f); /* only read */
    return st;
}
