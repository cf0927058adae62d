/*
 * The sandbox drivers: found in plugin_path, checked, started, and one of them chosen.
 *
 * A driver that cannot start is kept as a row that is down, with its reason in the log and in
 * doctor, as long as another is up; when the chosen one is down, every OPEN says why.  So a machine
 * without sandboxes still serves its pages, and says on /readyz what is missing.
 */
#include "local.h"

#include <assay/json.h>

#include <stdlib.h>

#define DRIVER_PREFIX "sandbox_"

/* auto takes the first of these that is loaded and usable */
static const char *const preference[] = {"docker", "native"};

static int driver_check(const struct assay_plugin *p, struct assay_err *err)
{
    const struct assay_sandbox_ops *ops = p->driver;

    if (p->kind != ASSAY_PLUGIN_SANDBOX || strncmp(p->name, DRIVER_PREFIX, sizeof(DRIVER_PREFIX) - 1) != 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "plugin %s calls itself no sandbox driver", p->name);
    if (ops == NULL || ops->size < sizeof(struct assay_sandbox_ops) || p->init == NULL)
        return assay_err_set(err, ASSAY_E_CONFIG, "plugin %s has too few driver operations", p->name);
    if (strlen(p->name) - (sizeof(DRIVER_PREFIX) - 1) > ASSAY_BK_NAME_MAX)
        return assay_err_set(err, ASSAY_E_CONFIG, "plugin %s has too long a name", p->name);
    return 0;
}

int bk_drivers_load(struct bk *bk, struct assay_err *err)
{
    struct assay_plugin_paths paths = {NULL, 0};
    int rc = assay_plugin_scan(bk_options_str(bk->options, "plugin_path"), &paths, err);

    for (size_t i = 0; rc == 0 && i < paths.n; i++) {
        struct assay_plugin_peeked seen;
        const struct assay_plugin *p = NULL;

        rc = assay_plugin_peek(paths.path[i], &seen, err);
        if (rc != 0 || seen.kind != ASSAY_PLUGIN_SANDBOX) {
            /* what is not a sandbox driver is the server's affair, its faults included */
            rc = 0;
            continue;
        }
        rc = assay_plugin_load(paths.path[i], &p, err);
        if (rc == 0)
            rc = driver_check(p, err);
        for (size_t j = 0; rc == 0 && j < bk->n_drivers; j++)
            if (strcmp(bk->driver[j].plugin->name, p->name) == 0)
                rc = assay_err_set(err, ASSAY_E_CONFIG, "two plugins are called %s", p->name);
        if (rc == 0 && bk->n_drivers == BK_DRIVERS_MAX)
            rc = assay_err_set(err, ASSAY_E_CONFIG, "more than %d sandbox drivers", BK_DRIVERS_MAX);
        if (rc == 0)
            rc = bk_options_table(bk->options, &p->options, err);
        if (rc == 0)
            bk->driver[bk->n_drivers++] = (struct bk_driver){
                .plugin = p, .ops = p->driver, .name = p->name + sizeof(DRIVER_PREFIX) - 1};
        else
            assay_err_prefix(err, "%s", paths.path[i]);
    }
    assay_plugin_paths_free(&paths);
    if (rc != 0)
        return rc;
    if (bk->n_drivers == 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "no sandbox driver in plugin_path (%s)",
                             bk_options_str(bk->options, "plugin_path"));
    for (size_t i = 0; i < bk->n_drivers; i++) {
        struct bk_driver *d = &bk->driver[i];
        struct assay_err why = {0, ""};

        rc = d->plugin->init(&bk->host, &d->self, &why);
        if (rc == 0 && d->plugin->start != NULL)
            rc = d->plugin->start(d->self, &why);
        d->up = rc == 0;
        if (rc != 0) {
            BK_LOG(ASSAY_LOG_ERROR, "driver_down", ASSAY_KZ("driver", d->name), ASSAY_KZ("reason", why.msg));
            if (rc == ASSAY_E_CONFIG || rc == ASSAY_E_INVALID)
                return assay_err_set(err, ASSAY_E_CONFIG, "driver %s: %s", d->name, why.msg);
        }
    }
    return 0;
}

void bk_drivers_end(struct bk *bk)
{
    for (size_t i = bk->n_drivers; i-- > 0;) {
        struct bk_driver *d = &bk->driver[i];

        if (d->up && d->plugin->drain != NULL)
            d->plugin->drain(d->self);
        if (d->self != NULL && d->plugin->fini != NULL)
            d->plugin->fini(d->self);
        d->self = NULL;
        d->up = false;
    }
}

static struct bk_driver *by_name(struct bk *bk, struct assay_str name)
{
    for (size_t i = 0; i < bk->n_drivers; i++)
        if (assay_str_is(name, bk->driver[i].name))
            return &bk->driver[i];
    return NULL;
}

