/*
 * sandbox_docker against an engine that is a script: what it answers is right, slow, garbage, an error or
 * without end, and the driver must stay bounded, say why, and end in order.  The sources are linked in; the host is a
 * struct literal.  A real engine is in tests/e2e/test_docker.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plugins/sandbox_docker/local.h"

#include <assay/value.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- the engine ---- */

enum way { FINE, MISSING, GARBAGE, ERROR_500, ENDLESS, CUT, SILENT, NO_ROOM, BAD_MOUNT };

static char top[64], sock_path[128];
static int listener;
static pthread_t thread;
static _Atomic int way_start;   /* how POST .../start is answered */
static _Atomic int way_create;
static _Atomic int way_inspect; /* of the image */
static _Atomic int way_version;
static _Atomic int way_pull;
static _Atomic int created, deleted, pulls, hung_up;
static char pull_path[300];     /* of the last one */
static _Atomic bool over, go_on;

static void say(int fd, const char *text)
{
    size_t n = strlen(text);

    for (ssize_t k = 0; n > 0 && (k = send(fd, text, n, MSG_NOSIGNAL)) > 0; text += k, n -= (size_t)k)
        ;
}

static void answer(int fd, int status, const char *body)
{
    char head[200];

    snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
             status, strlen(body));
    say(fd, head);
    say(fd, body);
}

static void answer_way(int fd, int way, int status, const char *body)
{
    switch ((enum way)way) {
    case FINE:
        answer(fd, status, body);
        break;
    case MISSING:
        answer(fd, 404, "{\"message\":\"No such thing\"}");
        break;
    case GARBAGE:
        answer(fd, status, "{\"Id\": [1, 2, {\"\x01");
        break;
    case ERROR_500:
        answer(fd, 500, "{\"message\":\"the engine \\n is unwell\"}");
        break;
    case NO_ROOM:
        answer(fd, 500, "{\"message\":\"write /var/lib: no space left on device\"}");
        break;
    case BAD_MOUNT:
        answer(fd, 400, "{\"message\":\"invalid mount config for type \\\"bind\\\": bind source path does not exist\"}");
        break;
    case ENDLESS:
        say(fd, "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n");
        for (int i = 0; i < 4000; i++) { /* 16 MiB; the client hangs up before */
            static char much[4096];

            memset(much, ' ', sizeof(much));
            if (send(fd, much, sizeof(much), MSG_NOSIGNAL) < 0)
                break;
        }
        break;
    case CUT:
        say(fd, "HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\n{\"Id\":");
        break;
    case SILENT:
        while (!atomic_load(&over) && poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 50) == 0)
            ;
        break;
    }
}

enum pull_way { PULL_FINE, PULL_ERROR_MID, PULL_GARBAGE, PULL_LONG_LINE, PULL_CUT, PULL_SILENT, PULL_SLOW, PULL_401, PULL_403, PULL_404,
    PULL_DENIED, PULL_UNREACHABLE, PULL_FULL, PULL_NUMBERS };

