/*
 * What the drivers of Amazon's services share: credentials, signatures, and calls that are repeated when that helps.
 *
 * blob_s3 and broker_sqs are built on this room, and it alone includes libcurl for them.  A call is signed with
 * Signature Version 4 (the query, the headers and the bytes that are sent are the ones that were signed, since both
 * come from one place), has a deadline that all its tries share, and is tried again after a failed connection, a 5xx or a
 * refusal for the rate, with a random, growing pause.  A clock that is wrong is noticed by the service's answer and set right for
 * the signatures.  Redirects are never followed: a signature is for one host.
 *
 * Any thread, blocking; nothing here may run on an event loop.  aws_client_stop ends all calls under way at once.
 */
#ifndef ASSAY_AWS_H
#define ASSAY_AWS_H

#include <stddef.h>
#include <stdint.h>

#include <assay/err.h>
#include <assay/plugin.h>
#include <assay/str.h>

/* ---- keys and where they come from (credentials.c, profile.c, metadata.c) ---- */

#define AWS_KEY_MAX 256
#define AWS_TOKEN_MAX 8192

struct aws_keys {
    char id[AWS_KEY_MAX], secret[AWS_KEY_MAX], token[AWS_TOKEN_MAX]; /* token "": long-lived keys */
    int64_t expires_ms; /* 0: never */
};
void aws_keys_wipe(struct aws_keys *k);
#define AWS_CLEANUP_KEYS __attribute__((cleanup(aws_keys_wipe)))

/* The chain: the environment, the shared credentials file, the container's endpoint, the instance's.  The first that has keys is
 * kept to; keys that expire are asked for again five minutes before they do, and used on while asking fails. */
