/*
 * An HTTP server that is a function: what it answers, how slowly, and how it breaks off, is the test's to say.
 * One thread for each connection; the handler is called by one of them at a time.
 */
#ifndef FAKE_HTTP_H
#define FAKE_HTTP_H

#include <assay/str.h>

enum fake_way {
    FAKE_ANSWER,
    FAKE_HANG,  /* takes the request and says nothing until the client goes */
    FAKE_RESET, /* RST instead of an answer */
    FAKE_CUT,   /* the answer's head and half of its body, then RST */
    FAKE_SLOW,  /* the answer, a byte in 100 ms */
};

struct fake_request {
    char method[16], target[2048];
    const char *head; /* all lines, NUL-terminated */
    struct assay_str body;
};
struct fake_answer {
    int status;
    enum fake_way way;
    char lines[512];        /* more header lines, each ended by CRLF */
    struct assay_buf body;  /* freed by the server */
    bool no_length;         /* until the connection's end */
};

struct fake;
struct fake *fake_new(void (*handle)(void *arg, const struct fake_request *rq, struct fake_answer *a), void *arg);
void fake_free(struct fake *f); /* ends all connections */
int fake_port(const struct fake *f);
/* The value of a header ("" when absent), copied to out. */
const char *fake_header(const struct fake_request *rq, const char *name, char *out, size_t room);

#endif
