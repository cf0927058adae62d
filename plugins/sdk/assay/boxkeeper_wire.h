/*
 * Packets between the boxkeeper and its two peers: the server (asks for wardens) and the supervisor
 * (brings a new server's socket).
 *
 * Both sockets are SOCK_SEQPACKET socketpairs: one packet, one message, at most one descriptor with
 * it (SCM_RIGHTS).  A packet is a fixed head of 24 bytes, little-endian, and `length` bytes of text:
 *
 *     0 magic u32 | 4 version u16 | 6 type u16 | 8 request u64 | 16 status i32 | 20 length u32 | text
 *
 * Server → boxkeeper: OPEN, INFO, DOCTOR, METRICS, FATE.  Each is answered once with the same type |
 * ASSAY_BK_REPLY and the same request id, in any order.  status is 0 or an enum assay_status code;
 * with a code the text is one line for a person.
 *     OPEN     text: a driver's name, "" for the configured one; or that, a newline and an image's name
 *              reply: JSON object, the place of sandbox.h, and the warden's stream
 *     INFO     text: ""     reply: JSON object {"driver","configured","chosen_because","up","chosen":{the
 *              driver's info of sandbox.h, or null},"drivers":[names]}: what "" stands for and what it lacks
 *     DOCTOR   text: ""     reply: JSON object {"driver","configured","chosen_because","privilege",
 *              "drivers":[each driver's doctor object of sandbox.h]}
 *     METRICS  text: ""     reply: Prometheus text, to be appended to the server's own
 *     FATE     text: the inode of a stream's end, decimal      reply: "outside" or "inside", a space, and why the warden
 *              at the other end died; ASSAY_E_AGAIN while that is being found out, ASSAY_E_NOT_FOUND
 * There is no CLOSE: who is done with a warden closes its stream, and the warden exits.
 *
 * Supervisor → boxkeeper (inherited as ASSAY_BK_CONTROL_FD): PEER with the boxkeeper's end of a fresh
 * socketpair; the server before it is dead, so all wardens made until then are ended.  EOF on the
 * control socket ends the boxkeeper.
 * Boxkeeper → supervisor: READY once, after drivers are loaded and leftovers are reaped; text is a
 * line for the log.
 *
 * ASSAY_BK_OPTIONS_FD is a memfd with the resolved options, `name=value` lines, values without
 * newline or NUL; what it does not name has the default of its table.  The boxkeeper itself reads
 * data_dir, plugin_path, sandbox, log_level and log_format, and each driver its own table.
 *
 * Exit status: 0 after EOF or SIGTERM; ASSAY_BK_EXIT_CONFIG when starting again cannot help
 * (an option or a plugin is wrong; the log says which); anything else may be retried.
 *
 * What comes from a peer is never trusted: a packet that breaks the form is counted and dropped,
 * together with any descriptor it brought.
 */
#ifndef ASSAY_BOXKEEPER_WIRE_H
#define ASSAY_BOXKEEPER_WIRE_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_BK_CONTROL_FD 3
#define ASSAY_BK_OPTIONS_FD 4
#define ASSAY_BK_EXIT_CONFIG 78 /* EX_CONFIG of sysexits.h */

#define ASSAY_BK_MAGIC 0x4b425341u /* "ASBK" */
#define ASSAY_BK_VERSION 1u
#define ASSAY_BK_HEAD 24u
#define ASSAY_BK_TEXT_MAX 65536u /* bytes of text in one packet */
#define ASSAY_BK_PACKET_MAX (ASSAY_BK_HEAD + ASSAY_BK_TEXT_MAX)
#define ASSAY_BK_NAME_MAX 64u   /* a driver's name */
#define ASSAY_BK_IMAGE_MAX 512u /* an image's name */

enum assay_bk_type {
    ASSAY_BK_OPEN = 1,
    ASSAY_BK_INFO = 2,
    ASSAY_BK_DOCTOR = 3,
    ASSAY_BK_METRICS = 4,
    ASSAY_BK_FATE = 5,
    ASSAY_BK_PEER = 0x41,  /* supervisor → boxkeeper */
    ASSAY_BK_READY = 0x42, /* boxkeeper → supervisor, server → supervisor */
    ASSAY_BK_DONE = 0x43,  /* server → supervisor: there is nothing more to do, stop everything */
    ASSAY_BK_REPLY = 0x8000,
};

struct assay_bk_packet {
    uint16_t type;
    uint64_t request;
    int32_t status;
    struct assay_str text;
};

/* Writes head and text. Returns the packet's size, or 0 when room or ASSAY_BK_TEXT_MAX is too small. */
size_t assay_bk_encode(const struct assay_bk_packet *p, void *buf, size_t room);
/* *out->text points into buf. ASSAY_E_CORRUPT when magic, version or length is wrong. */
int assay_bk_decode(const void *buf, size_t n, struct assay_bk_packet *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* Sends one packet, with fd unless it is -1 (the caller keeps its copy). ASSAY_E_AGAIN when a
 * non-blocking socket is full, ASSAY_E_GONE when the peer has closed, ASSAY_E_IO otherwise. No SIGPIPE. */
int assay_bk_send(int sock, const struct assay_bk_packet *p, int fd, struct assay_err *err) ASSAY_MUST_CHECK;
/* Receives one packet into buf (ASSAY_BK_PACKET_MAX bytes). *fd is -1 or a close-on-exec descriptor of
 * the caller's; descriptors beyond the first are closed. ASSAY_E_AGAIN, ASSAY_E_GONE at EOF,
 * ASSAY_E_CORRUPT for a packet that breaks the form (dropped, the socket goes on), ASSAY_E_IO. */
int assay_bk_recv(int sock, void *buf, size_t room, struct assay_bk_packet *out, int *fd, struct assay_err *err)
    ASSAY_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
