/*
 * REDIS_URL.  What must hold: what is taken names a place, a port and a database that exist, and nothing is left behind.
 */
#include <string.h>

#include "fuzz.h"
#include "plugins/session_redis/local.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sr_address a;
    struct assay_err err = {0};
    int st = sr_address_parse((struct assay_str){(const char *)data, size}, &a, &err);
    if (st == 0) {
        FUZZ_CHECK((a.host[0] != '\0') != (a.path[0] != '\0'));
        FUZZ_CHECK(a.port >= 1 && a.port <= 65535 && a.db >= 0 && a.db <= 65535);
        FUZZ_CHECK(a.path[0] == '\0' || a.path[0] == '/');
        FUZZ_CHECK(memchr(a.host, 0, sizeof a.host) && memchr(a.user, 0, sizeof a.user));
    } else {
        FUZZ_CHECK(st == ASSAY_E_CONFIG && err.msg[0] != '\0' && !a.password);
    }
    sr_address_free(&a);
    return 0;
}
