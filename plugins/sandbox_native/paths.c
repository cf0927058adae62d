/*
 * What of the host a box sees, as arguments for the warden.  The warden itself shows usr, bin, lib,
 * lib32, lib64 and sbin and makes its own /etc; here is what languages need beyond that, and what must
 * not show: /usr/local holds what administrators install by hand, and the data directory must never
 * be inside a box, wherever it lies.
 */
#include "local.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Links that programs in /usr point through, and files without which an interpreter or a JVM does not start.
 * None holds a secret on a machine that is set up as its distribution does; what does is named by nobody here. */
static const char *const wanted[] = {"/etc/alternatives", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
                                     /* without these Maven does not start; its settings.xml beside them may hold passwords */
                                     "/etc/maven/m2.conf", "/etc/maven/logging"};
static const struct {
    const char *prefix, *suffix;
} wanted_like[] = {
    {"java-", "-openjdk"}, /* lib/security/java.security and the like are links to here */
    {"python", ""},        /* sitecustomize.py */
    {"perl", ""},          {"mono", ""}, {"ghc", ""},
};

static int add(struct sn_paths *p, const char *flag, const char *value, struct assay_err *err)
{
    int n;

    if (p->n == SN_ARGS)
        return assay_err_set(err, ASSAY_E_CONFIG, "more than %d paths in native_binds and native_hide", SN_ARGS);
    n = asprintf(&p->arg[p->n], "%s%s", flag, value);
    if (n < 0) {
        p->arg[p->n] = NULL;
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a path");
    }
    p->n++;
    return 0;
}

void sn_paths_free(struct sn_paths *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->arg[i]);
    p->n = 0;
}

static bool like(const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < sizeof(wanted_like) / sizeof(wanted_like[0]); i++) {
        size_t a = strlen(wanted_like[i].prefix), b = strlen(wanted_like[i].suffix);

        if (n >= a + b && memcmp(name, wanted_like[i].prefix, a) == 0 &&
            memcmp(name + n - b, wanted_like[i].suffix, b) == 0)
            return true;
    }
    return false;
}

/* A bind of base's path at the same place in the box. */
static int add_from(struct sn_paths *p, const char *base, const char *path, struct assay_err *err)
{
    char pair[2 * SN_PATH];

    if (base[0] == '\0')
        return add(p, "--bind-try=", path, err);
    snprintf(pair, sizeof(pair), "%s%s:%s", base, path, path);
    return add(p, "--bind-try=", pair, err);
}

static int add_etc(struct sn_paths *p, const char *base, struct assay_err *err)
{
    char folder[SN_PATH + 8], whole[SN_PATH + 320];
    DIR *d;
    int rc = 0;

    snprintf(folder, sizeof(folder), "%s/etc", base);
    d = opendir(folder);

    for (size_t i = 0; rc == 0 && i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        struct stat st;

        snprintf(whole, sizeof(whole), "%s%s", base, wanted[i]);
        if (lstat(whole, &st) == 0 && (base[0] == '\0' || !S_ISLNK(st.st_mode))) /* a link would lead out of base */
            rc = add_from(p, base, wanted[i], err);
    }
    for (const struct dirent *e; rc == 0 && d != NULL && (e = readdir(d)) != NULL;) {
        char path[300];
        struct stat st;

        snprintf(path, sizeof(path), "/etc/%s", e->d_name);
        snprintf(whole, sizeof(whole), "%s%s", base, path);
        if (like(e->d_name) && lstat(whole, &st) == 0 && S_ISDIR(st.st_mode))
            rc = add_from(p, base, path, err);
    }
    if (d != NULL)
        closedir(d);
    return rc;
}

/* What the operator asked to show is not hidden by a default. */
static bool is_bound(const struct sn_paths *p, const char *path)
{
    size_t n = strlen(path);

    for (size_t i = 0; i < p->n; i++) {
        const char *src = strncmp(p->arg[i], "--bind=", 7) == 0 ? p->arg[i] + 7 : "";

        if (strncmp(src, path, n) == 0 && (src[n] == '\0' || src[n] == ':'))
            return true;
    }
    return false;
}

/* Calls for each comma-separated part; parts are absolute paths without "..". */
static int each(struct sn_paths *p, const char *option, const char *list, const char *flag, bool must_exist,
                struct assay_err *err)
{
    for (const char *s = list; *s != '\0';) {
        size_t n = strcspn(s, ",");
        char part[SN_PATH];
        struct stat st;
        int rc;

        if (n > 0) {
            if (n >= sizeof(part) || s[0] != '/' || memmem(s, n, "..", 2) != NULL)
                return assay_err_set(err, ASSAY_E_CONFIG, "option %s: \"%.*s\" is not an absolute path without \"..\"",
                                     option, (int)(n > 100 ? 100 : n), s);
            memcpy(part, s, n);
            part[n] = '\0';
            if (must_exist || (lstat(part, &st) == 0 && !is_bound(p, part))) {
                rc = add(p, flag, part, err);
                if (rc != 0)
                    return rc;
            }
        }
        s += n + (s[n] == ',');
    }
    return 0;
}

int sn_paths_make(struct sn_paths *p, const char *base, const char *binds, const char *hides, const char *data_dir,
                  struct assay_err *err)
{
    char real[PATH_MAX];
    int rc = base[0] != '\0' ? add(p, "--base=", base, err) : 0;

    if (rc == 0)
        rc = add_etc(p, base, err);

    if (rc == 0)
        rc = each(p, "native_binds", binds, "--bind=", true, err);
    if (rc == 0 && base[0] == '\0')
        rc = each(p, "native_hide", hides, "--hide=", false, err);
    if (rc == 0 && data_dir[0] != '\0' && realpath(data_dir, real) != NULL) {
        char warm[PATH_MAX + 8];

        /* the server's, who checks what it writes there; wardens look when they start */
        snprintf(warm, sizeof(warm), "%s/warm", real);
        rc = add(p, "--shared=", warm, err);
        bool inside = strncmp(real, "/usr/", 5) == 0 || strncmp(real, "/etc/", 5) == 0;

        for (const char *s = binds; *s != '\0' && !inside;) {
            size_t n = strcspn(s, ",:");

            inside = n > 0 && strncmp(real, s, n) == 0 && (real[n] == '/' || real[n] == '\0');
            s += strcspn(s, ",");
            s += *s == ',';
        }
        /* hiding a path that a box would not have seen is harmless, but the warden makes it: so only when it shows */
        if (rc == 0 && inside)
            rc = add(p, "--hide=", real, err);
    }
    return rc;
}

int sn_reduced_dir(const char *dir, bool root, struct assay_err *err)
{
    struct stat st;

    if (mkdir(dir, 0711) != 0 && errno != EEXIST)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "the directory of reduced boxes, %s (option reduced_dir)", dir);
    /* /tmp is everybody's: a directory that somebody else put there first is not to be trusted */
    if (lstat(dir, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) != 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "%s is not a directory that only user %u may write to: remove it, or name another "
                             "in reduced_dir", dir, (unsigned)geteuid());
    /* as root, boxes are of other users and have to get through */
    if (root && chmod(dir, 0711) != 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "%s", dir);
    return 0;
}
