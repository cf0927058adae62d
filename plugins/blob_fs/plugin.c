/*
 * blob_fs as a plugin: its option and its life.
 */
#include "local.h"

#include <stdlib.h>

static const struct assay_option options[] = {
    {.name = "blob_dir",
     .type = ASSAY_OPT_STRING,
     .default_text = "",
     .help = "Folder for sources, tests, outputs and other blobs; empty for blobs in the data directory."},
};

static const struct assay_blob_ops ops = {
    .size = sizeof(struct assay_blob_ops), .put = bf_put, .get = bf_get, .stat = bf_stat, .del = bf_del, .health = bf_health,
    .backup = bf_backup, .restore = bf_restore};

static void fini(void *self)
{
    struct bf_store *s = self;
    if (!s)
        return;
    bf_close(s);
    free(s->root);
    s->magic = 0;
    free(s);
}

int bf_root(const struct assay_host *host, char **root, struct assay_err *err)
{
    const char *dir = host->option_str(host->ctx, "blob_dir"), *data = host->option_str(host->ctx, "data_dir");
    struct assay_buf path = ASSAY_BUF_INIT;
    if (dir && dir[0]) {
        assay_buf_puts(&path, dir);
    } else if (data && data[0]) {
        assay_buf_puts(&path, data);
        assay_buf_puts(&path, "/blobs");
    } else {
        return assay_err_set(err, ASSAY_E_CONFIG, "neither blob_dir nor data_dir says where blobs are kept");
    }
    char *text = assay_buf_steal(&path, NULL);
    if (!text)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the blob folder's path");
    *root = text;
    return 0;
}

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct bf_store *s = calloc(1, sizeof *s);
    if (!s)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the blob store");
    s->magic = BF_MAGIC;
    s->host = host;
    s->root_fd = s->tmp_fd = -1;
    int st = bf_root(host, &s->root, err);
    if (st == 0)
        st = bf_open(s, err);
    if (st != 0) {
        fini(s);
        return st;
    }
    *self = s;
    return 0;
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_BLOB),
    .name = "blob_fs",
    .version = "0.1.0",
    .summary = "Blobs as files below one folder, synced before they are named",
    .options = ASSAY_TABLE(options),
    .driver = &ops,
    .init = init,
    .fini = fini,
};
