/*
 * Whose address is it?  Behind a proxy every connection comes from the proxy; who stands behind it is said in
 * X-Forwarded-For or Forwarded (RFC 7239), which anybody can write.  So such a header is believed only when the
 * connection comes from a listed address, and only as far back as the chain of listed addresses goes: the answer is
 * the last address that a trusted proxy vouches for.
 *
 * Immutable after assay_proxies_new(); any thread.
 */
#ifndef ASSAY_GATEWAY_PROXIES_H
#define ASSAY_GATEWAY_PROXIES_H

#include <stdbool.h>

#include <assay/err.h>
#include <assay/str.h>

#define ASSAY_ADDRESS_SIZE 46 /* INET6_ADDRSTRLEN */

struct assay_proxies;

/* list: addresses and networks ("10.0.0.0/8", "::1"), separated by commas; "" gives *ret = NULL, which trusts nobody.
 * ASSAY_E_CONFIG names the entry that is none. */
int assay_proxies_new(const char *list, struct assay_proxies **ret, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_proxies_free(struct assay_proxies *p); /* NULL is fine */

bool assay_proxies_trusts(const struct assay_proxies *p, struct assay_str address);

/* The client's address out of one field's value, read from its end, beginning with what the trusted peer says; out
 * holds the address believed so far (the peer's at the start) and is left alone when the value says nothing usable.
 * false: the chain has ended, earlier fields must not be asked. */
bool assay_proxies_walk(const struct assay_proxies *p, bool forwarded, struct assay_str value, char out[ASSAY_ADDRESS_SIZE]);

/* Whether the last entry of one field's value (X-Forwarded-Proto, or Forwarded with its proto=) says https. */
bool assay_proxies_https(bool forwarded, struct assay_str value);

#endif
