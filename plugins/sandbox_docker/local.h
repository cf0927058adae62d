/*
 * Shared by the files of sandbox_docker.  driver.c and what it owns run on the boxkeeper's one thread;
 * engine.c, image.c, pull.c and box.c run on the workers of work.c (and, at the start, on that thread) and touch
 * nothing but what their task brings and a struct sd_setup, of which each worker has a copy.
 */
#ifndef ASSAY_SANDBOX_DOCKER_LOCAL_H
#define ASSAY_SANDBOX_DOCKER_LOCAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <assay/json.h>
#include <assay/leaves.h>
#include <assay/plugin.h>
#include <assay/sandbox.h>
#include <assay/warden_wire.h>

#define SD_PATH 512
#define SD_NAME_MAX 512 /* an image's name */
#define SD_WARDENS_MAX 256
#define SD_IMAGES_MAX 32
#define SD_FATES_MAX 256
#define SD_WORKERS 4

/* ---- engine.c: HTTP with the engine; any thread ---- */
struct sd_engine {
    char host[SD_PATH];  /* as configured, for messages */
    char socket[108];    /* path, "" for TCP */
    char url[SD_PATH];
    char ca[SD_PATH], cert[SD_PATH], key[SD_PATH];
    bool tls;
    char api[16];        /* "/v1.41", "" before sd_engine_greet */
    char version[48], cgroup[40];
    int64_t cpus;
    bool apparmor, rootless, userns;
};
int sd_engine_address(struct sd_engine *e, const char *host, bool tls, const char *cert_path, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* Negotiates the version and learns what the engine is. *e is changed on success only. */
int sd_engine_greet(struct sd_engine *e, int64_t timeout_ms, struct assay_err *err) ASSAY_MUST_CHECK;
/* A connection that says nothing and whose end tells that the engine went down; -1 over TCP, or when there is none. */
int sd_engine_watch(const struct sd_engine *e);
void *sd_engine_handle(const struct sd_engine *e); /* CURL *, NULL without memory */
/* One exchange; *status is the engine's. ASSAY_E_IO: nobody answers; ASSAY_E_TIMEOUT; ASSAY_E_TOO_LARGE. reply is initialised here. */
int sd_call(const struct sd_engine *e, const char *method, const char *path, struct assay_str body, const char *type,
            int64_t timeout_ms, int *status, struct assay_buf *reply, struct assay_err *err) ASSAY_MUST_CHECK;
/* The same; a status that is no success becomes an error with the engine's words: NOT_FOUND, CONFLICT, INVALID, FULL or IO. */
int sd_want(const struct sd_engine *e, const char *method, const char *path, struct assay_str body, const char *type,
            int64_t timeout_ms, struct assay_buf *reply, struct assay_err *err) ASSAY_MUST_CHECK;
/* The engine's own words, from {"message": ...}; what cannot be printed is a space. */
void sd_said(struct assay_str reply, char *out, size_t room);
void sd_printable(struct assay_str text, char *out, size_t room);
int sd_decode(const char *what, struct assay_str text, const struct assay_json_field *fields, void *out,
              struct assay_arena *arena, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- what all containers share ---- */
struct sd_setup {
    struct sd_engine engine;
    char data_id[17];           /* of this data directory: label of containers and images */
    char life[9];               /* of this process: label of containers */
    char *seccomp;              /* the profile, JSON */
    const char *apparmor;       /* profile's name, "" for the engine's default */
    const char *cgroup_parent;  /* "" for the engine's default */
    char warden_hash[ASSAY_LEAVES_NAME];
    struct assay_str warden;    /* the program itself; owned */
    int64_t memory, pids, cpu_percent, boxes;
    int64_t pull_ms, pull_idle_ms; /* most for the whole, and without a word */
    const atomic_bool *stop;       /* set when the driver ends: what may take long is given up; may be NULL */
    char socket_dir[SD_PATH];   /* on this machine, mounted into containers */
};

/* ---- image.c: an image with the warden in it; workers ---- */
struct sd_image_facts {
    char id[80], digest[80];  /* of the image itself; digest: its chain of layers */
    char derived[80];         /* what containers are made from */
};
bool sd_image_name_ok(struct assay_str name);
/* Fills id and digest. */
int sd_image_inspect(const struct sd_setup *s, const char *name, struct sd_image_facts *f, struct assay_err *err) ASSAY_MUST_CHECK;
int sd_image_prepare(const struct sd_setup *s, const char *name, struct sd_image_facts *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* Appends the archive with the warden that an image is given. */
void sd_image_archive(const struct sd_setup *s, struct assay_buf *out);

/* ---- pull.c: an image from its registry ---- */
struct sd_progress { /* written by who pulls, read by the boxkeeper's thread; each figure for itself */
    atomic_uint layers, layers_done;
    _Atomic int64_t bytes, total;
};
bool sd_pull_allowed(const char *name);
int sd_image_pull(const struct sd_setup *s, const char *name, struct sd_progress *seen, struct assay_err *err) ASSAY_MUST_CHECK;

/* POST /containers/create; name may be "". */
int sd_create(const struct sd_setup *s, const char *name, struct assay_str body, char *id, size_t room, struct assay_err *err)
    ASSAY_MUST_CHECK;
void sd_labels(const struct sd_setup *s, struct assay_jw *w); /* by which a later life knows what is ours */

/* ---- box.c: containers; workers ---- */
struct sd_start {
    char derived[80];
    char token[ASSAY_WARDEN_TOKEN + 1];
    char name[80];
    bool leaf, attach, single;
    int stream, life;   /* attach: the warden's end of the stream, and the socket that tells us of its end; consumed */
    char container[80]; /* out, also when the start failed after it was made */
};
int sd_container_start(const struct sd_setup *s, struct sd_start *q, struct assay_err *err) ASSAY_MUST_CHECK;
struct sd_end {
    char container[80];
    bool ask;       /* why it died */
    bool outside;   /* out: not by what ran in it */
    bool clean;     /* out: it left by itself, in order */
    char why[200];  /* out */
};
/* 0 when the container is gone. */
int sd_container_end(const struct sd_setup *s, struct sd_end *q, struct assay_err *err) ASSAY_MUST_CHECK;
/* Removes what earlier lives left. The number removed. */
int sd_reap_all(const struct sd_setup *s, size_t *containers, size_t *images, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- attach.c ---- */
/* Opens the engine's stream to a container that was made and not yet started, and starts the thread that copies between it
 * and `stream`, until either ends or the other end of life is closed; the last line that the container says on
 * its stderr goes to life as a GRIEF, and life is closed at the end. Consumes both. */
int sd_attach(const struct sd_setup *s, const char *container, int stream, int life, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- work.c: tasks for workers, and their results ---- */
enum sd_task_kind { SD_GREET = 1, SD_IMAGE, SD_PULL, SD_START, SD_END, SD_REAP };
struct sd_task {
    struct sd_task *next;
    enum sd_task_kind kind;
    size_t index;           /* slot or image */
    uint64_t id;            /* which warden, which generation of an image */
    union {
        struct sd_engine engine;
        struct {
            char name[SD_NAME_MAX + 1];
            struct sd_image_facts facts;
            struct sd_progress *progress; /* a pull's */
        } image;
        struct sd_start start;
        struct sd_end end;
        struct {
            size_t containers, images;
        } reap;
    } u;
    int status;
    struct assay_err err;
};
struct sd_work;
int sd_work_new(const struct sd_setup *s, struct sd_work **out, struct assay_err *err) ASSAY_MUST_CHECK;
void sd_work_free(struct sd_work *w); /* waits for what is under way; the rest is dropped */
void sd_work_engine(struct sd_work *w, const struct sd_engine *e); /* what tasks that begin from now on talk to */
struct sd_task *sd_task_new(enum sd_task_kind kind); /* NULL without memory */
void sd_work_give(struct sd_work *w, struct sd_task *t);
struct sd_task *sd_work_take(struct sd_work *w); /* a finished one, to free(), or NULL */
int sd_work_fd(const struct sd_work *w);         /* readable when there may be one */

/* ---- driver.c ---- */
enum sd_state {
    SD_FREE,
    SD_MAKING, /* a worker makes and starts the container */
    SD_LIVE,
    SD_ENDING, /* a worker removes it, or will try again */
    SD_GONE,   /* removed; its leaves still empty themselves */
};
struct sd_warden {
    uint64_t id;
    enum sd_state state;
    size_t image;
    uint64_t generation; /* of the image */
    bool out;            /* the runner has the other end of the stream */
    bool joined, greeted, busy /* a task is under way */, doomed /* to end as soon as it is not */;
    int ours, theirs;    /* ends of the stream: the runner's until it is out, the warden's until it has joined */
    int control;
    char token[ASSAY_WARDEN_TOKEN + 1];
    char container[80];
    char grief[200];
    uint64_t stream;     /* the inode of the runner's end, which names it */
    int64_t born_ns, retry_ns;
    struct assay_leaf_set leaves;
};

enum sd_image_state { SD_IMAGE_NONE, SD_IMAGE_PREPARING, SD_IMAGE_PULLING, SD_IMAGE_READY, SD_IMAGE_FAILED };
struct sd_image {
    char name[SD_NAME_MAX + 1]; /* "": free */
    enum sd_image_state state;
    bool busy;
    uint64_t generation; /* rises when the name means another image */
    struct sd_image_facts facts;
    int why_code;
    char why[300];
    int64_t used_ns, checked_ns, retry_ns;
    struct sd_progress pull;
    int64_t pull_ns, pull_wait_ns, told_ns; /* next try; the pause after it; when its progress was last logged */
    int pull_code;              /* how the last one ended, 0: none failed */
    char pull_why[300];
    size_t opens_now, opens_peak, target;
    int64_t window_ns;
};

struct sd_fate {
    uint64_t stream; /* the runner's end: its inode */
    bool outside;
    char why[200];
};

enum sd_transport { SD_BY_UNKNOWN, SD_BY_SOCKET, SD_BY_ATTACH };

struct sd_driver {
    const struct assay_host *host;
    struct sd_setup setup;
    char warden_path[SD_PATH];
    const char *image;       /* the default */
    char trouble[400];       /* of the configuration: nothing can be opened */
    char remedy[300];
    bool engine_up, greeting;
    int engine_code;
    char engine_why[400];
    int64_t greet_ns, lost_ns; /* next try; when the engine was last seen to go down */
    int watch;
    enum sd_transport transport, transport_wanted;
    char transport_why[300];
    bool single;             /* no namespaces inside containers: each is good for one job */
    char single_why[200];
    size_t max_wardens, pool_min, pool_max;
    struct assay_leaves leaves;
    struct sd_work *work;
    struct sd_warden *w;
    uint64_t next_id;
    struct sd_image images[SD_IMAGES_MAX];
    struct sd_fate fate[SD_FATES_MAX];
    size_t n_fates;
    int epoll, listener, socket_dir_fd;
    struct {
        int fd;
        int64_t since_ns;
    } joining[16];           /* connected, and have not yet said who they are */
    unsigned failures;
    int64_t retry_ns;
    char failure[300];
    uint32_t features;
    bool features_known, draining;
    bool pull;               /* docker_pull=auto */
    atomic_bool stop;
};

extern const struct assay_sandbox_ops sd_ops;
extern const struct assay_metric sd_metrics[];
enum sd_metric_row {
    SD_M_WARDENS, SD_M_LEAVES, SD_M_STARTS, SD_M_ENDS, SD_M_SPENT, SD_M_POOL_MISSES, SD_M_REAPED, SD_M_ENGINE_UP,
    SD_M_ENGINE_LOSSES, SD_M_COUNT
};
int sd_init(const struct assay_host *host, void **self, struct assay_err *err);
void sd_drain(void *self);
void sd_fini(void *self);
int sd_usable(void *self, struct assay_err *err) ASSAY_MUST_CHECK;
void sd_count(const struct sd_driver *d, size_t by_state[SD_GONE + 1], size_t *waiting, size_t *out);

/* ---- pool.c: the slots; the boxkeeper's thread ---- */
void sd_metric(const struct sd_driver *d, enum sd_metric_row row, const char *label, double by);
int sd_warden_make(struct sd_driver *d, size_t image, struct sd_warden **out, struct assay_err *err) ASSAY_MUST_CHECK;
void sd_warden_end(struct sd_driver *d, struct sd_warden *w);
void sd_warden_started(struct sd_driver *d, struct sd_task *t);
void sd_warden_ended(struct sd_driver *d, struct sd_task *t);
void sd_warden_died(struct sd_driver *d, struct sd_warden *w);
void sd_failed_once(struct sd_driver *d, const char *why);
void sd_listen_ready(struct sd_driver *d);
void sd_joining_ready(struct sd_driver *d, size_t i);
void sd_control_ready(struct sd_driver *d, struct sd_warden *w);
void sd_stream_ready(struct sd_driver *d, struct sd_warden *w);
void sd_wardens_tick(struct sd_driver *d, int64_t now);
int sd_listen_open(struct sd_driver *d, struct assay_err *err) ASSAY_MUST_CHECK;
void sd_listen_close(struct sd_driver *d);
enum sd_watch { SD_WATCH_WORK, SD_WATCH_ENGINE, SD_WATCH_LISTENER, SD_WATCH_JOINING, SD_WATCH_CONTROL, SD_WATCH_STREAM };
int sd_watch_add(struct sd_driver *d, int fd, enum sd_watch what, size_t index);
void sd_watch_remove(struct sd_driver *d, int fd);

/* ---- pulling.c: when to pull, and what is told of it; the boxkeeper's thread ---- */
bool sd_pull_due(const struct sd_driver *d, const struct sd_image *i, int64_t now); /* were it found missing, it would be pulled */
bool sd_pull_start(struct sd_driver *d, struct sd_image *i, int64_t now);
void sd_pull_ended(struct sd_driver *d, struct sd_image *i, const struct sd_task *t);
void sd_pull_tell(struct sd_driver *d, struct sd_image *i, int64_t now);
void sd_pull_text(const struct sd_image *i, char *out, size_t room);

/* ---- doctor.c ---- */
int sd_doctor(void *self, struct assay_buf *out, struct assay_err *err);
int sd_info(void *self, struct assay_buf *out, struct assay_err *err);
int sd_place(const struct sd_driver *d, const struct sd_image *i, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;

#endif
