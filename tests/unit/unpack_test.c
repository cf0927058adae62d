/* Submitted archives: what is unpacked and how, and what is refused. H48 and H49 of the hostile list are here, without a box. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "unpack.h"

static struct unpack_limits limits;
static struct unpack_outcome oc;
static char dir[64];
static int into;
static struct assay_buf zip, central; /* an archive in the making: stored entries, byte by byte */
static unsigned entries;
static const char *const *required;
static size_t n_required;
static bool over;

static int begin(void **state)
{
    (void)state;
    limits = (struct unpack_limits)UNPACK_LIMITS_DEFAULT;
    assay_buf_reset(&zip);
    assay_buf_reset(&central);
    zip.cap = central.cap = (size_t)256 << 20;
    entries = 0;
    required = NULL;
    n_required = 0;
    over = false;
    (void)snprintf(dir, sizeof dir, "/tmp/assay-unpack-XXXXXX");
    into = mkdtemp(dir) != NULL ? open(dir, O_RDONLY | O_DIRECTORY) : -1;
    return into < 0;
}

static int zap(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    (void)st, (void)kind, (void)f;
    return remove(path);
}

static int end(void **state)
{
    (void)state;
    (void)close(into);
    return nftw(dir, zap, 16, FTW_DEPTH | FTW_PHYS);
}

