/*
 * The plugin host: which plugins there are, whether their tables agree, and in which order they live.
 *
 * load (or add, for tables that are part of the program) → config (their option rows join the
 * table) → validate (all tables of all plugins, selected or not) → select → order.  Nothing of a
 * plugin runs before all of that has passed, so the server never starts half-loaded.  Then, by the
 * server: init in order, start in order, drain and fini in reverse.  Plugins are never unloaded.
 *
 * Main thread only.  The set owns the entries; the descriptors belong to the shared objects.
 */
#ifndef ASSAY_GATEWAY_PLUGINS_H
#define ASSAY_GATEWAY_PLUGINS_H

#include <stdbool.h>
#include <stddef.h>

#include <assay/err.h>
#include <assay/plugin.h>

struct assay_config;

struct assay_plugin_entry {
    const struct assay_plugin *p;
    char *path;    /* "built in" for the program's own tables */
    bool selected; /* part of this process */
    bool inited;   /* init has been called, with whatever result: fini is due */
    bool ready;    /* init has succeeded */
    bool started;
    void *self;
    struct assay_host host; /* filled by the server; lives as long as the plugin */
    void *ctx;              /* the server's, behind host.ctx */
};

struct assay_plugins {
    struct assay_plugin_entry **entry; /* load order; entries never move */
    size_t n, room;
    size_t *order; /* after assay_plugins_order: indices of the selected, providers before users */
    size_t n_order;
};

void assay_plugins_init(struct assay_plugins *ps);
void assay_plugins_free(struct assay_plugins *ps); /* calls nothing of a plugin */

int assay_plugins_add(struct assay_plugins *ps, const struct assay_plugin *p, const char *path, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* Every *.so in the folders; with a list of drivers (NULL-terminated), without other stores, blob and broker drivers and the
 * sandbox drivers, whose libraries would only take memory. The first that cannot be loaded stops it; the message names the file. */
int assay_plugins_load(struct assay_plugins *ps, const char *folders, const char *const *drivers, struct assay_err *err) ASSAY_MUST_CHECK;
int assay_plugins_config(const struct assay_plugins *ps, struct assay_config *c, struct assay_err *err) ASSAY_MUST_CHECK;

/* Rows that are malformed, and clashes between plugins: names of plugins, routes (method and pattern,
 * whatever the parameters are called), operation ids, statements, durable groups, interfaces, metrics.
 * ASSAY_E_CONFIG. */
int assay_plugins_validate(const struct assay_plugins *ps, struct assay_err *err) ASSAY_MUST_CHECK;

/* services: comma-separated names, "" for all; drivers: names that are selected too, NULL-terminated;
 * built-in tables always are. ASSAY_E_CONFIG naming the nearest for a name that nobody has. */
int assay_plugins_select(struct assay_plugins *ps, const char *services, const char *const *drivers,
                         struct assay_err *err) ASSAY_MUST_CHECK;
/* Fills order: a provider of a needed interface comes first, otherwise load order. ASSAY_E_CONFIG for a
 * need that no selected plugin provides, another version of it, or a cycle (named in full). */
int assay_plugins_order(struct assay_plugins *ps, struct assay_err *err) ASSAY_MUST_CHECK;

/* Adds to the selected services what they cannot be without: a provider of each interface that they need. */
void assay_plugins_complete(struct assay_plugins *ps);
/* Who provides an interface among the selected, or NULL. */
struct assay_plugin_entry *assay_plugins_provider(const struct assay_plugins *ps, const char *name,
                                                  const struct assay_interface **row);
struct assay_plugin_entry *assay_plugins_find(const struct assay_plugins *ps, const char *name);
const char *assay_plugin_kind_name(uint32_t kind); /* "service" ... */

#endif