/* A registry's image of two layers; the engine has it afterwards. */
static void pull(int fd, enum pull_way way)
{
    static const char ok[] = "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    static const char begun[] = "{\"status\":\"Pulling from some/image\",\"id\":\"1\"}\r\n"
        "{\"status\":\"Pulling fs layer\",\"progressDetail\":{},\"id\":\"aaaaaaaaaaaa\"}\r\n"
        "{\"status\":\"Already exists\",\"progressDetail\":{},\"id\":\"bbbbbbbbbbbb\"}\r\n"
        "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":1500000,\"total\":4000000},\"progress\":\"[=> ]\",\"id\":\"aaaaaaaaaaaa\"}\r\n";

    if (way == PULL_401 || way == PULL_403)
        return answer(fd, way == PULL_401 ? 401 : 403, "{\"message\":\"no\"}");
    if (way == PULL_404)
        return answer(fd, 404, "{\"message\":\"manifest for some/image:1 not found: manifest unknown\"}");
    if (way == PULL_DENIED)
        return answer(fd, 404, "{\"message\":\"pull access denied for some/image, repository does not exist or may require 'docker login'\"}");
    if (way == PULL_UNREACHABLE)
        return answer(fd, 500, "{\"message\":\"Get https://registry.example/v2/: dial tcp: lookup registry.example: no such host\"}");
    say(fd, ok);
    say(fd, begun);
    if (way == PULL_ERROR_MID || way == PULL_FULL) {
        say(fd, "{\"errorDetail\":{\"message\":\"");
        say(fd, way == PULL_FULL ? "write /var/lib/x: no space left on device" : "unexpected \\u0007 EOF");
        say(fd, "\"},\"error\":\"unexpected EOF\"}\r\n");
    } else if (way == PULL_GARBAGE) {
        say(fd, "{\"status\": [1, 2, {\"\x01\n");
    } else if (way == PULL_NUMBERS) { /* which are no lie that harms: what counts is whether the image is there */
        say(fd, "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":-7,\"total\":9223372036854775807},\"id\":\"c\"}\n"
                "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":9223372036854775807,\"total\":-1},\"id\":\"d\"}\n");
    } else if (way == PULL_LONG_LINE) {
        static char much[4096];

        memset(much, ' ', sizeof(much));
        for (int i = 0; i < 4000 && send(fd, much, sizeof(much), MSG_NOSIGNAL) >= 0; i++)
            ;
    } else if (way == PULL_SILENT) {
        while (!atomic_load(&over) && poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 50) == 0)
            ;
        hung_up++;
    } else if (way == PULL_FINE || way == PULL_SLOW) {
        if (way == PULL_SLOW) {
            say(fd, "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":2500000,\"total\":4000000},\"id\":\"aaaaaaaaaaaa\"}\n");
            while (!go_on && !over)
                usleep(10000);
        }
        way_inspect = FINE;
        say(fd, "{\"status\":\"Download complete\",\"id\":\"aaaaaaaaaaaa\"}\n{\"status\":\"Pull complete\",\"id\":\"aaaaaaaaaaaa\"}\n"
                "{\"status\":\"Digest: sha256:00\"}\n{\"status\":\"Status: Downloaded newer image\"}");
    }
}

static void serve(int fd)
{
    static const char image[] = "{\"Id\":\"sha256:1111\",\"RootFS\":{\"Type\":\"layers\",\"Layers\":[\"sha256:aa\",\"sha256:bb\"]},\"Size\":7}";
    static char in[1 << 16];
    size_t n = 0;
    ssize_t k;

    in[0] = '\0';
    while (strstr(in, "\r\n\r\n") == NULL && n < sizeof(in) - 1 && (k = recv(fd, in + n, sizeof(in) - 1 - n, 0)) > 0) {
        n += (size_t)k;
        in[n] = '\0';
    }
    if (strncmp(in, "GET /version", 12) == 0)
        answer_way(fd, way_version, 200, "{\"Version\":\"99.1\",\"ApiVersion\":\"1.50\",\"MinAPIVersion\":\"1.24\",\"Extra\":{}}");
    else if (strncmp(in, "GET /v1.41/info", 15) == 0)
        answer(fd, 200, "{\"ID\":\"X\",\"OSType\":\"linux\",\"NCPU\":2,\"CgroupDriver\":\"cgroupfs\",\"CgroupVersion\":\"1\","
                        "\"SecurityOptions\":[\"name=seccomp,profile=default\",\"name=apparmor\"]}");
    else if (strncmp(in, "GET /v1.41/images/assay-warden", 30) == 0)
        answer(fd, 200, image);
    else if (strncmp(in, "GET /v1.41/images/json", 22) == 0 || strncmp(in, "GET /v1.41/containers/json", 26) == 0)
        answer(fd, 200, "[]");
    else if (strncmp(in, "POST /v1.41/images/create", 25) == 0) {
        pulls++;
        snprintf(pull_path, sizeof(pull_path), "%.*s", (int)strcspn(in + 12, " "), in + 12);
        pull(fd, way_pull);
    } else if (strncmp(in, "GET /v1.41/images/", 18) == 0)
        answer_way(fd, way_inspect, 200, image);
    else if (strncmp(in, "POST /v1.41/containers/create", 29) == 0) {
        created++;
        answer_way(fd, way_create, 201, "{\"Id\":\"c0ffee\",\"Warnings\":[]}");
    } else if (strncmp(in, "DELETE /v1.41/containers/", 25) == 0) {
        deleted++;
        answer(fd, 204, "");
    } else if (strstr(in, "/start ") != NULL)
        answer_way(fd, way_start, 204, "");
    else
        answer(fd, 404, "{\"message\":\"page not found\"}");
}

