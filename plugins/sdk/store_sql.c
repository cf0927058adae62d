/* What the stores that speak SQL say and decide alike; assay/store_driver.h. */
#include <assay/store_driver.h>

const struct assay_stmt assay_st_cursor = {
    .name = "store.cursor",
    .sql = "SELECT seq FROM assay_cursors WHERE grp = $1",
    .params = "t",
    .columns = "i",
};
const struct assay_stmt assay_st_cursor_move = {
    .name = "store.cursor_move",
    .sql = "UPDATE assay_cursors SET seq = $3, moved_ms = $4 WHERE grp = $1 AND seq = $2",
    .params = "tiii",
    .columns = "",
    .write = true,
};
const struct assay_stmt assay_st_cursor_slowest = {
    .name = "store.cursor_slowest",
    .sql = "SELECT MIN(seq) FROM assay_cursors",
    .params = "",
    .columns = "i",
};
const struct assay_stmt assay_st_events_last_old = {
    .name = "store.events_last_old",
    /* within one bite from the front: needs no index on at_ms */
    .sql = "SELECT MAX(seq) FROM (SELECT seq, at_ms FROM assay_events WHERE seq > $1 ORDER BY seq LIMIT $2) AS front"
           " WHERE at_ms < $3",
    .params = "iii",
    .columns = "i",
};
const struct assay_stmt assay_st_events_prune = {
    .name = "store.events_prune",
    .sql = "DELETE FROM assay_events WHERE seq <= $1",
    .params = "i",
    .columns = "",
    .write = true,
};
const struct assay_stmt assay_st_events_pruned = {
    .name = "store.events_pruned",
    .sql = "SELECT number FROM assay_store WHERE name = 'pruned_to'",
    .params = "",
    .columns = "i",
};
const struct assay_stmt assay_st_events_pruned_set = {
    .name = "store.events_pruned_set",
    .sql = "UPDATE assay_store SET number = $1 WHERE name = 'pruned_to'",
    .params = "i",
    .columns = "",
    .write = true,
};
const struct assay_stmt assay_st_migrations = {
    .name = "store.migrations",
    .sql = "SELECT number, name, oldest_program FROM assay_migrations WHERE component = $1 ORDER BY number",
    .params = "t",
    .columns = "itt",
};
const struct assay_stmt assay_st_migration_record = {
    .name = "store.migration_record",
    .sql = "INSERT INTO assay_migrations (component, number, name, oldest_program, applied_ms) VALUES ($1, $2, $3, $4, $5)",
    .params = "titti",
    .columns = "",
    .write = true,
};

int64_t assay_prune_to(int64_t from, int64_t head, int64_t keep, int64_t old, int64_t slowest, bool *more)
{
    int64_t to = from;
    if (keep > 0 && head - keep > to)
        to = head - keep;
    if (old > to)
        to = old;
    if (to > slowest)
        to = slowest;
    if (to >= head)
        to = head - 1;
    *more = to > from + ASSAY_PRUNE_BITE;
    return *more ? from + ASSAY_PRUNE_BITE : to;
}