static uint32_t crc(struct assay_str s)
{
    uint32_t c = ~UINT32_C(0);
    for (size_t i = 0; i < s.n; i++) {
        c ^= (unsigned char)s.p[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
    }
    return ~c;
}

static void le(struct assay_buf *b, unsigned bytes, uint64_t v)
{
    for (; bytes > 0; bytes--, v >>= 8)
        assay_buf_putc(b, (char)(v & 0xff));
}

#define UTF8 0x800u
#define UNIX_MADE 0x31eu
#define DOS_MADE 0x14u

/* declared: the size that the headers claim; -1: the true one. */
static void raw(struct assay_str name, struct assay_str bytes, unsigned flags, unsigned made_by, uint32_t mode, int64_t declared)
{
    size_t at = zip.n;
    uint64_t size = declared < 0 ? bytes.n : (uint64_t)declared;
    assay_buf_add(&zip, "PK\3\4", 4);
    le(&zip, 2, 20), le(&zip, 2, flags), le(&zip, 2, 0), le(&zip, 4, 0x5a210000), le(&zip, 4, crc(bytes)), le(&zip, 4, bytes.n), le(&zip, 4, size);
    le(&zip, 2, name.n), le(&zip, 2, 0);
    assay_buf_str(&zip, name), assay_buf_str(&zip, bytes);
    assay_buf_add(&central, "PK\1\2", 4);
    le(&central, 2, made_by), le(&central, 2, 20), le(&central, 2, flags), le(&central, 2, 0), le(&central, 4, 0x5a210000);
    le(&central, 4, crc(bytes)), le(&central, 4, bytes.n), le(&central, 4, size), le(&central, 2, name.n), le(&central, 2, 0), le(&central, 2, 0);
    le(&central, 2, 0), le(&central, 2, 0), le(&central, 4, (uint64_t)mode << 16), le(&central, 4, at);
    assay_buf_str(&central, name);
    entries++;
}

static void file(const char *name, const char *text)
{
    raw(assay_str(name), assay_str(text), UTF8, UNIX_MADE, 0100644, -1);
}

static void folder(const char *name)
{
    raw(assay_str(name), ASSAY_STR(""), UTF8, UNIX_MADE, 040755, -1);
}

static bool unpack_bytes(struct assay_str bytes)
{
    int fd = memfd_create("archive", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t done = 0; done < bytes.n;) {
        ssize_t n = write(fd, bytes.p + done, bytes.n - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
    bool fine = unpack(fd, into, over, &limits, required, n_required, &oc);
    (void)close(fd);
    assert_int_equal(fine, oc.fault == UNPACK_FINE);
    for (const char *c = oc.text; *c != '\0'; c++)
        assert_true((unsigned char)*c >= ' ' && *c != 127);
    return fine;
}

static void finish(unsigned claimed)
{
    size_t at = zip.n, n = central.n;
    assay_buf_str(&zip, assay_buf_view(&central));
    assay_buf_add(&zip, "PK\5\6", 4);
    le(&zip, 4, 0), le(&zip, 2, claimed), le(&zip, 2, claimed), le(&zip, 4, n), le(&zip, 4, at), le(&zip, 2, 0);
    assert_false(zip.failed || central.failed);
}

static void unpacks(void)
{
    finish(entries);
    if (!unpack_bytes(assay_buf_view(&zip)))
        fail_msg("%s: %s", unpack_word(oc.fault), oc.text);
}

static size_t count_below(void)
{
    size_t n = 0;
    char cmd[128];
    (void)snprintf(cmd, sizeof cmd, "find %s -mindepth 1 | wc -l", dir);
    FILE *p = popen(cmd, "r");
    assert_non_null(p);
    assert_int_equal(fscanf(p, "%zu", &n), 1);
    (void)pclose(p);
    return n;
}

/* Refused before anything was written. */
static void refused(enum unpack_fault fault, const char *text)
{
    if (oc.fault != fault || strstr(oc.text, text) == NULL)
        fail_msg("wanted %s \"%s\", got %s \"%s\"", unpack_word(fault), text, unpack_word(oc.fault), oc.text);
    assert_int_equal(count_below(), 0);
}

static void is_refused(enum unpack_fault fault, const char *text)
{
    finish(entries);
    assert_false(unpack_bytes(assay_buf_view(&zip)));
    refused(fault, text);
    assay_buf_reset(&zip);
    assay_buf_reset(&central);
    entries = 0;
}

static void holds(const char *path, const char *text, mode_t mode)
{
    char at[256], got[256] = "";
    struct stat st;
    (void)snprintf(at, sizeof at, "%s/%s", dir, path);
    int fd = open(at, O_RDONLY | O_NOFOLLOW);
    if (fd < 0)
        fail_msg("%s is not there", path);
    assert_true(read(fd, got, sizeof got - 1) >= 0 && fstat(fd, &st) == 0);
    (void)close(fd);
    assert_string_equal(got, text);
    assert_int_equal(st.st_mode, S_IFREG | mode);
}

static bool there(const char *path)
{
    char at[256];
    struct stat st;
    (void)snprintf(at, sizeof at, "%s/%s", dir, path);
    return lstat(at, &st) == 0;
}

/* Deflated, as archivers do. */
static void deflated(const char *name, size_t bytes, mode_t mode, const char *link)
{
    size_t used = 0, room = bytes + 4096;
    char *to = malloc(room), *zeros = calloc(1, bytes + 1);
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();
    assert_true(to && zeros && archive_write_set_format_zip(a) == ARCHIVE_OK && archive_write_set_options(a, "zip:compression=deflate") == ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(a, to, room, &used), ARCHIVE_OK);
    archive_entry_set_pathname(e, name);
    archive_entry_set_mode(e, mode);
    archive_entry_set_size(e, (int64_t)bytes);
    if (link != NULL)
        archive_entry_set_symlink(e, link);
    assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
    assert_true(bytes == 0 || archive_write_data(a, zeros, bytes) == (la_ssize_t)bytes);
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    assay_buf_reset(&zip);
    assay_buf_add(&zip, to, used);
    archive_entry_free(e);
    (void)archive_write_free(a);
    free(to);
    free(zeros);
}

static void a_tree_is_laid_out(void **state)
{
    (void)state;
    folder("src/");
    file("src/main/A.java", "class A");
    file("./src//main/./B.java", "class B");
    file("\xc3\xbc/\xe6\x97\xa5.txt", "utf8");
    file("-o", "dash");
    folder("empty/dir/");
    raw(ASSAY_STR("gradlew"), ASSAY_STR("run"), UTF8, UNIX_MADE, 0104777, -1); /* set-uid, and for all to write */
    raw(ASSAY_STR("win\\a.txt"), ASSAY_STR("dos"), 0, DOS_MADE, 0, -1);
    unpacks();
    assert_int_equal(oc.files, 6);
    assert_int_equal(oc.bytes, 7 + 7 + 4 + 4 + 3 + 3);
    assert_string_equal(oc.stripped, "");
    holds("src/main/A.java", "class A", 0644);
    holds("src/main/B.java", "class B", 0644);
    holds("\xc3\xbc/\xe6\x97\xa5.txt", "utf8", 0644);
    holds("-o", "dash", 0644);
    holds("gradlew", "run", 0755);
    holds("win/a.txt", "dos", 0644);
    assert_true(there("empty/dir"));
}

static void files_look_new(void **state)
{
    (void)state;
    char at[128];
    struct stat st;
    time_t now = time(NULL);
    file("a", "dated 2025 in the archive");
    unpacks();
    (void)snprintf(at, sizeof at, "%s/a", dir);
    assert_int_equal(stat(at, &st), 0);
    assert_in_range(st.st_mtime, now - 1, now + 60);
}

static void nothing_leaves_the_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"../evil", "a/../../evil", "a/..", "..", "/etc/cron.d/evil", "//evil", "C:/evil", "c:evil", "..\\evil"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        file("fine", "x");
        file(names[i], "evil");
        is_refused(UNPACK_ESCAPE, "a name");
    }
    raw(ASSAY_STR("..\\evil"), ASSAY_STR("x"), 0, DOS_MADE, 0, -1); /* where "\" divides */
    is_refused(UNPACK_ESCAPE, "..");
}

static void names_are_plain_text(void **state)
{
    (void)state;
    char long_part[300], long_path[1100], deep[100] = "";
    memset(long_part, 'p', 256), long_part[256] = '\0';
    for (size_t i = 0; i < sizeof long_path - 1; i++)
        long_path[i] = i % 100 == 99 ? '/' : 'q';
    long_path[sizeof long_path - 1] = '\0';
    for (size_t i = 0; i < 66; i++)
        deep[i] = i % 2 ? '/' : 'd';
    static const char *const names[] = {"a\nb", "a\x1b[31mb", "\x7f", "a/b\\c", "\xff\xfe", "caf\xe9", "\xc0\xaf", "\xed\xa0\x80", "x\xc2\x9by"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        file(names[i], "x");
        is_refused(UNPACK_NAME, "name");
        raw(assay_str(names[i]), ASSAY_STR("x"), 0, UNIX_MADE, 0100644, -1); /* not even said to be UTF-8 */
        is_refused(UNPACK_NAME, "name");
    }
    file(long_part, "x");
    is_refused(UNPACK_NAME, "part of a name is too long");
    file(long_path, "x");
    is_refused(UNPACK_NAME, "name is too long");
    file(deep, "x");
    is_refused(UNPACK_NAME, "nested too deep");
    file(".", "x");
    is_refused(UNPACK_NAME, "no name");
    file("", "x");
    is_refused(UNPACK_NAME, "no name");
}

static void links_are_refused_and_devices_never_made(void **state)
{
    static const uint32_t kind[] = {010644 /* fifo */, 020644 /* character */, 060644 /* block */, 0140644 /* socket */};
    for (size_t i = 0; i < sizeof kind / sizeof kind[0]; i++) { /* libarchive takes them for files, which is harmless */
        raw(ASSAY_STR("odd"), ASSAY_STR("bytes"), 0, UNIX_MADE, kind[i], -1);
        finish(1);
        if (unpack_bytes(assay_buf_view(&zip)))
            holds("odd", "bytes", 0644);
        else
            refused(UNPACK_KIND, "odd");
        (void)end(state);
        (void)begin(state);
    }
    raw(ASSAY_STR("fine"), ASSAY_STR("x"), 0, UNIX_MADE, 0100644, -1);
    raw(ASSAY_STR("odd"), ASSAY_STR("/etc/passwd"), 0, UNIX_MADE, 0120777, -1);
    raw(ASSAY_STR("odd/passwd"), ASSAY_STR("x"), 0, UNIX_MADE, 0100644, -1);
    is_refused(UNPACK_KIND, "neither a file nor a folder: odd");
    deflated("link", 0, AE_IFLNK | 0777, "/etc");
    assert_false(unpack_bytes(assay_buf_view(&zip)));
    refused(UNPACK_KIND, "link");
}

static void names_are_there_once(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"a", "a"}, {"a", "./a"}, {"Makefile", "makefile"}, {"src/A.java", "src/a.JAVA"}, {"\xc3\x84", "\xc3\xa4"}, {"\xd0\x90", "\xd0\xb0"},
        {"\xce\xa9", "\xcf\x89"}, {"\xc5\xb9", "\xc5\xba"}, {"a", "a/b"}, {"A", "a/b"}, {"x/a", "x/a/b/c"}, {"Src/a", "src/b"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        for (size_t k = 0; k < 2; k++) {
            file("0", "x");
            file(pairs[i][k], "x");
            file("a.", "x");
            file(pairs[i][!k], "x");
            file("zz", "x");
            is_refused(UNPACK_TWICE, "name");
        }
    }
    folder("Src/");
    file("src/x", "x");
    is_refused(UNPACK_TWICE, "folder");
    folder("a/");
    file("a", "x");
    is_refused(UNPACK_TWICE, "twice");
    folder("a/");
    folder("a/");
    file("a/b", "x");
    file("a.b", "y"); /* between a and a/b, but for the order that is used */
    unpacks();
    holds("a/b", "x", 0644);
}