struct bk_driver *bk_driver_find(struct bk *bk, struct assay_str name)
{
    return name.n == 0 ? &bk->driver[bk->chosen] : by_name(bk, name);
}

int bk_drivers_choose(struct bk *bk, struct assay_err *err)
{
    const char *want = bk_options_str(bk->options, "sandbox");
    const struct bk_driver *d;

    if (strcmp(want, "auto") != 0) {
        /* the reduced boxes are the native driver's, who reads the same option */
        d = by_name(bk, strcmp(want, "reduced") == 0 ? ASSAY_STR("native") : assay_str(want));
        if (d == NULL)
            return assay_err_set(err, ASSAY_E_CONFIG, "sandbox=%s: there is no plugin %s%s in plugin_path (%s)", want,
                                 DRIVER_PREFIX, want, bk_options_str(bk->options, "plugin_path"));
        bk->chosen = (size_t)(d - bk->driver);
        snprintf(bk->why, sizeof(bk->why), "configured: sandbox=%s", want);
        return 0;
    }
    bk->why[0] = '\0';
    for (size_t i = 0; i < sizeof(preference) / sizeof(preference[0]); i++) {
        struct assay_err why = {0, ""};
        size_t used = strlen(bk->why);

        d = by_name(bk, assay_str(preference[i]));
        if (d == NULL)
            snprintf(bk->why + used, sizeof(bk->why) - used, "%s%s is not installed", used > 0 ? "; " : "",
                     preference[i]);
        else if (d->up && d->ops->usable(d->self, &why) == 0) {
            bk->chosen = (size_t)(d - bk->driver);
            snprintf(bk->why + used, sizeof(bk->why) - used, "%s%s is usable", used > 0 ? "; " : "", preference[i]);
            return 0;
        } else
            snprintf(bk->why + used, sizeof(bk->why) - used, "%s%s is not usable (%.80s)", used > 0 ? "; " : "",
                     preference[i], why.msg[0] != '\0' ? why.msg : "it did not start");
    }
    /* none is usable: stay with the last resort, whose answers to OPEN say what is missing */
    d = by_name(bk, ASSAY_STR("native"));
    bk->chosen = d != NULL ? (size_t)(d - bk->driver) : 0;
    return 0;
}

int bk_drivers_info(struct bk *bk, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    ASSAY_CLEANUP_BUF struct assay_buf one = ASSAY_BUF_INIT;
    const struct bk_driver *c = &bk->driver[bk->chosen];

    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the driver's description");
    assay_jw_object(w);
    assay_jw_kz(w, "driver", c->name);
    assay_jw_kz(w, "configured", bk_options_str(bk->options, "sandbox"));
    assay_jw_kz(w, "chosen_because", bk->why);
    assay_jw_kbool(w, "up", c->up);
    if (c->up && c->ops->info(c->self, &one, NULL) == 0)
        assay_jw_kraw(w, "chosen", assay_buf_view(&one));
    else {
        assay_jw_key(w, "chosen");
        assay_jw_null(w);
    }
    assay_jw_key(w, "drivers");
    assay_jw_array(w);
    for (size_t i = 0; i < bk->n_drivers; i++)
        assay_jw_z(w, bk->driver[i].name);
    assay_jw_end(w);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

int bk_drivers_doctor(struct bk *bk, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();

    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the doctor's report");
    assay_jw_object(w);
    assay_jw_kz(w, "driver", bk->driver[bk->chosen].name);
    assay_jw_kz(w, "configured", bk_options_str(bk->options, "sandbox"));
    assay_jw_kz(w, "chosen_because", bk->why);
    assay_jw_key(w, "privilege");
    assay_jw_object(w);
    assay_jw_kbool(w, "root", bk->privilege.root);
    assay_jw_kint(w, "capabilities_dropped", bk->privilege.dropped);
    assay_jw_kz(w, "capability_missing", bk->privilege.lacks);
    assay_jw_end(w);
    assay_jw_key(w, "drivers");
    assay_jw_array(w);
    for (size_t i = 0; i < bk->n_drivers; i++) {
        ASSAY_CLEANUP_BUF struct assay_buf one = ASSAY_BUF_INIT;
        struct bk_driver *d = &bk->driver[i];

        if (d->up && d->ops->doctor(d->self, &one, NULL) == 0) {
            assay_jw_raw(w, assay_buf_view(&one));
            continue;
        }
        assay_jw_object(w);
        assay_jw_kz(w, "driver", d->name);
        assay_jw_kbool(w, "usable", false);
        assay_jw_kz(w, "why", "it did not start; the log says why (driver_down)");
        assay_jw_end(w);
    }
    assay_jw_end(w);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}
