/*
 * The world of the runner's tests: submissions and runner over the real store, real languages and real wardens, each test with a host
 * of its own (svc_harness.h).  One world at a time; all functions are called by the thread that runs the tests.
 */
#ifndef ASSAY_TESTS_RUNNER_WORLD_H
#define ASSAY_TESTS_RUNNER_WORLD_H

#include <stddef.h>

#include "local.h"
#include "svc_harness.h"

#define USER "00000000-0000-7000-8000-000000000001"
#define OWNER "00000000-0000-7000-8000-00000000000c"

#define C_SUM                                                                                                          \
    "#include <stdio.h>\nint main(void){long long s=0,v;while(scanf(\"%lld\",&v)==1)s+=v;printf(\"%lld\\n\",s);return 0;}"
#define PY_SUM "import sys\nprint(sum(map(int, sys.stdin.read().split())))\n"

/* A benchmark of one problem. */
struct given {
    const char *id;
    int mode, compare, feedback;
    bool stop;
    const char *test[6][2]; /* input, expected */
};

/* Whether a warden can be started here; where none can, world_skip says so in TAP and returns the exit status. */
bool warden_works(void);
int world_skip(void);

/* A started world with the benchmark "sum" and the agent "a1" in it.  options: name, value, ..., NULL; or NULL. */
struct svc *world(void);
struct svc *world_with(const char *const *options);
/* Plugins, host and start of a world, for a test that has set its options itself. */
void world_begin(struct svc *h);
void end(struct svc *h);

void publish(struct svc *h, const struct given *g);
/* toolchains: a JSON object, or "" */
void publish_pinned(struct svc *h, const struct given *g, const char *toolchains, int warm_interpreters);

/* language NULL: the source is an answer */
const char *submit(struct svc *h, const char *benchmark, const char *language, const char *source);
struct svc_reply see(struct svc *h, const struct assay_principal *who, const char *path, const char *id);
/* Delivers events, and so rings the runner, until the submission has ended. */
const char *ended(struct svc *h, const char *id);
void expect_verdict(struct svc *h, const char *id, const char *verdict);
void wait_for_log(struct svc *h, const char *text);
/* A diagnostic of any length. */
void tell(const char *what, struct assay_str text);

/* SIGKILL to the n wardens that were started last, or to all there are. */
void world_kill_wardens(size_t n);
/* The directory that wardens share with the server from now on; NULL: none. */
void world_shared(const char *dir);
/* The digest of every image, as the boxkeeper says it from now on. */
void world_image_digest(int digest);

#endif