static void encrypted_entries_are_refused(void **state)
{
    (void)state;
    raw(ASSAY_STR("secret"), ASSAY_STR("0123456789abcdef"), 1, UNIX_MADE, 0100644, -1);
    is_refused(UNPACK_ENCRYPTED, "secret");
}

static void entries_are_counted_before_they_are_read(void **state)
{
    (void)state;
    limits.files = 3;
    for (int i = 0; i < 3; i++)
        file((const char *[]){"a", "b", "c"}[i], "x");
    unpacks();
    (void)end(state);
    (void)begin(state);
    limits.files = 3;
    folder("a/"), file("a/b", "x"), file("c", "x"), file("d", "x");
    is_refused(UNPACK_FILES, "more than 3 entries");
    folder("a/"), file("a/b", "x"), file("c", "x"), file("d", "x");
    finish(1); /* the record lies */
    assert_false(unpack_bytes(assay_buf_view(&zip)));
    refused(UNPACK_FILES, "more than 3 entries");
}

static void a_million_entries_cost_little(void **state)
{
    (void)state;
    struct timespec t[2];
    for (int i = 0; i < 1000000; i++) {
        char name[16];
        int n = snprintf(name, sizeof name, "%d", i);
        assay_buf_add(&central, "PK\1\2", 4);
        for (int k = 0; k < 42; k++)
            assay_buf_putc(&central, k == 24 ? (char)n : 0);
        assay_buf_add(&central, name, (size_t)n);
    }
    finish(5);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t[0]);
    assert_false(unpack_bytes(assay_buf_view(&zip)));
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t[1]);
    refused(UNPACK_FILES, "more than 10000 entries");
    assert_true((double)(t[1].tv_sec - t[0].tv_sec) + 1e-9 * (double)(t[1].tv_nsec - t[0].tv_nsec) < 1.0);
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    limits.file_bytes = 10;
    limits.bytes = 25;
    file("a", "0123456789"), file("b", "0123456789"), file("c", "01234");
    unpacks();
    (void)end(state);
    (void)begin(state);
    limits.file_bytes = 10;
    limits.bytes = 25;
    file("a", "0123456789a");
    is_refused(UNPACK_BYTES, "a file has more than 10 bytes");
    file("a", "0123456789"), file("b", "0123456789"), file("c", "012345");
    is_refused(UNPACK_BYTES, "more than 25 bytes together");
}