static void *engine(void *arg)
{
    int silent[64];
    size_t n = 0;

    (void)arg;
    while (!atomic_load(&over)) {
        struct pollfd p = {.fd = listener, .events = POLLIN};
        int fd = poll(&p, 1, 50) == 1 ? accept(listener, NULL, NULL) : -1;

        if (fd < 0)
            continue;
        /* the driver's silent connection says nothing, and its end would mean that the engine went down */
        if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 100) == 0 && n < sizeof(silent) / sizeof(silent[0])) {
            silent[n++] = fd;
            continue;
        }
        serve(fd);
        close(fd);
    }
    while (n > 0)
        close(silent[--n]);
    return NULL;
}

/* ---- the host ---- */

static char image_option[64], stream_option[16], pull_option[16], socket_dir[128], warden_file[128], profile_file[128];

static void no_log(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    (void)ctx, (void)level, (void)event, (void)kv, (void)n;
}
static void no_metric(void *ctx, const struct assay_metric *m, const char *const *labels, double v)
{
    (void)ctx, (void)m, (void)labels, (void)v;
}
static const char *option_str(void *ctx, const char *name)
{
    static char host[160];

    (void)ctx;
    snprintf(host, sizeof(host), "unix://%s", sock_path);
    if (strcmp(name, "docker_host") == 0)
        return host;
    if (strcmp(name, "docker_image") == 0)
        return image_option;
    if (strcmp(name, "docker_stream") == 0)
        return stream_option;
    if (strcmp(name, "docker_pull") == 0)
        return pull_option;
    if (strcmp(name, "docker_socket_dir") == 0)
        return socket_dir;
    if (strcmp(name, "docker_warden_path") == 0)
        return warden_file;
    if (strcmp(name, "docker_seccomp") == 0)
        return profile_file;
    if (strcmp(name, "docker_apparmor") == 0)
        return "assay-warden";
    if (strcmp(name, "docker_leaf_parent") == 0)
        return "nowhere/at/all"; /* no cgroups are made here */
    return strcmp(name, "data_dir") == 0 ? top : "";
}
static int64_t option_int(void *ctx, const char *name)
{
    (void)ctx;
    if (strcmp(name, "docker_max_wardens") == 0)
        return 4;
    if (strcmp(name, "docker_pool_max") == 0)
        return 1;
    return strcmp(name, "docker_memory") == 0 ? 64 << 20 : 0;
}

static const struct assay_host host = {.size = sizeof(struct assay_host), .log = no_log, .metric_add = no_metric,
    .metric_set = no_metric, .metric_observe = no_metric, .option_str = option_str, .option_int = option_int};

static void *up(void)
{
    struct assay_err err = {0, ""};
    void *self = NULL;

    assert_int_equal(sd_init(&host, &self, &err), 0);
    return self;
}

static void down(void *self)
{
    sd_drain(self);
    sd_fini(self);
}

static void turn(void *self)
{
    struct pollfd p = {.fd = sd_ops.pollfd(self), .events = POLLIN};

    (void)poll(&p, 1, 20);
    sd_ops.tick(self);
}

