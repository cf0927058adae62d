/*
 * What only PostgreSQL has to show: two gateways on one database, connections that are lost at any moment, a
 * commit whose answer never comes, migrations under a lock.  store_postgres.py starts the server.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

#include <poll.h>

#include "store_host.h"
#include "store_postgres_fixture.h"

extern const struct assay_plugin assay_plugin;

static const struct assay_migration migrations[] = {
    {1, "items", "CREATE TABLE t_items (id TEXT PRIMARY KEY, n BIGINT NOT NULL)", "0.1.0"},
};
static const struct assay_stmt st_insert = {"t.insert", "INSERT INTO t_items (id, n) VALUES ($1, $2)", "ti", "", true};
static const struct assay_stmt st_count = {"t.count", "SELECT COUNT(*) FROM t_items", "", "i", false};
static const struct assay_stmt st_take = {
    "t.take", "UPDATE t_items SET n = 1 WHERE id IN (SELECT id FROM t_items WHERE n = 0 ORDER BY id LIMIT $1 /*+skip_locked*/) RETURNING id",
    "i", "t", true};

struct gateway {
    struct store_host h;
    void *self;
    struct assay_store st;
};

static void bell(void *arg, int64_t last_seq, const struct assay_event *ev, size_t n)
{
    (void)arg, (void)last_seq, (void)ev, (void)n;
}

static void gateway_open(struct gateway *g, const char *dsn)
{
    struct assay_err err = {0};
    sh_init(&g->h, &assay_plugin);
    sh_option(&g->h, "storage_dsn", dsn);
    sh_option(&g->h, "store_timeout", "3s");
    if (assay_plugin.init(&g->h.host, &g->self, &err) != 0)
        fail_msg("%s", err.msg);
    g->st = (struct assay_store){assay_plugin.driver, g->self};
    if (g->st.ops->migrate(g->self, "t", migrations, 1, &err) != 0 || g->st.ops->start(g->self, bell, g, &err) != 0)
        fail_msg("%s", err.msg);
}

static void gateway_close(struct gateway *g)
{
    g->st.ops->stop(g->self);
    assay_plugin.fini(g->self);
}

static int put(struct gateway *g, const char *id, int64_t n)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = assay_tx_new(arena, "put");
    struct assay_err err = {0};
    ASSAY_TX(tx, &st_insert, 1, ASSAY_VZ(id), ASSAY_VI(n));
    assay_tx_event(tx, (struct assay_event){.topic = ASSAY_STR("item.made"), .subject = assay_str(id)});
    return assay_store_exec(&g->st, tx, &err);
}

static int64_t number(struct gateway *g, const struct assay_stmt *stmt)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows = {0};
    struct assay_err err = {0};
    if (assay_store_query(&g->st, stmt, NULL, 0, arena, &rows, &err) != 0)
        fail_msg("%s", err.msg);
    return rows.row[0].col[0].i;
}

/* ---- several gateways -------------------------------------------------------------------------------------- */

struct filler {
    struct gateway *g;
    int id, good;
    pthread_t thread;
};

static void *fill(void *arg)
{
    struct filler *f = arg;
    for (int i = 0; i < 60; i++) {
        char id[32];
        (void)snprintf(id, sizeof id, "%d-%03d", f->id, i);
        f->good += put(f->g, id, 0) == 0;
    }
    return NULL;
}

static void sequence_follows_commits_of_all_gateways(void **state)
{
    (void)state;
    struct gateway g[2];
    struct filler f[8];
    const char *dsn = fresh_schema();
    gateway_open(&g[0], dsn);
    gateway_open(&g[1], dsn);
    for (int i = 0; i < 8; i++) {
        f[i] = (struct filler){.g = &g[i % 2], .id = i};
        assert_int_equal(pthread_create(&f[i].thread, NULL, fill, &f[i]), 0);
    }
    /* a reader that has seen n has seen all before it, at any moment */
    int64_t seen = 0;
    while (seen < 480) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_event_row *ev = NULL;
        size_t n = 0;
        struct assay_err err = {0};
        assert_int_equal(g[0].st.ops->events(g[0].self, seen, NULL, 100, arena, &ev, &n, &err), 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(ev[i].seq, ++seen);
    }
    for (int i = 0; i < 8; i++) {
        (void)pthread_join(f[i].thread, NULL);
        assert_int_equal(f[i].good, 60);
    }
    int64_t head = 0;
    assert_int_equal(g[1].st.ops->events_head(g[1].self, &head, NULL), 0);
    assert_int_equal(head, 480);
    gateway_close(&g[0]);
    gateway_close(&g[1]);
}