/* What is declared is small, what comes is not. */
static void lying_sizes_gain_nothing(void **state)
{
    (void)state;
    limits.file_bytes = 4;
    raw(ASSAY_STR("a"), ASSAY_STR("0123456789"), 0, UNIX_MADE, 0100644, 2);
    finish(1);
    assert_false(unpack_bytes(assay_buf_view(&zip)));
    assert_true(oc.fault == UNPACK_BYTES || oc.fault == UNPACK_DAMAGED);
    deflated("a", 1000, AE_IFREG | 0644, NULL);
    char *p = memmem(zip.p, zip.n, "PK\1\2", 4);
    assert_non_null(p);
    memset(p + 24, 0, 4), p[24] = 3; /* the directory says 3 bytes */
    assert_false(unpack_bytes(assay_buf_view(&zip)));
    assert_true(oc.fault == UNPACK_BYTES || oc.fault == UNPACK_DAMAGED);
    assert_true(oc.bytes <= 1000);
}

static void bombs_end_early(void **state)
{
    (void)state;
    deflated("zeros", (size_t)60 << 20, AE_IFREG | 0644, NULL);
    assert_true(zip.n < 1 << 20);
    assert_false(unpack_bytes(assay_buf_view(&zip)));
    if (oc.fault != UNPACK_RATIO)
        fail_msg("%s: %s", unpack_word(oc.fault), oc.text);
    assert_true(oc.bytes <= (INT64_C(17) << 20));
    (void)end(state);
    (void)begin(state);
    deflated("zeros", (size_t)15 << 20, AE_IFREG | 0644, NULL); /* small things may be as dense as they like */
    if (!unpack_bytes(assay_buf_view(&zip)))
        fail_msg("%s", oc.text);
}

