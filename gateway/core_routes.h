/*
 * The routes that belong to the program itself: liveness, readiness, metrics, the contract, the dashboard.
 * They are a plugin's tables like any other, built in, so they appear in --dump-routes and in the
 * check for clashes, and are there whatever --only says.
 */
#ifndef ASSAY_GATEWAY_CORE_ROUTES_H
#define ASSAY_GATEWAY_CORE_ROUTES_H

#include <assay/plugin.h>

extern const struct assay_plugin assay_core_plugin;

#endif