/* Turns until open answers something else than "being prepared". */
static int open_one(void *self, const char *image, int *fd, char *why, size_t room)
{
    struct assay_err err = {0, ""};
    int rc = ASSAY_E_BUSY;

    for (int i = 0; i < 500 && rc == ASSAY_E_BUSY; i++) {
        ASSAY_CLEANUP_BUF struct assay_buf place = ASSAY_BUF_INIT;
        struct assay_warden w = {.fd = -1};

        rc = sd_ops.open(self, assay_str(image), &w, &place, &err);
        if (rc == 0) {
            *fd = w.fd;
            snprintf(why, room, "%.*s", ASSAY_FMT(assay_buf_view(&place)));
            return 0;
        }
        turn(self);
    }
    snprintf(why, room, "%s", err.msg);
    return rc;
}

static int reset(void **state)
{
    (void)state;
    way_start = way_create = way_inspect = way_version = FINE;
    way_pull = PULL_FINE;
    go_on = false;
    created = deleted = pulls = hung_up = 0;
    snprintf(pull_option, sizeof(pull_option), "never");
    snprintf(image_option, sizeof(image_option), "some/image:1");
    snprintf(stream_option, sizeof(stream_option), "auto");
    return 0;
}

/* ---- the tests ---- */

static void a_warden_joins_and_is_handed_out(void **state)
{
    void *self = up();
    struct assay_err err = {0, ""};
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    struct assay_warden_join join = {.type = ASSAY_WARDEN_JOIN};
    struct assay_warden_stream got = {0, 0};
    char place[400], c;
    int fd = -1, stream = -1, control;
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } anc;
    const struct cmsghdr *cmsg;
    struct iovec iov = {&got, sizeof(got)};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = anc.bytes, .msg_controllen = sizeof(anc.bytes)};

    (void)state;
    assert_int_equal(sd_usable(self, &err), 0);
    assert_int_equal(open_one(self, "", &fd, place, sizeof(place)), 0);
    assert_non_null(strstr(place, "\"image\":\"some/image:1\""));
    assert_non_null(strstr(place, "\"digest\":\"sha256:"));
    /* the stream is there before the container: what the warden says comes through when it has joined */
    snprintf(where.sun_path, sizeof(where.sun_path), "%.100s/s", socket_dir);
    control = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    assert_int_equal(connect(control, (struct sockaddr *)&where, sizeof(where)), 0);
    memcpy(join.token, ((struct sd_driver *)self)->w[0].token, sizeof(join.token) > 33 ? 33 : sizeof(join.token));
    assert_int_equal(send(control, &join, sizeof(join), 0), sizeof(join));
    for (int i = 0; i < 100 && !((struct sd_driver *)self)->w[0].joined; i++)
        turn(self);
    assert_int_equal(recvmsg(control, &mh, MSG_DONTWAIT), sizeof(got));
    assert_int_equal(got.type, ASSAY_WARDEN_STREAM);
    cmsg = CMSG_FIRSTHDR(&mh);
    assert_non_null(cmsg);
    if (cmsg != NULL)
        memcpy(&stream, CMSG_DATA(cmsg), sizeof(stream));
    assert_int_equal(write(stream, "x", 1), 1);
    assert_int_equal(read(fd, &c, 1), 1);
    /* one that lies about who it is gets nothing */
    close(control);
    close(stream);
    control = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    assert_int_equal(connect(control, (struct sockaddr *)&where, sizeof(where)), 0);
    assert_int_equal(send(control, &join, sizeof(join), 0), sizeof(join));
    for (int i = 0; i < 20; i++)
        turn(self);
    assert_int_equal(recv(control, &c, 1, MSG_DONTWAIT), 0);
    close(control);
    close(fd);
    down(self);
    assert_int_equal(created, deleted);
}

static void a_missing_image_is_named(void **state)
{
    void *self;
    struct assay_err err = {0, ""};
    char why[600];
    int fd = -1;

    (void)state;
    way_inspect = MISSING;
    self = up();
    assert_int_equal(sd_usable(self, &err), ASSAY_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "some/image:1"));
    assert_int_equal(open_one(self, "other:2", &fd, why, sizeof(why)), ASSAY_E_NOT_FOUND);
    assert_non_null(strstr(why, "docker pull other:2"));
    assert_int_equal(open_one(self, "../../etc", &fd, why, sizeof(why)), ASSAY_E_INVALID);
    down(self);
}