/* Every file's data is the same piece of the archive. */
static void overlapping_files_are_bounded_too(void **state)
{
    (void)state;
    deflated("kernel", (size_t)1 << 20, AE_IFREG | 0644, NULL);
    char *p = memmem(zip.p, zip.n, "PK\1\2", 4), *e = memmem(zip.p, zip.n, "PK\5\6", 4);
    assert_true(p != NULL && e != NULL);
    struct assay_str one = {p, (size_t)(e - p)};
    for (int i = 0; i < 900; i++)
        assay_buf_str(&central, one);
    zip.n = (size_t)(p - zip.p);
    finish(900); /* one entry, for libarchive: where it begins is what an entry is known by */
    assert_true(unpack_bytes(assay_buf_view(&zip)) ? oc.files == 1 : oc.fault != UNPACK_OURS);
    assert_true(oc.bytes <= (INT64_C(17) << 20));
}

static void archives_in_archives_are_files(void **state)
{
    (void)state;
    file("inner", "text");
    finish(1);
    struct assay_buf inner = zip;
    zip = (struct assay_buf)ASSAY_BUF_INIT;
    assay_buf_reset(&central);
    entries = 0;
    raw(ASSAY_STR("nested.zip"), assay_buf_view(&inner), 0, UNIX_MADE, 0100644, -1);
    unpacks();
    assert_true(there("nested.zip"));
    assert_false(there("inner"));
    assert_int_equal(oc.files, 1);
    assay_buf_free(&inner);
}

static void what_is_no_archive_is_damaged(void **state)
{
    (void)state;
    assert_false(unpack_bytes(ASSAY_STR("")));
    refused(UNPACK_DAMAGED, "not a ZIP archive");
    assert_false(unpack_bytes(ASSAY_STR("this is a text, and it is long enough for a record")));
    refused(UNPACK_DAMAGED, "not a ZIP archive");
    file("a", "0123456789");
    finish(1);
    for (size_t n = 1; n < zip.n; n++) {
        assert_false(unpack_bytes((struct assay_str){zip.p, n}));
        assert_int_equal(oc.fault, UNPACK_DAMAGED);
    }
    zip.p[31 + 3] ^= 1; /* contents that do not fit their checksum */
    assert_false(unpack_bytes(assay_buf_view(&zip)));
    assert_int_equal(oc.fault, UNPACK_DAMAGED);
}

