/*
 * Lists of trusted proxies, and what such proxies write about their clients: a list, a newline, a header's value.
 *
 * What must hold: what comes out is always an address, and never one that a listed proxy did not vouch for: with nobody trusted
 * beyond the peer, it is the last element or the peer.
 */
#include <arpa/inet.h>
#include <stdio.h>

#include "fuzz.h"
#include "gateway/proxies.h"

static bool is_address(const char *z)
{
    unsigned char a[16];
    return inet_pton(AF_INET, z, a) == 1 || inet_pton(AF_INET6, z, a) == 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *eol = size ? memchr(data, '\n', size) : NULL;
    char list[512], out[ASSAY_ADDRESS_SIZE];
    struct assay_proxies *p = NULL;
    struct assay_err err = {0, ""};
    if (!eol || eol - data >= (ptrdiff_t)sizeof list)
        return 0;
    memcpy(list, data, (size_t)(eol - data));
    list[eol - data] = 0;
    struct assay_str value = {(const char *)eol + 1, size - (size_t)(eol - data) - 1};
    if (assay_proxies_new(list, &p, &err) != 0 || !p)
        return 0;
    for (int forwarded = 0; forwarded < 2; forwarded++) {
        (void)snprintf(out, sizeof out, "192.0.2.1");
        bool on = assay_proxies_walk(p, forwarded != 0, value, out);
        FUZZ_CHECK(is_address(out));
        FUZZ_CHECK(!on || assay_str_is(assay_str(out), "192.0.2.1") || assay_proxies_trusts(p, assay_str(out)));
    }
    assay_proxies_free(p);
    return 0;
}
