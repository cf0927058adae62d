#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#define FILE_MAX ((off_t)64 << 10)

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct assay_str trim(struct assay_str s)
{
    while (s.n && blank(s.p[0]))
        s.p++, s.n--;
    while (s.n && blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

static int add(struct assay_keys *k, struct assay_str entry, bool named, const char *source, struct assay_err *err)
{
    struct assay_str kid = {NULL, 0};
    if (k->n == ASSAY_GATE_KEYS_MAX)
        return assay_err_set(err, ASSAY_E_CONFIG, "%s: more than %u signing secrets", source, ASSAY_GATE_KEYS_MAX);
    for (size_t i = 0; i < entry.n && named; i++)
        if (entry.p[i] == ' ' || entry.p[i] == '\t') {
            kid = (struct assay_str){entry.p, i};
            entry = trim((struct assay_str){entry.p + i, entry.n - i});
            break;
        }
    struct assay_gate_key *to = &k->key[k->n++];
    *to = (struct assay_gate_key){.secret = assay_secret_new(entry)};
    if (kid.n)
        to->kid = strndup(kid.p, kid.n);
    return to->secret == NULL || (kid.n && to->kid == NULL) ? assay_err_set(err, ASSAY_E_NOMEM, "no memory for the signing secrets") : 0;
}

int assay_keys_parse(struct assay_keys *k, struct assay_str text, char between, const char *source, struct assay_err *err)
{
    int rc = 0;
    while (rc == 0 && text.n) {
        const char *end = memchr(text.p, between, text.n);
        size_t n = end ? (size_t)(end - text.p) : text.n;
        struct assay_str entry = trim((struct assay_str){text.p, n});
        if (entry.n && !(between == '\n' && entry.p[0] == '#'))
            rc = add(k, entry, between == '\n', source, err);
        text.p += n + (end != NULL);
        text.n -= n + (end != NULL);
    }
    return rc;
}

int assay_keys_read(struct assay_keys *k, const char *path, struct assay_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return assay_err_errno(err, errno == ENOENT ? ASSAY_E_NOT_FOUND : ASSAY_E_CONFIG, errno, "cannot read %s", path);
    struct stat st;
    char *text = NULL;
    ssize_t n = -1;
    int rc = 0;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
        rc = assay_err_set(err, ASSAY_E_CONFIG, "%s is no file of signing secrets", path);
    else if ((st.st_mode & 077) != 0)
        rc = assay_err_set(err, ASSAY_E_CONFIG, "%s may be read by others: chmod 600", path);
    else if ((text = calloc(1, (size_t)st.st_size + 1)) == NULL)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory to read %s", path);
    else if ((n = read(fd, text, (size_t)st.st_size)) < 0)
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "cannot read %s", path);
    else
        rc = assay_keys_parse(k, (struct assay_str){text, (size_t)n}, '\n', path, err);
    close(fd);
    if (rc == 0 && k->n == 0)
        rc = assay_err_set(err, ASSAY_E_CONFIG, "%s holds no signing secret: one line of at least %d random bytes is needed", path,
                           ASSAY_SIGNING_SECRET_MIN);
    if (text)
        sodium_memzero(text, (size_t)st.st_size);
    free(text);
    return rc;
}

void assay_keys_clear(struct assay_keys *k)
{
    for (size_t i = 0; i < k->n; i++) {
        free((void *)(uintptr_t)k->key[i].kid);
        assay_secret_free((struct assay_secret *)(uintptr_t)k->key[i].secret);
    }
    memset(k, 0, sizeof *k);
}