static void *up_later(void *arg)
{
    (void)arg;
    return up();
}

/* After a supervisor's death two boxkeepers of one data directory live for a while: the old one's clearing up must not take the new one's folder. */
static void a_boxkeeper_waits_for_the_one_before(void **state)
{
    char path[160];
    struct stat st;
    pthread_t other;
    void *self = NULL, *first = up();

    (void)state;
    snprintf(path, sizeof(path), "%.120s/s", socket_dir);
    assert_int_equal(((struct sd_driver *)first)->transport, SD_BY_UNKNOWN);
    assert_int_equal(pthread_create(&other, NULL, up_later, NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    ino_t mine = st.st_ino;
    for (int i = 0; i < 100 && stat(path, &st) == 0 && st.st_ino == mine; i++)
        usleep(10000); /* the second has nothing to do but to wait */
    assert_int_equal(st.st_ino, mine);
    down(first);
    assert_int_equal(pthread_join(other, &self), 0);
    assert_int_equal(((struct sd_driver *)self)->transport, SD_BY_UNKNOWN);
    assert_int_equal(stat(path, &st), 0);
    down(self);
    assert_int_not_equal(stat(socket_dir, &st), 0);
}

static void bad_answers_are_errors_and_bounded(void **state)
{
    static const struct {
        enum way way;
        const char *word;
    } cases[] = {{GARBAGE, "not what is expected"}, {ERROR_500, "is unwell"}, {ENDLESS, "over"}, {CUT, "no Docker engine"},
                 {NO_ROOM, "no space left"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sd_setup s;
        struct sd_image_facts f;
        struct assay_err err = {0, ""};

        memset(&s, 0, sizeof(s));
        way_inspect = cases[i].way;
        assert_int_equal(sd_engine_address(&s.engine, option_str(NULL, "docker_host"), false, "", &err), 0);
        assert_int_equal(sd_engine_greet(&s.engine, 3000, &err), 0);
        assert_string_equal(s.engine.api, "/v1.41");
        assert_true(s.engine.apparmor);
        assert_int_not_equal(sd_image_inspect(&s, "a:1", &f, &err), 0);
        if (strstr(err.msg, cases[i].word) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", err.msg, cases[i].word);
    }
}

static void a_missing_image_is_pulled(void **state)
{
    struct sd_driver *d;
    struct assay_err err = {0, ""};
    ASSAY_CLEANUP_BUF struct assay_buf place = ASSAY_BUF_INIT, doctor = ASSAY_BUF_INIT;
    struct assay_warden w = {.fd = -1};
    char why[600];
    int fd = -1, rc = 0;

    (void)state;
    snprintf(pull_option, sizeof(pull_option), "auto");
    way_inspect = MISSING;
    way_pull = PULL_SLOW;
    d = up();
    /* while it goes on, opening says how far it is, and so do /readyz (usable) and doctor */
    for (int i = 0; i < 500 && !(d->images[0].state == SD_IMAGE_PULLING && d->images[0].pull.bytes == 2500000); i++) {
        rc = sd_ops.open(d, ASSAY_STR(""), &w, &place, &err);
        assert_int_equal(rc, ASSAY_E_BUSY); /* from the first on: a job that waits is not refused */
        turn(d);
    }
    assert_int_equal(d->images[0].state, SD_IMAGE_PULLING);
    rc = sd_ops.open(d, ASSAY_STR(""), &w, &place, &err);
    assert_int_equal(rc, ASSAY_E_BUSY);
    assert_string_equal(err.msg, "the image some/image:1 is being pulled: 1 of 2 layers, 2.5 of 4.0 MB");
    assert_int_equal(sd_usable(d, &err), ASSAY_E_BUSY);
    assert_non_null(strstr(err.msg, "2.5 of 4.0 MB"));
    assert_int_equal(sd_doctor(d, &doctor, &err), 0);
    assay_buf_putc(&doctor, '\0');
    assert_non_null(strstr(assay_buf_view(&doctor).p, "1 of 2 layers"));
    go_on = true;
    assert_int_equal(open_one(d, "", &fd, why, sizeof(why)), 0);
    assert_int_equal(pulls, 1);
    assert_string_equal(pull_path, "images/create?fromImage=some/image&tag=1");
    assert_int_equal(sd_usable(d, &err), 0);
    close(fd);
    down(d);
    assert_int_equal(created, deleted);
}

static void what_is_never_pulled(void **state)
{
    static const char *const ours[] = {"assay/languages", "assay/gcc:12", "assay-warden:0123", "sha256:0123"};
    void *self;
    char why[600];
    int fd = -1;

    (void)state;
    way_inspect = MISSING;
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        assert_false(sd_pull_allowed(ours[i]));
    self = up(); /* docker_pull=never */
    assert_int_equal(open_one(self, "", &fd, why, sizeof(why)), ASSAY_E_NOT_FOUND);
    down(self);
    snprintf(pull_option, sizeof(pull_option), "auto");
    self = up();
    assert_int_equal(open_one(self, "assay/gcc", &fd, why, sizeof(why)), ASSAY_E_NOT_FOUND);
    assert_non_null(strstr(why, "assay/gcc"));
    down(self);
    assert_int_equal(pulls, 0);
}

static void a_pull_that_fails_says_what_to_do_and_waits(void **state)
{
    struct sd_driver *d;
    char why[600];
    int fd = -1;

    (void)state;
    snprintf(pull_option, sizeof(pull_option), "auto");
    way_inspect = MISSING;
    way_pull = PULL_ERROR_MID;
    d = up();
    assert_int_equal(open_one(d, "", &fd, why, sizeof(why)), ASSAY_E_NOT_FOUND);
    assert_string_equal(why, "pulling some/image:1 failed: unexpected   EOF");
    d->images[0].retry_ns = 0; /* it is looked for again, and not pulled again so soon */
    for (int i = 0; i < 50; i++) {
        (void)open_one(d, "", &fd, why, sizeof(why));
        turn(d);
    }
    assert_int_equal(pulls, 1);
    assert_non_null(strstr(why, "unexpected"));
    /* it came another way */
    way_inspect = FINE;
    d->images[0].retry_ns = 0;
    for (int i = 0; i < 500 && d->images[0].state != SD_IMAGE_READY; i++)
        turn(d);
    assert_int_equal(open_one(d, "", &fd, why, sizeof(why)), 0);
    close(fd);
    down(d);
}

static void how_pulls_end(void **state)
{
    static const struct {
        enum pull_way way;
        int code;
        const char *word;
    } cases[] = {{PULL_ERROR_MID, ASSAY_E_NOT_FOUND, "unexpected   EOF"}, {PULL_GARBAGE, ASSAY_E_CORRUPT, "not what is expected"},
                 {PULL_LONG_LINE, ASSAY_E_CORRUPT, "not what is expected"}, {PULL_SILENT, ASSAY_E_TIMEOUT, "said nothing"},
                 {PULL_401, ASSAY_E_FORBIDDEN, "docker login"}, {PULL_403, ASSAY_E_FORBIDDEN, "docker login"},
                 {PULL_404, ASSAY_E_NOT_FOUND, "check name and tag"}, {PULL_DENIED, ASSAY_E_FORBIDDEN, "check its name"},
                 {PULL_UNREACHABLE, ASSAY_E_NOT_FOUND, "cannot be reached"}, {PULL_FULL, ASSAY_E_FULL, "make room"},
                 {PULL_NUMBERS, 0, ""}, {PULL_CUT, 0, ""}, {PULL_FINE, 0, ""}};
    struct sd_setup s;
    struct sd_progress seen;
    struct assay_err err = {0, ""};
    atomic_bool stop = true;

    (void)state;
    memset(&s, 0, sizeof(s));
    s.pull_ms = 20000;
    s.pull_idle_ms = 300;
    assert_int_equal(sd_engine_address(&s.engine, option_str(NULL, "docker_host"), false, "", &err), 0);
    assert_int_equal(sd_engine_greet(&s.engine, 3000, &err), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int rc;

        way_pull = cases[i].way;
        err.msg[0] = '\0';
        rc = sd_image_pull(&s, "some/image:1", &seen, &err);
        if (rc != cases[i].code || strstr(err.msg, cases[i].word) == NULL)
            fail_msg("case %zu: %d \"%s\"", i, rc, err.msg);
    }
    assert_int_equal(seen.layers, 2);
    assert_int_equal(seen.layers_done, 2);
    assert_int_equal(seen.bytes, 4000000);
    /* a name without a tag means one image, not all */
    assert_int_equal(sd_image_pull(&s, "registry.example:5000/team/x", &seen, &err), 0);
    assert_string_equal(pull_path, "images/create?fromImage=registry.example:5000/team/x&tag=latest");
    assert_int_equal(sd_image_pull(&s, "x:1@sha256:ab", &seen, &err), 0);
    assert_string_equal(pull_path, "images/create?fromImage=x&tag=sha256:ab");
    way_pull = PULL_SILENT;
    s.pull_idle_ms = 60000;
    s.pull_ms = 300;
    assert_int_equal(sd_image_pull(&s, "x", &seen, &err), ASSAY_E_TIMEOUT);
    s.pull_ms = 60000;
    s.stop = &stop;
    assert_int_equal(sd_image_pull(&s, "x", &seen, &err), ASSAY_E_GONE);
    /* one after another: when it answers, it has also seen the ends of those that were left */
    assert_int_equal(sd_engine_greet(&s.engine, 10000, &err), 0);
}

static void a_stop_ends_a_pull(void **state)
{
    struct sd_driver *d;
    struct assay_err err = {0, ""};
    ASSAY_CLEANUP_BUF struct assay_buf place = ASSAY_BUF_INIT;
    struct assay_warden w = {.fd = -1};

    (void)state;
    snprintf(pull_option, sizeof(pull_option), "auto");
    way_inspect = MISSING;
    way_pull = PULL_SILENT;
    d = up();
    for (int i = 0; i < 500 && pulls == 0; i++) {
        assert_int_not_equal(sd_ops.open(d, ASSAY_STR(""), &w, &place, &err), 0);
        turn(d);
    }
    assert_int_equal(pulls, 1);
    down(d);
    for (int i = 0; i < 100 && hung_up == 0; i++)
        usleep(20000);
    assert_int_equal(hung_up, 1);
}

static void an_engine_that_is_silent_costs_its_time_out(void **state)
{
    struct sd_engine e;
    struct assay_err err = {0, ""};

    (void)state;
    memset(&e, 0, sizeof(e));
    way_version = SILENT;
    assert_int_equal(sd_engine_address(&e, option_str(NULL, "docker_host"), false, "", &err), 0);
    assert_int_equal(sd_engine_greet(&e, 300, &err), ASSAY_E_TIMEOUT);
}

static void failures_are_spaced_out_and_told(void **state)
{
    void *self;
    char why[600] = "";
    int rc = 0;

    (void)state;
    way_start = ERROR_500;
    self = up();
    for (int i = 0; i < 400 && rc != ASSAY_E_UNSUPPORTED; i++) {
        int fd = -1;

        rc = open_one(self, "", &fd, why, sizeof(why));
        if (rc == 0)
            close(fd);
        turn(self);
    }
    assert_int_equal(rc, ASSAY_E_UNSUPPORTED);
    assert_non_null(strstr(why, "is unwell"));
    assert_true(created < 40);
    down(self);
    assert_int_equal(created, deleted);
}

static void an_engine_that_cannot_mount_our_folder_is_attached_to(void **state)
{
    struct sd_driver *d;
    char why[600];
    int fd = -1;

    (void)state;
    way_create = BAD_MOUNT;
    d = up();
    assert_int_equal(open_one(d, "", &fd, why, sizeof(why)), 0);
    for (int i = 0; i < 200 && d->transport != SD_BY_ATTACH; i++)
        turn(d);
    assert_int_equal(d->transport, SD_BY_ATTACH);
    close(fd);
    fd = -1;
    assert_int_equal(open_one(d, "", &fd, why, sizeof(why)), 0);
    assert_non_null(strstr(why, "cgroup (streams go through the engine"));
    close(fd);
    down(d);
}

static void addresses_are_checked(void **state)
{
    static const char *const bad[] = {"ssh://x", "unix://relative", "tcp://", "/var/run/docker.sock"};
    struct assay_err err = {0, ""};
    struct sd_engine e;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memset(&e, 0, sizeof(e));
        assert_int_equal(sd_engine_address(&e, bad[i], false, "", &err), ASSAY_E_CONFIG);
    }
    memset(&e, 0, sizeof(e));
    assert_int_equal(sd_engine_address(&e, "tcp://h:2376", true, "", &err), ASSAY_E_CONFIG);
    assert_int_equal(sd_engine_address(&e, "tcp://h:2376", true, "/certs", &err), 0);
    assert_string_equal(e.url, "https://h:2376");
    assert_string_equal(e.key, "/certs/key.pem");
}

static void names_of_images(void **state)
{
    (void)state;
    assert_true(sd_image_name_ok(ASSAY_STR("registry.example:5000/team/Image_1:tag-2")));
    assert_true(sd_image_name_ok(ASSAY_STR("sha256:0123")));
    assert_false(sd_image_name_ok(ASSAY_STR("")));
    assert_false(sd_image_name_ok(ASSAY_STR("-x")));
    assert_false(sd_image_name_ok(ASSAY_STR("a/../b")));
    assert_false(sd_image_name_ok(ASSAY_STR("a b")));
    assert_false(sd_image_name_ok(ASSAY_STR("a?fromImage=b")));
    assert_false(sd_image_name_ok(ASSAY_STR("a%2f")));
}

static int setup(void **state)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    FILE *f;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    snprintf(top, sizeof(top), "/tmp/docker_test.XXXXXX");
    if (mkdtemp(top) == NULL)
        return -1;
    snprintf(sock_path, sizeof(sock_path), "%s/d.sock", top);
    snprintf(socket_dir, sizeof(socket_dir), "%s/run", top);
    snprintf(warden_file, sizeof(warden_file), "%s/warden", top);
    snprintf(profile_file, sizeof(profile_file), "%s/seccomp.json", top);
    for (int i = 0; i < 2; i++) {
        f = fopen(i == 0 ? warden_file : profile_file, "w");
        if (f == NULL || fputs("{}", f) < 0 || fclose(f) != 0)
            return -1;
    }
    memcpy(where.sun_path, sock_path, strlen(sock_path) + 1);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&where, sizeof(where)) != 0 || listen(listener, 64) != 0)
        return -1;
    return pthread_create(&thread, NULL, engine, NULL);
}

