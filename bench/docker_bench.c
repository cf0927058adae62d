/*
 * What Docker's wall costs a box: the same static no-op in a fresh box of a native warden and of one that
 * stands in a warm container, one of each in turn, so that both see the same machine.
 *
 *     DOCKER_HOST=unix:///PATH bench/docker_bench IMAGE ROUNDS SHARE_DIR WARDEN
 *
 * Prints the medians in microseconds and their ratio. Both have a cgroup leaf where this machine gives one.
 */
#include "plugins/sandbox_docker/local.h"
#include "tests/unit/warden_fixture.h"

#include <assay/value.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *image, *profile, *warden;

static void say(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    (void)ctx;
    if (level < ASSAY_LOG_WARN)
        return;
    (void)fprintf(stderr, "%s", event);
    for (size_t i = 0; i < n; i++)
        if (kv[i].type == 's')
            (void)fprintf(stderr, " %s=%.*s", kv[i].key, ASSAY_FMT(kv[i].s));
    (void)fprintf(stderr, "\n");
}
static void no_metric(void *ctx, const struct assay_metric *m, const char *const *labels, double v)
{
    (void)ctx, (void)m, (void)labels, (void)v;
}
static const char *option_str(void *ctx, const char *name)
{
    const char *host = getenv("DOCKER_HOST");

    (void)ctx;
    if (strcmp(name, "docker_host") == 0)
        return host != NULL ? host : "";
    if (strcmp(name, "docker_image") == 0)
        return image;
    if (strcmp(name, "docker_seccomp") == 0)
        return profile;
    if (strcmp(name, "docker_warden_path") == 0)
        return warden;
    if (strcmp(name, "docker_apparmor") == 0)
        return "assay-warden";
    return strcmp(name, "data_dir") == 0 ? "/docker_bench" : strcmp(name, "docker_stream") == 0 ? "socket" : "";
}
static int64_t option_int(void *ctx, const char *name)
{
    (void)ctx;
    if (strcmp(name, "docker_memory") == 0)
        return (int64_t)2 << 30;
    if (strcmp(name, "docker_pids") == 0)
        return 1024;
    return strcmp(name, "docker_max_wardens") == 0 || strcmp(name, "docker_pool_min") == 0 || strcmp(name, "docker_pool_max") == 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static const struct assay_box_limits limits = {.cpu_ms = 1000, .wall_ms = 5000, .memory_bytes = 64 << 20, .stdout_bytes = 65536,
                                               .stderr_bytes = 65536};

static void build(struct assay_box_client *c, struct assay_str program, char artefact[65])
{
    struct assay_str path = ASSAY_STR("noop");
    struct assay_box_file file = {.path = path, .bytes = program, .mode = 0755};
    struct assay_box_spec spec = {.argv = &path, .n_argv = 1, .files = &file, .n_files = 1, .collect = &path, .n_collect = 1,
                                  .collect_bytes = 16 << 20, .limits = limits};
    struct assay_box_outcome o;
    struct assay_err err = {0, ""};

    if (assay_box_client_run_sync(c, &spec, NULL, NULL, &o, &err) < 0 || o.artefact[0] == '\0') {
        (void)fprintf(stderr, "the build box failed: %s %s\n", o.message, err.msg);
        exit(1);
    }
    memcpy(artefact, o.artefact, 65);
}

static double run(struct assay_box_client *c, const char *artefact)
{
    struct assay_str inside = ASSAY_STR("app/noop");
    struct assay_box_mount mount = {.artefact = assay_str(artefact), .path = ASSAY_STR("app")};
    struct assay_box_spec spec = {.argv = &inside, .n_argv = 1, .mounts = &mount, .n_mounts = 1, .limits = limits};
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT, errout = ASSAY_BUF_INIT;
    struct assay_box_outcome o;
    struct assay_err err = {0, ""};
    int64_t t = assay_mono_ns();

    if (assay_box_client_run_sync(c, &spec, &out, &errout, &o, &err) < 0 || o.end != ASSAY_BOX_EXITED || o.exit_code != 0) {
        (void)fprintf(stderr, "a box failed: %s %s\n", o.message, err.msg);
        exit(1);
    }
    return (double)(assay_mono_ns() - t) / 1e3;
}

int main(int argc, char **argv)
{
    static const struct assay_host host = {.size = sizeof(struct assay_host), .log = say, .metric_add = no_metric,
        .metric_set = no_metric, .metric_observe = no_metric, .option_str = option_str, .option_int = option_int};
    static const struct assay_box_events none;
    int rounds = argc == 5 ? (int)strtol(argv[2], NULL, 10) : 0;
    ASSAY_CLEANUP_BUF struct assay_buf place = ASSAY_BUF_INIT;
    struct assay_err err = {0, ""};
    struct assay_warden w = {.fd = -1};
    struct assay_box_client *c = NULL;
    struct fixture f;
    char share[SD_PATH], here[65], there[65];
    void *self = NULL;
    int rc = ASSAY_E_BUSY, status;
    double *a, *b;

    if (rounds < 10 || rounds > 1000000) {
        (void)fprintf(stderr, "usage: docker_bench IMAGE ROUNDS SHARE_DIR WARDEN, as root, in the build directory\n");
        return 2;
    }
    image = argv[1];
    (void)snprintf(share, sizeof(share), "%s/docker-seccomp.json", argv[3]);
    profile = share;
    warden = argv[4];
    if (sd_init(&host, &self, &err) != 0) {
        (void)fprintf(stderr, "docker: %s\n", err.msg);
        return 1;
    }
    for (int i = 0; i < 3000 && rc != 0; i++) {
        rc = sd_ops.open(self, ASSAY_STR(""), &w, &place, &err);
        (void)usleep(10000);
        sd_ops.tick(self);
    }
    c = rc == 0 ? assay_box_client_new(w.fd, &none, NULL) : NULL;
    for (int i = 0; i < 3000 && c != NULL && assay_box_client_hello(c) == NULL; i++) {
        struct pollfd p = {.fd = assay_box_client_fd(c), .events = POLLIN};

        sd_ops.tick(self);
        if (poll(&p, 1, 10) == 1 && assay_box_client_on_ready(c, &err) < 0)
            break;
    }
    if (c == NULL || assay_box_client_hello(c) == NULL || !fixture_start(&f, "native", NULL, true, false)) {
        (void)fprintf(stderr, "docker: %s\n", err.msg);
        return 1;
    }
    struct assay_str program = fixture_read("tests/boxes/noop");
    build(f.client, program, here);
    build(c, program, there);
    a = calloc((size_t)rounds, sizeof(*a));
    b = calloc((size_t)rounds, sizeof(*b));
    for (int i = -50; i < rounds && a != NULL && b != NULL; i++) {
        double x = run(f.client, here), y = run(c, there);

        if (i >= 0) {
            a[i] = x;
            b[i] = y;
        }
    }
    if (a != NULL && b != NULL) {
        qsort(a, (size_t)rounds, sizeof(*a), by_value);
        qsort(b, (size_t)rounds, sizeof(*b), by_value);
        printf("native median %.0f us  docker median %.0f us  ratio %.3f  leaf %s\n", a[rounds / 2], b[rounds / 2],
               b[rounds / 2] / a[rounds / 2], (assay_box_client_hello(c)->features & 7U) == 7U ? "yes" : "no");
    }
    free(a);
    free(b);
    assay_box_client_free(c);
    (void)fixture_stop(&f, &status);
    sd_drain(self);
    sd_fini(self);
    return 0;
}