struct aws_chain;
struct aws_chain *aws_chain_new(const struct assay_host *host); /* NULL: no memory */
void aws_chain_free(struct aws_chain *c);
/* ASSAY_E_CONFIG when no place has any, with all places in the message; ASSAY_E_BUSY when one should have and does not answer. */
int aws_chain_get(struct aws_chain *c, struct aws_keys *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* The service refuses the keys: they are asked for anew at the next get. */
void aws_chain_refused(struct aws_chain *c);
/* "environment", "file", "container", "instance" or "none yet". */
const char *aws_chain_source(struct aws_chain *c);

/* Reads keys of one profile out of a credentials or config file's text.  ASSAY_E_NOT_FOUND when the profile is not there or has no
 * keys; ASSAY_E_INVALID naming the line otherwise. */
int aws_profile_read(struct assay_str text, const char *profile, struct aws_keys *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* Reads what the container's and the instance's endpoints answer. ASSAY_E_CORRUPT. */
int aws_metadata_keys(struct assay_str json, struct aws_keys *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- signatures (sign.c) ---- */

struct aws_pair {
    struct assay_str name, value; /* as they are, not encoded */
};

struct aws_to_sign {
    const char *method, *region, *service;
    struct assay_str host;             /* as the Host header will have it */
    struct assay_str path;             /* as it is, not encoded; begins with '/' */
    const struct aws_pair *query;      /* any order */
    size_t n_query;
    const struct aws_pair *headers;    /* all are signed; host, x-amz-date and the token come by themselves */
    size_t n_headers;
    struct assay_str payload_sha256;   /* 64 hex digits, or UNSIGNED-PAYLOAD */
    int64_t now_ms;
};
#define AWS_UNSIGNED_PAYLOAD ASSAY_STR("UNSIGNED-PAYLOAD")
#define AWS_PRESIGN_MAX_S 604800 /* a week: the service's own bound */
#define AWS_PAIRS_MAX 24

/* Appends path and query as they must be sent, and the header lines that must be sent, each ended by NUL. */
int aws_sign(const struct aws_to_sign *r, const struct aws_keys *k, struct assay_buf *target, struct assay_buf *lines,
             struct assay_err *err) ASSAY_MUST_CHECK;
/* Appends path and query of a URL that anyone may use with the method and headers named, for expires_s seconds. */
int aws_presign(const struct aws_to_sign *r, const struct aws_keys *k, int64_t expires_s, struct assay_buf *target,
                struct assay_err *err) ASSAY_MUST_CHECK;
/* Percent-encodes all but letters, digits and -._~ (RFC 3986), and '/' too unless it is kept. */
void aws_encode(struct assay_buf *out, struct assay_str s, bool keep_slash);

/* ---- HTTP over libcurl (http.c) ---- */

struct aws_http;
struct aws_http_request {
    const char *method, *url;
    struct assay_str lines; /* header lines, each ended by NUL */
    struct assay_str body;
    int64_t timeout_ms; /* the whole exchange */
    int64_t stall_ms;   /* so long without a kilobyte either way ends it; 0: only timeout_ms */
    size_t reply_max;   /* a longer body is ASSAY_E_TOO_LARGE */
    bool no_proxy;
};
struct aws_http_reply {
    int status;
    struct assay_buf body; /* the caller frees it */
    int64_t length;        /* Content-Length, or -1 */
    int64_t date_ms;       /* Date, or 0 */
    char etag[128], request_id[128], region[64], error[128]; /* x-amz-bucket-region, x-amzn-query-error */
};
/* ca_file: "" for the system's. NULL: no memory. */
struct aws_http *aws_http_new(const char *ca_file);
void aws_http_free(struct aws_http *h);
/* Calls under way end with ASSAY_E_GONE, and so do later ones. */
void aws_http_stop(struct aws_http *h);
/* 0 when there is an answer, whatever its status. ASSAY_E_TIMEOUT, ASSAY_E_IO, ASSAY_E_TOO_LARGE, ASSAY_E_GONE, ASSAY_E_NOMEM. */
int aws_http_do(struct aws_http *h, const struct aws_http_request *rq, struct aws_http_reply *rp, struct assay_err *err)
    ASSAY_MUST_CHECK;

/* ---- calls of a service (client.c) ---- */

struct aws_client_options {
    const char *service;  /* "s3" */
    const char *region;
    const char *base;     /* "https://sqs.eu-west-1.amazonaws.com", without a path */
    const char *ca_file;
    int64_t connect_ms;
    /* Takes the service's error code and text out of an answer's body; leaves them alone when it cannot. */
    void (*explain)(struct assay_str body, char code[64], char message[256]);
    /* Told of each try: how long it took, and its HTTP status (0: none came). Or NULL. */
    void (*told)(void *arg, const char *operation, int status, double seconds);
    void *arg;
};
struct aws_client;
int aws_client_new(const struct assay_host *host, const struct aws_client_options *o, struct aws_client **out, struct assay_err *err)
    ASSAY_MUST_CHECK;
void aws_client_free(struct aws_client *c);
void aws_client_stop(struct aws_client *c);
struct aws_chain *aws_client_chain(struct aws_client *c);
const char *aws_client_host(const struct aws_client *c); /* "sqs.eu-west-1.amazonaws.com:443" as Host has it */
int64_t aws_client_skew_ms(const struct aws_client *c);  /* what is added to the clock for signatures */

struct aws_call {
    const char *operation, *method; /* "PutObject" */
    struct assay_str host;          /* "": the client's; a bucket may be in it */
    struct assay_str path;
    const struct aws_pair *query, *headers;
    size_t n_query, n_headers;
    struct assay_str body;
    const char *body_sha256;        /* hex, or NULL to have it computed */
    int64_t timeout_ms;             /* all tries and pauses together */
    int64_t try_ms;                 /* one try; 0: what is left */
    int64_t stall_ms;
    size_t reply_max;
    int tries;                      /* 0: 4 */
};
struct aws_answer {
    struct aws_http_reply http;
    char code[64], message[256]; /* the service's error, or "" */
};
void aws_answer_free(struct aws_answer *a);
#define AWS_CLEANUP_ANSWER __attribute__((cleanup(aws_answer_free)))
/* 0 for a 2xx.  ASSAY_E_NOT_FOUND (404), ASSAY_E_CONFLICT (409, 412), ASSAY_E_TOO_LARGE, ASSAY_E_FORBIDDEN (401, 403), ASSAY_E_INVALID
 * (other 4xx) for the service's last word; ASSAY_E_BUSY when it does not answer, fails or throttles for as long as we try;
 * ASSAY_E_CONFIG without keys; ASSAY_E_GONE after aws_client_stop.  a is filled as far as an answer came. */
int aws_call(struct aws_client *c, const struct aws_call *call, struct aws_answer *a, struct assay_err *err) ASSAY_MUST_CHECK;
/* A URL for anybody, see aws_presign; base "" takes the client's, host as in aws_call. */
int aws_client_presign(struct aws_client *c, const struct aws_call *call, const char *base, int64_t expires_s, struct assay_buf *out,
                       struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- what the drivers' plugin.c share ---- */

/* Rows of a driver's table of options: the core's, for all of Amazon's services; the variables are for `assay simulate`, which
 * has no core. */
#define AWS_SHARED_OPTIONS                                                                                     \
    {.name = "aws_region", .env = "AWS_REGION,AWS_DEFAULT_REGION", .type = ASSAY_OPT_STRING, .default_text = "", .help = "The core's."},               \
    {.name = "aws_endpoint_url", .env = "AWS_ENDPOINT_URL", .type = ASSAY_OPT_STRING, .default_text = "", .help = "The core's."},         \
    {.name = "aws_ca_bundle", .env = "AWS_CA_BUNDLE", .type = ASSAY_OPT_STRING, .default_text = "", .help = "The core's."}
/* Adds to the list of what is missing at a start. */
void aws_lacks(struct assay_buf *list, const char *what);
/* The same of keys, where none are configured; an endpoint for keys that does not answer now may answer later. Blocks. */
void aws_lacks_keys(const struct assay_host *h, struct assay_buf *list);
/* A metric's word for a status; 0: no answer. */
const char *aws_outcome(int status);

/* Splits "https://host[:port]" (nothing behind it but one '/'): views into url. ASSAY_E_CONFIG names the option. */
int aws_base_url(const char *option, const char *url, struct assay_str *scheme, struct assay_str *host, struct assay_err *err)
    ASSAY_MUST_CHECK;

#endif