static int teardown(void **state)
{
    (void)state;
    over = true;
    pthread_join(thread, NULL);
    close(listener);
    unlink(sock_path);
    unlink(warden_file);
    unlink(profile_file);
    return rmdir(top);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_warden_joins_and_is_handed_out, reset),
        cmocka_unit_test_setup(a_missing_image_is_named, reset),
        cmocka_unit_test_setup(a_boxkeeper_waits_for_the_one_before, reset),
        cmocka_unit_test_setup(bad_answers_are_errors_and_bounded, reset),
        cmocka_unit_test_setup(a_missing_image_is_pulled, reset),
        cmocka_unit_test_setup(what_is_never_pulled, reset),
        cmocka_unit_test_setup(a_pull_that_fails_says_what_to_do_and_waits, reset),
        cmocka_unit_test_setup(how_pulls_end, reset),
        cmocka_unit_test_setup(a_stop_ends_a_pull, reset),
        cmocka_unit_test_setup(an_engine_that_is_silent_costs_its_time_out, reset),
        cmocka_unit_test_setup(failures_are_spaced_out_and_told, reset),
        cmocka_unit_test_setup(an_engine_that_cannot_mount_our_folder_is_attached_to, reset),
        cmocka_unit_test_setup(addresses_are_checked, reset),
        cmocka_unit_test_setup(names_of_images, reset),
    };
    return cmocka_run_group_tests_name("docker", tests, setup, teardown);
}
