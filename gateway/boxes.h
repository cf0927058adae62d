/*
 * The server's side of the boxkeeper's socket: asks for wardens, information and metrics.
 *
 * One thread of its own reads two sockets: the supervisor's control socket, which brings a new end
 * whenever the boxkeeper (or this server) was started again, and the present end, whose replies it
 * hands to the callers that wait.  A call that was under way when its end died is asked again on the
 * next one, within its own time, so the restart of a boxkeeper costs its callers time and nothing else.
 *
 * Threads: new, start and free on the main thread; the calls on worker threads and, before the server
 * is up, the main thread; they block up to their timeout.
 */
#ifndef ASSAY_GATEWAY_BOXES_H
#define ASSAY_GATEWAY_BOXES_H

#include <stdint.h>

#include <assay/boxkeeper_wire.h>
#include <assay/err.h>
#include <assay/str.h>

struct assay_boxes;

/* control: borrowed. lost is called once, on the boxes' thread, when the supervisor has gone. */
int assay_boxes_new(int control, void (*lost)(void *arg), void *arg, struct assay_boxes **ret, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* From here on calls, also those under way, answer ASSAY_E_GONE. NULL is fine. */
void assay_boxes_stop(struct assay_boxes *b);
/* Stops, and ends the thread; nobody calls any more. NULL is fine. */
void assay_boxes_free(struct assay_boxes *b);

bool assay_boxes_connected(struct assay_boxes *b);
/* As assay_host.warden_open. ASSAY_E_TIMEOUT when no boxkeeper answered in time. */
int assay_boxes_open(struct assay_boxes *b, struct assay_str driver, struct assay_str image, int64_t timeout_ms, int *fd,
                     struct assay_buf *place, struct assay_err *err) ASSAY_MUST_CHECK;
/* As assay_host.warden_fate. */
int assay_boxes_fate(struct assay_boxes *b, uint64_t stream, int64_t timeout_ms, bool *outside, struct assay_buf *why,
                     struct assay_err *err) ASSAY_MUST_CHECK;
/* INFO, DOCTOR or METRICS: appends the text of the reply. */
int assay_boxes_ask(struct assay_boxes *b, enum assay_bk_type what, int64_t timeout_ms, struct assay_buf *out,
                    struct assay_err *err) ASSAY_MUST_CHECK;

#endif