static void the_top_folder_is_stripped_where_the_project_is_in_it(void **state)
{
    (void)state;
    static const char *const pom[] = {"pom.xml", "src/main/java/"};
    required = pom, n_required = 2;
    folder("bank/"), file("bank/pom.xml", "x"), file("bank/src/main/java/A.java", "y");
    file("__MACOSX/bank/._pom.xml", "junk"), file("bank/.DS_Store", "junk");
    unpacks();
    assert_string_equal(oc.stripped, "bank");
    holds("pom.xml", "x", 0644);
    holds("src/main/java/A.java", "y", 0644);
    assert_false(there("bank") || there("__MACOSX") || there(".DS_Store"));
    assert_int_equal(oc.files, 2);
}

static void other_top_folders_stay(void **state)
{
    static const char *const java[] = {"src/main/java"}, *const pom[] = {"pom.xml"};
    static const struct {
        const char *file[2], *const *required;
    } stays[] = {
        {{"src/main/java/A.java", "src/test"}, java},   /* it is what is required */
        {{"bank/pom.xml", "README"}, pom},              /* not the only one */
        {{"bank/a/pom.xml", "bank/x"}, pom},            /* not right below it */
        {{"bank/pom.xml.bak", "bank/x"}, pom},          /* only begins alike */
        {{"bank/pom.xml", "bank/x"}, NULL},             /* nothing is required */
        {{"bank", "bank2"}, pom},
    };
    for (size_t i = 0; i < sizeof stays / sizeof stays[0]; i++) {
        required = stays[i].required, n_required = required != NULL;
        file(stays[i].file[0], "x"), file(stays[i].file[1], "y");
        unpacks();
        assert_string_equal(oc.stripped, "");
        holds(stays[i].file[0], "x", 0644);
        (void)end(state);
        (void)begin(state);
    }
}

static void a_second_archive_goes_over_the_first(void **state)
{
    (void)state;
    file("test/A", "student"), file("test/B/in/the/way", "student"), file("lib", "a file where a folder belongs"), file("own", "kept");
    unpacks();
    assay_buf_reset(&zip), assay_buf_reset(&central), entries = 0;
    over = true;
    file("test/A", "teacher"), file("test/B", "teacher"), file("lib/x", "teacher");
    unpacks();
    holds("test/A", "teacher", 0644);
    holds("test/B", "teacher", 0644);
    holds("lib/x", "teacher", 0644);
    holds("own", "kept", 0644);
    assay_buf_reset(&zip), assay_buf_reset(&central), entries = 0;
    over = false;
    file("own", "again");
    finish(1);
    assert_false(unpack_bytes(assay_buf_view(&zip)));
    assert_int_equal(oc.fault, UNPACK_OURS); /* whoever calls gives an empty folder */
}

static void links_that_are_there_are_not_followed(void **state)
{
    (void)state;
    char at[128];
    (void)snprintf(at, sizeof at, "%s/away", dir);
    assert_int_equal(symlink("/tmp", at), 0);
    over = true;
    file("away/assay-unpack-evil", "x");
    unpacks();
    holds("away/assay-unpack-evil", "x", 0644); /* in a folder that took the link's place */
    assert_int_equal(access("/tmp/assay-unpack-evil", F_OK), -1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_tree_is_laid_out), T(files_look_new), T(nothing_leaves_the_folder), T(names_are_plain_text), T(links_are_refused_and_devices_never_made),
        T(names_are_there_once), T(encrypted_entries_are_refused), T(entries_are_counted_before_they_are_read), T(a_million_entries_cost_little),
        T(sizes_are_bounded), T(lying_sizes_gain_nothing), T(bombs_end_early), T(overlapping_files_are_bounded_too),
        T(archives_in_archives_are_files), T(what_is_no_archive_is_damaged), T(the_top_folder_is_stripped_where_the_project_is_in_it),
        T(other_top_folders_stay), T(a_second_archive_goes_over_the_first), T(links_that_are_there_are_not_followed),
    };
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    assay_buf_free(&zip);
    assay_buf_free(&central);
    return bad;
}
