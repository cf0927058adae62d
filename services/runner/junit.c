/*
 * JUnit XML, read by libexpat in one piece.
 *
 * State: how deep we are, and at which depth the case began that we are in (0: none). Of a case, name, class and the first
 * failure's message are kept until its end. Failures of cases that are reported inside a case (nobody does that) belong to the outer one.
 */
#include "junit.h"

#include <expat.h>

struct reading {
    XML_Parser parser;
    struct report *sum;
    int depth, at_case, at_failure;
    bool failed, error, skipped; /* of the case */
    char name[sizeof(((struct report_failure *)NULL)->name)];
    char message[sizeof(((struct report_failure *)NULL)->message)];
    struct assay_buf text; /* of the failure that we are in, when it has no message */
    int rc;
    const char *why;
};

static void stop(struct reading *r, int rc, const char *why)
{
    if (r->rc != 0)
        return;
    r->rc = rc;
    r->why = why;
    (void)XML_StopParser(r->parser, XML_FALSE);
}

static const char *attribute(const XML_Char **attributes, const char *name)
{
    for (size_t i = 0; attributes[i] != NULL; i += 2)
        if (strcmp(attributes[i], name) == 0)
            return attributes[i + 1];
    return "";
}

static bool one_of(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

static void begin_case(struct reading *r, const XML_Char **attributes)
{
    const char *name = attribute(attributes, "name"), *class = attribute(attributes, "classname");
    ASSAY_CLEANUP_BUF struct assay_buf whole = ASSAY_BUF_INIT;
    r->at_case = r->depth;
    r->at_failure = 0;
    r->failed = r->error = false;
    r->skipped = one_of(attribute(attributes, "status"), "disabled", "notrun") ||
                 one_of(attribute(attributes, "result"), "skipped", "suppressed");
    r->message[0] = '\0';
    assay_buf_puts(&whole, class);
    if (class[0] != '\0' && name[0] != '\0')
        assay_buf_putc(&whole, '.');
    assay_buf_puts(&whole, name);
    if (whole.failed)
        stop(r, ASSAY_E_NOMEM, "no memory");
    else
        report_line(r->name, sizeof r->name, assay_buf_view(&whole));
}

static void end_case(struct reading *r)
{
    struct report *sum = r->sum;
    r->at_case = r->at_failure = 0;
    if (sum->total >= REPORT_TESTS_MAX) {
        stop(r, ASSAY_E_INVALID, "it has too many cases");
        return;
    }
    sum->total++;
    if (!r->failed) {
        sum->skipped += r->skipped;
        sum->passed += !r->skipped;
        return;
    }
    sum->failed++;
    if (sum->n_failures == REPORT_FAILURES_MAX)
        return;
    struct report_failure *f = &sum->failure[sum->n_failures++];
    memcpy(f->name, r->name, sizeof f->name);
    memcpy(f->message, r->message, sizeof f->message);
    f->error = r->error;
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct reading *r = arg;
    r->depth++;
    if (r->rc != 0)
        return;
    if (r->depth > JUNIT_DEPTH_MAX) {
        stop(r, ASSAY_E_INVALID, "its elements are nested too deep");
    } else if (r->depth == 1 && !one_of(name, "testsuites", "testsuite")) {
        stop(r, ASSAY_E_UNSUPPORTED, "it is not a JUnit report");
    } else if (r->at_case == 0) {
        if (r->depth > 1 && strcmp(name, "testcase") == 0)
            begin_case(r, attributes);
    } else if (r->depth == r->at_case + 1) {
        bool error = strcmp(name, "error") == 0;
        if (strcmp(name, "skipped") == 0)
            r->skipped = true;
        if (!error && strcmp(name, "failure") != 0)
            return;
        if (!r->failed) {
            r->error = error;
            report_line(r->message, sizeof r->message, assay_str(attribute(attributes, "message")));
            if (r->message[0] == '\0')
                r->at_failure = r->depth;
            assay_buf_reset(&r->text);
        }
        r->failed = true;
    }
}

static void on_text(void *arg, const XML_Char *p, int n)
{
    struct reading *r = arg;
    if (r->at_failure == 0 || r->rc != 0)
        return;
    if (r->text.n < 4 * sizeof r->message) /* the beginning is enough */
        assay_buf_add(&r->text, p, (size_t)n);
    if (r->text.failed)
        stop(r, ASSAY_E_NOMEM, "no memory");
}

static void on_end(void *arg, const XML_Char *name)
{
    struct reading *r = arg;
    (void)name;
    if (r->rc == 0 && r->depth == r->at_failure) {
        report_line(r->message, sizeof r->message, assay_buf_view(&r->text));
        r->at_failure = 0;
    }
    if (r->rc == 0 && r->depth == r->at_case)
        end_case(r);
    r->depth--;
}

static void on_doctype(void *arg, const XML_Char *name, const XML_Char *system, const XML_Char *public_id, int internal)
{
    (void)name, (void)system, (void)public_id, (void)internal;
    stop(arg, ASSAY_E_INVALID, "it has a document type, which is not taken");
}

int junit_read(struct assay_str xml, struct report *sum, struct assay_err *err)
{
    struct report added = *sum;
    struct reading r = {.sum = &added};
    if (xml.n > JUNIT_BYTES_MAX)
        return assay_err_set(err, ASSAY_E_INVALID, "a report has more than %zu bytes", JUNIT_BYTES_MAX);
    r.parser = XML_ParserCreate(NULL);
    if (r.parser == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to read a report");
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_start, on_end);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    bool good = XML_Parse(r.parser, xml.n > 0 ? xml.p : "", (int)xml.n, 1) == XML_STATUS_OK && r.rc == 0;
    enum XML_Error code = XML_GetErrorCode(r.parser);
    unsigned long line = XML_GetCurrentLineNumber(r.parser);
    XML_ParserFree(r.parser);
    assay_buf_free(&r.text);
    if (good) {
        *sum = added;
        return 0;
    }
    if (r.rc == 0 && code == XML_ERROR_NO_MEMORY)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to read a report");
    if (r.rc == 0)
        return assay_err_set(err, ASSAY_E_INVALID, "a report is not sound XML: %s (line %lu)", XML_ErrorString(code), line);
    return assay_err_set(err, r.rc, "a report is not taken: %s (line %lu)", r.why, line);
}
