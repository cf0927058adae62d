/*
 * A broker in memory, for tests of what stands between brokers and services: it keeps the contract of broker.h to the
 * letter, and does on command what real ones do to their clients.
 *
 *     struct fake_broker *b = fake_broker_new();
 *     svc_broker(h, "kafka", b);           before svc_start; svc_restart keeps it, as a broker outlives its clients
 *     size_t m = fake_broker_send(b, ASSAY_CHANNEL_WORK, "key", "{...}");
 *     fake_broker_wait_published(b, ASSAY_CHANNEL_RESULTS, 1);
 *     ... fake_broker_publication(b, ASSAY_CHANNEL_RESULTS, 0)->body ...
 *     fake_broker_wait_settled(b, m);
 *     svc_free(h);
 *     fake_broker_free(b);
 *
 * Deliveries and confirmations come on a thread of the broker's own.  A breach of the contract by the client (a tag settled
 * twice, more unsettled messages than it asked for) ends the test program with a message, as does a wait of a minute.
 */
#ifndef FAKE_BROKER_H
#define FAKE_BROKER_H

#include <assay/broker.h>

struct fake_broker;

enum fake_state { FAKE_READY, FAKE_HELD, FAKE_DONE, FAKE_DEAD };

struct fake_broker *fake_broker_new(void);
void fake_broker_free(struct fake_broker *b);
struct assay_broker fake_broker_lend(struct fake_broker *b);
/* A client comes or goes: what it held is ready again, and its sinks and callbacks are forgotten. */
void fake_broker_connect(struct fake_broker *b);
void fake_broker_disconnect(struct fake_broker *b);

/* Messages are counted from 0 over both channels; the name is "fake:0:<index>". */
size_t fake_broker_send(struct fake_broker *b, enum assay_channel channel, const char *key, const char *body);
size_t fake_broker_send_from(struct fake_broker *b, enum assay_channel channel, const char *key, const char *body,
                             const char *reply_to, const char *correlation);
void fake_broker_pause(struct fake_broker *b, bool paused); /* deliveries; confirmations go on */
void fake_broker_greedy(struct fake_broker *b); /* delivers more than it was asked for, so that the client has to say no */
void fake_broker_shuffle(struct fake_broker *b, unsigned seed); /* from now on, in an order of its own */
/* Delivers the message once more, whatever its state, as brokers do after a lost acknowledgement. */
void fake_broker_repeat(struct fake_broker *b, size_t message);
void fake_broker_lose(struct fake_broker *b, size_t message, bool come_again); /* the client holds it no longer */

/* The next n publications: refuse: publish answers ASSAY_E_BUSY; fail: told as status, and there only if `there`. */
void fake_broker_refuse(struct fake_broker *b, int n);
void fake_broker_fail(struct fake_broker *b, int n, int status, bool there);
void fake_broker_hold_confirms(struct fake_broker *b, bool held);
void fake_broker_sick(struct fake_broker *b, const char *why); /* what health says; NULL: well */

struct fake_publication {
    struct assay_str key, body, reply_to, correlation; /* live as long as the broker */
    uint64_t answers;
};
size_t fake_broker_published(struct fake_broker *b, enum assay_channel channel);
const struct fake_publication *fake_broker_publication(struct fake_broker *b, enum assay_channel channel, size_t i);
enum fake_state fake_broker_state(struct fake_broker *b, size_t message);
int fake_broker_deliveries(struct fake_broker *b, size_t message); /* that were taken */
size_t fake_broker_busy(struct fake_broker *b);                    /* deliveries that were answered ASSAY_E_BUSY */
bool fake_broker_quiet(struct fake_broker *b);

void fake_broker_wait_published(struct fake_broker *b, enum assay_channel channel, size_t n);
void fake_broker_wait_settled(struct fake_broker *b, size_t message); /* done or dead */
void fake_broker_wait_idle(struct fake_broker *b); /* no delivery is unsettled, none is to come */
void fake_broker_wait_taken(struct fake_broker *b, size_t message, int deliveries);

#endif
