/* Problem documents: one writer for every error that leaves the gateway. */
#include "problem.h"

#include <stdio.h>
#include <stdlib.h>

struct status_row {
    int status;
    const char *text;
    const char *word;
};

/* RFC 9110 and RFC 6585; the words are those of assay_err_word() where both exist */
static const struct status_row statuses[] = {
    {200, "OK", NULL},
    {201, "Created", NULL},
    {202, "Accepted", NULL},
    {204, "No Content", NULL},
    {206, "Partial Content", NULL},
    {301, "Moved Permanently", NULL},
    {302, "Found", NULL},
    {303, "See Other", NULL},
    {304, "Not Modified", NULL},
    {307, "Temporary Redirect", NULL},
    {308, "Permanent Redirect", NULL},
    {400, "Bad Request", "invalid"},
    {401, "Unauthorized", "unauthenticated"},
    {403, "Forbidden", "forbidden"},
    {404, "Not Found", "not_found"},
    {405, "Method Not Allowed", "method_not_allowed"},
    {406, "Not Acceptable", "not_acceptable"},
    {408, "Request Timeout", "request_timeout"},
    {409, "Conflict", "conflict"},
    {410, "Gone", "gone"},
    {411, "Length Required", "length_required"},
    {412, "Precondition Failed", "precondition_failed"},
    {413, "Content Too Large", "too_large"},
    {414, "URI Too Long", "uri_too_long"},
    {415, "Unsupported Media Type", "unsupported_media_type"},
    {416, "Range Not Satisfiable", "range_not_satisfiable"},
    {417, "Expectation Failed", "expectation_failed"},
    {422, "Unprocessable Content", "unprocessable"},
    {425, "Too Early", "too_early"},
    {428, "Precondition Required", "precondition_required"},
    {429, "Too Many Requests", "rate_limited"},
    {431, "Request Header Fields Too Large", "headers_too_large"},
    {500, "Internal Server Error", "internal"},
    {501, "Not Implemented", "not_implemented"},
    {502, "Bad Gateway", "bad_gateway"},
    {503, "Service Unavailable", "busy"},
    {504, "Gateway Timeout", "timeout"},
    {505, "HTTP Version Not Supported", "version_not_supported"},
    {507, "Insufficient Storage", "full"},
};

static const struct status_row *find(int status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (statuses[i].status == status)
            return &statuses[i];
    return NULL;
}

const char *assay_status_text(int status)
{
    const struct status_row *row = find(status);
    return row ? row->text : "";
}

bool assay_problem_public(int code)
{
    return code > ASSAY_E_NOMEM;
}

size_t assay_problem_bare(int status, const char *word, char out[ASSAY_PROBLEM_BARE])
{
    const struct status_row *row = find(status);
    /* titles and words are ours: none is longer than 40 bytes, none needs escaping */
    int n = snprintf(out, ASSAY_PROBLEM_BARE, "{\"type\":\"urn:assay:problem:%.40s\",\"title\":\"%.40s\",\"status\":%d}",
                     word ? word : row && row->word ? row->word : "error", row ? row->text : "Error", status);
    return n > 0 ? (size_t)n : 0;
}

int assay_problem_write(const struct assay_problem *p, struct assay_buf *out, struct assay_err *err)
{
    const struct status_row *row = find(p->status);
    const char *word = p->word ? p->word : row && row->word ? row->word : "error";
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (!w)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a problem document");
    ASSAY_CLEANUP_BUF struct assay_buf type = ASSAY_BUF_INIT;
    assay_buf_puts(&type, "urn:assay:problem:");
    assay_buf_puts(&type, word);
    if (type.failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a problem document");
    assay_jw_object(w);
    assay_jw_kstr(w, "type", assay_buf_view(&type));
    assay_jw_kz(w, "title", row ? row->text : "Error");
    assay_jw_kint(w, "status", p->status);
    if (p->detail.n)
        assay_jw_kstr(w, "detail", p->detail);
    if (p->instance.n)
        assay_jw_kstr(w, "instance", p->instance);
    if (p->request_id.n)
        assay_jw_kstr(w, "request_id", p->request_id);
    if (p->faults && p->faults->n) {
        assay_jw_key(w, "errors");
        assay_jw_array(w);
        for (size_t i = 0; i < p->faults->n; i++) {
            assay_jw_object(w);
            assay_jw_kstr(w, "pointer", p->faults->item[i].pointer);
            assay_jw_kstr(w, "detail", p->faults->item[i].detail);
            assay_jw_end(w);
        }
        assay_jw_end(w);
    }
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}
