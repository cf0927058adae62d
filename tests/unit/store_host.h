/*
 * A host for one store or blob driver in a test program: options by name, logs kept or dropped.
 */
#ifndef STORE_HOST_H
#define STORE_HOST_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <assay/plugin.h>
#include <assay/value.h>

struct store_host {
    struct assay_host host;
    const struct assay_plugin *plugin;
    const char *name[32], *value[32]; /* what differs from the plugin's defaults */
    size_t n;
    int64_t ahead_ms;
    bool talk;
};

static void sh_log(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    const struct store_host *h = ctx;
    if (!h->talk)
        return;
    fprintf(stderr, "# %d %s", (int)level, event);
    for (size_t i = 0; i < n; i++)
        if (kv[i].type == 's')
            fprintf(stderr, " %s=%.*s", kv[i].key, ASSAY_FMT(kv[i].s));
        else
            fprintf(stderr, " %s=%lld", kv[i].key, (long long)kv[i].i);
    fputc('\n', stderr);
}

static int64_t sh_now(void *ctx)
{
    const struct store_host *h = ctx;
    return assay_now_ms() + h->ahead_ms;
}

static int64_t sh_mono(void *ctx)
{
    (void)ctx;
    return assay_mono_ns();
}

static const char *sh_str(void *ctx, const char *name)
{
    const struct store_host *h = ctx;
    for (size_t i = 0; i < h->n; i++)
        if (strcmp(h->name[i], name) == 0)
            return h->value[i];
    for (uint32_t i = 0; i < h->plugin->options.count; i++) {
        const struct assay_option *o = &((const struct assay_option *)h->plugin->options.rows)[i];
        if (strcmp(o->name, name) == 0)
            return o->default_text;
    }
    return "";
}

static int64_t sh_int(void *ctx, const char *name)
{
    const struct store_host *h = ctx;
    struct assay_str text = assay_str(sh_str(ctx, name));
    int64_t v = 0;
    bool b = false;
    for (uint32_t i = 0; i < h->plugin->options.count; i++) {
        const struct assay_option *o = &((const struct assay_option *)h->plugin->options.rows)[i];
        if (strcmp(o->name, name) != 0)
            continue;
        int st;
        if (o->type == ASSAY_OPT_DURATION)
            st = assay_parse_duration_ms(text, 1000, &v, NULL);
        else if (o->type == ASSAY_OPT_BYTES)
            st = assay_parse_bytes(text, &v, NULL);
        else if (o->type == ASSAY_OPT_BOOL)
            st = assay_parse_bool(text, &b, NULL), v = b;
        else
            st = assay_parse_i64(text, INT64_MIN, INT64_MAX, &v, NULL);
        if (st != 0)
            abort();
    }
    return v;
}

static void sh_metric(void *ctx, const struct assay_metric *m, const char *const *labels, double v)
{
    (void)ctx, (void)m, (void)labels, (void)v;
}

static inline void sh_init(struct store_host *h, const struct assay_plugin *plugin)
{
    *h = (struct store_host){.plugin = plugin};
    h->host = (struct assay_host){.size = sizeof h->host,
                                  .abi_major = ASSAY_ABI_MAJOR,
                                  .abi_minor = ASSAY_ABI_MINOR,
                                  .ctx = h,
                                  .log = sh_log,
                                  .now_ms = sh_now,
                                  .mono_ns = sh_mono,
                                  .option_str = sh_str,
                                  .option_int = sh_int,
                                  .metric_add = sh_metric,
                                  .metric_set = sh_metric,
                                  .metric_observe = sh_metric,
                                  .version = "0.1.0",
                                  .instance_id = "00000000-0000-7000-8000-000000000000"};
    h->talk = getenv("TEST_LOG") != NULL;
}

static inline void sh_option(struct store_host *h, const char *name, const char *value)
{
    for (size_t i = 0; i < h->n; i++)
        if (strcmp(h->name[i], name) == 0) {
            h->value[i] = value;
            return;
        }
    h->name[h->n] = name;
    h->value[h->n++] = value;
}

/* A folder of the test's own, below TMPDIR. */
static inline char *sh_tempdir(void)
{
    const char *base = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/assay-test.XXXXXX", base && base[0] ? base : "/tmp") < 0 || !mkdtemp(path))
        abort();
    return path;
}

static inline void sh_remove(const char *path)
{
    DIR *d = opendir(path);
    if (d) {
        struct dirent *e;
        while ((e = readdir(d)) != NULL) {
            char *sub = NULL;
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            if (asprintf(&sub, "%s/%s", path, e->d_name) < 0)
                abort();
            if (unlink(sub) != 0)
                sh_remove(sub);
            free(sub);
        }
        (void)closedir(d);
    }
    (void)rmdir(path);
}

#endif
