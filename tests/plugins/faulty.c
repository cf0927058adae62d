/*
 * Plugins that a server must refuse, or live with, one fault each, chosen by -DFAULT=...; the tests load them.
 * The constructor leaves a trace in the environment, so that a test can see whether code of a plugin
 * ran that should have been refused as data.
 */
#include <stdlib.h>
#include <unistd.h>

#include <assay/plugin.h>

#define NONE 0
#define WRONG_ABI 1
#define WRONG_MAGIC 2
#define SHORT_STRUCT 3
#define MISSING_SYMBOL 4
#define FAILING_INIT 5
#define MISSING_NEED 6
#define CLASH 7
#define NO_DESCRIPTOR 8
#define FAILING_START 9
#define CRASHING 10 /* this one and those after it start well: tests/chaos/test_plugins.py asks them for /faulty/1 */
#define HANGING 11
#define LEAKING 12 /* and these: a hundred descriptors a request, an answer of 192 MiB */
#define HUGE_REPLY 13
#ifndef FAULT
#define FAULT NONE
#endif

__attribute__((constructor)) static void trace(void)
{
    (void)setenv("ASSAY_TEST_CONSTRUCTED", "yes", 1);
}

#if FAULT != NO_DESCRIPTOR
#if FAULT == MISSING_SYMBOL
extern int a_symbol_that_nobody_has(void);
#endif

static int answer(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self, (void)rq, (void)rs, (void)err;
#if FAULT == MISSING_SYMBOL
    return a_symbol_that_nobody_has();
#elif FAULT == CRASHING
    __builtin_trap();
#elif FAULT == HANGING
    return (int)sleep(20);
#elif FAULT == LEAKING
    for (int i = 0; i < 100; i++)
        (void)!dup(2);
    return ASSAY_OK;
#elif FAULT == HUGE_REPLY
    const size_t n = (size_t)192 << 20;
    char *p = malloc(n);
    for (size_t i = 0; p != NULL && i < n; i++)
        p[i] = ' ';
    rs->body = (struct assay_buf){.p = p, .n = p != NULL ? n : 0, .room = n, .cap = n};
    return ASSAY_OK;
#else
    return ASSAY_OK;
#endif
}

static const struct assay_route routes[] = {
    {.method = ASSAY_GET,
#if FAULT == CLASH
     .path = "/healthz", /* the program's own */
#else
     .path = "/faulty/{id}",
#endif
     .handle = answer,
     .operation_id = "faulty_get",
     .summary = "A route"},
};

#if FAULT == MISSING_NEED
static const struct assay_need needs[] = {{.name = "assay.wanting", .version = 1}};
#endif

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    (void)host, (void)self, (void)err;
#if FAULT == FAILING_INIT
    err->code = ASSAY_E_CONFIG;
    for (size_t i = 0; i < sizeof "the stars are wrong"; i++)
        err->msg[i] = "the stars are wrong"[i];
    return ASSAY_E_CONFIG;
#else
    return ASSAY_OK;
#endif
}

#if FAULT == FAILING_START
static int start(void *self, struct assay_err *err)
{
    (void)self;
    err->code = ASSAY_E_IO;
    for (size_t i = 0; i < sizeof "no start today"; i++)
        err->msg[i] = "no start today"[i];
    return ASSAY_E_IO;
}
#endif

static void fini(void *self)
{
    (void)self;
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
#if FAULT == WRONG_MAGIC
    .magic = 0x12345678u,
#else
    .magic = ASSAY_PLUGIN_MAGIC,
#endif
#if FAULT == SHORT_STRUCT
    .size = 24,
#else
    .size = sizeof(struct assay_plugin),
#endif
#if FAULT == WRONG_ABI
    .abi_major = ASSAY_ABI_MAJOR + 1,
#else
    .abi_major = ASSAY_ABI_MAJOR,
#endif
    .abi_minor = ASSAY_ABI_MINOR,
    .kind = ASSAY_PLUGIN_SERVICE,
    .name = "faulty",
    .version = "1.0.0",
    .summary = "Has a fault",
    .routes = ASSAY_TABLE(routes),
#if FAULT == MISSING_NEED
    .needs = ASSAY_TABLE(needs),
#endif
    .init = init,
#if FAULT == FAILING_START
    .start = start,
#endif
    .fini = fini,
};
#endif