static void *take_all(void *arg)
{
    struct filler *f = arg;
    for (bool more = true; more;) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_tx *tx = assay_tx_new(arena, "take");
        struct assay_err err = {0};
        int op = ASSAY_TX(tx, &st_take, ASSAY_EXPECT_ANY, ASSAY_VI(3));
        if (assay_store_exec(&f->g->st, tx, &err) != 0)
            return NULL;
        f->good += (int)tx->op[op].touched;
        more = tx->op[op].touched > 0;
    }
    return NULL;
}

static void what_one_gateway_leases_no_other_does(void **state)
{
    (void)state;
    struct gateway g[2];
    struct filler f[2];
    const char *dsn = fresh_schema();
    gateway_open(&g[0], dsn);
    gateway_open(&g[1], dsn);
    for (int i = 0; i < 90; i++) {
        char id[24];
        (void)snprintf(id, sizeof id, "%03d", i);
        assert_int_equal(put(&g[0], id, 0), 0);
    }
    for (int i = 0; i < 2; i++) {
        f[i] = (struct filler){.g = &g[i]};
        assert_int_equal(pthread_create(&f[i].thread, NULL, take_all, &f[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        (void)pthread_join(f[i].thread, NULL);
    assert_int_equal(f[0].good + f[1].good, 90);
    gateway_close(&g[0]);
    gateway_close(&g[1]);
}

static void *open_one(void *arg)
{
    struct gateway *g = arg;
    gateway_open(g, g->h.value[31]);
    return NULL;
}

static void gateways_may_start_at_once(void **state)
{
    (void)state;
    struct gateway g[4];
    pthread_t t[4];
    const char *dsn = fresh_schema();
    for (int i = 0; i < 4; i++) {
        g[i].h.value[31] = dsn; /* carried over by hand: open_one clears the rest */
        assert_int_equal(pthread_create(&t[i], NULL, open_one, &g[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        (void)pthread_join(t[i], NULL);
    for (int i = 0; i < 4; i++) {
        char id[24];
        (void)snprintf(id, sizeof id, "%d", i);
        assert_int_equal(put(&g[i], id, 0), 0);
    }
    assert_int_equal(number(&g[0], &st_count), 4);
    for (int i = 0; i < 4; i++)
        gateway_close(&g[i]);
}

/* ---- lost connections ---------------------------------------------------------------------------------------- */

static const char *const cut_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'assayd'";

static void lost_connections_come_back(void **state)
{
    (void)state;
    struct gateway g;
    gateway_open(&g, fresh_schema());
    assert_int_equal(put(&g, "a", 0), 0);
    assert_int_equal(number(&g, &st_count), 1);
    for (int round = 0; round < 5; round++) {
        char id[24];
        run_postgres(cut_all);
        (void)snprintf(id, sizeof id, "%d", round);
        assert_int_equal(number(&g, &st_count), round + 1); /* a read is tried again by itself */
        int rc = put(&g, id, 0); /* a write was not sent as far as anybody knows: its caller is told */
        assert_true(rc == 0 || rc == ASSAY_E_BUSY);
        for (int i = 0; rc != 0 && i < 100; i++) {
            (void)usleep(20000);
            rc = put(&g, id, 0);
        }
        assert_int_equal(rc, 0);
    }
    assert_int_equal(number(&g, &st_count), 6);
    assert_int_equal(g.st.ops->health(g.self, NULL), 0);
    gateway_close(&g);
}

/* ---- a proxy that loses answers --------------------------------------------------------------------------------- */

/* Passes bytes between clients and the server; on command it swallows what the server says after it has seen a COMMIT,
 * and cuts the connection. */
struct proxy {
    char path[108], server[200];
    int listener;
    pthread_t thread;
    _Atomic int lose;  /* answers of COMMITs to lose still */
    _Atomic int lost;
    _Atomic bool stop;
};

struct link {
    int client, server;
    bool doomed;
};

static int dial_unix(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%.107s", path);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

static bool pass(int from, int to, bool *commit)
{
    char buf[65536];
    ssize_t n = read(from, buf, sizeof buf);
    if (n <= 0)
        return false;
    if (commit)
        *commit = memmem(buf, (size_t)n, "COMMIT", 6) != NULL;
    for (ssize_t done = 0; done < n;) {
        ssize_t k = write(to, buf + done, (size_t)(n - done));
        if (k <= 0)
            return false;
        done += k;
    }
    return true;
}

static void *proxy_main(void *arg)
{
    struct proxy *x = arg;
    struct link link[64];
    size_t n = 0;
    while (!atomic_load(&x->stop)) {
        struct pollfd p[129];
        p[0] = (struct pollfd){.fd = x->listener, .events = POLLIN};
        for (size_t i = 0; i < n; i++) {
            p[1 + 2 * i] = (struct pollfd){.fd = link[i].client, .events = POLLIN};
            p[2 + 2 * i] = (struct pollfd){.fd = link[i].server, .events = POLLIN};
        }
        size_t had = n;
        if (poll(p, (nfds_t)(1 + 2 * n), 50) < 0)
            continue;
        for (size_t i = 0; i < had; i++) {
            bool alive = true, commit = false;
            if (p[1 + 2 * i].revents) {
                alive = pass(link[i].client, link[i].server, &commit);
                if (commit && atomic_load(&x->lose) > 0) {
                    atomic_fetch_sub(&x->lose, 1);
                    link[i].doomed = true;
                }
            }
            if (alive && p[2 + 2 * i].revents) {
                if (link[i].doomed) { /* the server has answered, and so has decided */
                    atomic_fetch_add(&x->lost, 1);
                    alive = false;
                } else {
                    alive = pass(link[i].server, link[i].client, NULL);
                }
            }
            if (!alive) {
                (void)close(link[i].client);
                (void)close(link[i].server);
                link[i].client = link[i].server = -1;
            }
        }
        for (size_t i = 0; i < n;)
            if (link[i].client < 0)
                link[i] = link[--n];
            else
                i++;
        if (p[0].revents && n < 64) {
            int c = accept4(x->listener, NULL, NULL, SOCK_CLOEXEC), s = c < 0 ? -1 : dial_unix(x->server);
            if (s >= 0)
                link[n++] = (struct link){.client = c, .server = s};
            else if (c >= 0)
                (void)close(c);
        }
    }
    for (size_t i = 0; i < n; i++) {
        (void)close(link[i].client);
        (void)close(link[i].server);
    }
    return NULL;
}

static void a_commit_without_an_answer_is_settled(void **state)
{
    (void)state;
    struct proxy x = {.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct gateway g;
    char dsn[1000], dir[64];
    (void)snprintf(dir, sizeof dir, "/tmp/assay-pgproxy-%d", (int)getpid());
    assert_int_equal(mkdir(dir, 0700), 0);
    (void)snprintf(x.path, sizeof x.path, "%s/.s.PGSQL.5432", dir);
    (void)snprintf(x.server, sizeof x.server, "%.90s/.s.PGSQL.5432", getenv("ASSAY_TEST_POSTGRES_DIR"));
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%.100s", x.path);
    assert_int_equal(bind(x.listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(x.listener, 16), 0);
    const char *schema = strstr(fresh_schema(), "&options=");
    (void)snprintf(dsn, sizeof dsn, "postgresql:///postgres?host=%s&user=assay%s", dir, schema);
    assert_int_equal(pthread_create(&x.thread, NULL, proxy_main, &x), 0);
    gateway_open(&g, dsn);
    assert_int_equal(put(&g, "before", 0), 0);
    for (int i = 0; i < 10; i++) {
        char id[24];
        (void)snprintf(id, sizeof id, "lost-%d", i);
        atomic_store(&x.lose, 1);
        /* the database has it, and says so when it is asked again: the caller is told the truth, once */
        assert_int_equal(put(&g, id, 0), 0);
        assert_int_equal(atomic_load(&x.lost), i + 1);
        assert_int_equal(put(&g, id, 0), ASSAY_E_GUARD);
    }
    assert_int_equal(number(&g, &st_count), 11);
    int64_t head = 0;
    assert_int_equal(g.st.ops->events_head(g.self, &head, NULL), 0);
    assert_int_equal(head, 11); /* one event each */
    gateway_close(&g);
    atomic_store(&x.stop, true);
    (void)pthread_join(x.thread, NULL);
    (void)close(x.listener);
    (void)unlink(x.path);
    (void)rmdir(dir);
}

static void wrong_databases_are_named(void **state)
{
    (void)state;
    static const char *const wrong[] = {"postgresql:///postgres?host=/nonexistent", "postgresql:///no_such_database?host=", "postgresql://%zz"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct store_host h;
        void *self = NULL;
        struct assay_err err = {0};
        char dsn[300];
        (void)snprintf(dsn, sizeof dsn, "%s%s", wrong[i], i == 1 ? getenv("ASSAY_TEST_POSTGRES_DIR") : "");
        sh_init(&h, &assay_plugin);
        sh_option(&h, "storage_dsn", dsn);
        assert_true(assay_plugin.init(&h.host, &self, &err) != 0);
        assert_null(self);
        assert_true(strlen(err.msg) > 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequence_follows_commits_of_all_gateways),
        cmocka_unit_test(what_one_gateway_leases_no_other_does),
        cmocka_unit_test(gateways_may_start_at_once),
        cmocka_unit_test(lost_connections_come_back),
        cmocka_unit_test(a_commit_without_an_answer_is_settled),
        cmocka_unit_test(wrong_databases_are_named),
    };
    return cmocka_run_group_tests_name("store_postgres", tests, NULL, NULL);
}
