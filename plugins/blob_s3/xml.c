/*
 * S3's answers: XML, read by libexpat into (path, text) pairs.
 *
 * No document type is taken (so there are no entities of somebody's own), depth and length have bounds, and nothing of a
 * document is believed before all of it was read.
 */
#include "local.h"

#include <expat.h>
#include <stdlib.h>

#define DEPTH_MAX 16
#define PATH_MAX_BYTES 512
#define TEXT_MAX ((size_t)64 << 10)

struct reading {
    XML_Parser parser;
    bs_leaf leaf;
    void *arg;
    char path[PATH_MAX_BYTES];
    size_t at[DEPTH_MAX]; /* where the path ended before each element */
    int depth;
    bool has_child[DEPTH_MAX + 1], bad;
    struct assay_buf text;
};

static void stop(struct reading *r)
{
    r->bad = true;
    (void)XML_StopParser(r->parser, XML_FALSE);
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct reading *r = arg;
    size_t used = strlen(r->path), n = strlen(name);
    (void)attributes;
    if (r->depth == DEPTH_MAX || used + n + 2 > sizeof r->path) {
        stop(r);
        return;
    }
    r->at[r->depth] = used;
    r->has_child[r->depth] = true;
    r->depth++;
    r->has_child[r->depth] = false;
    (void)snprintf(r->path + used, sizeof r->path - used, "%s%s", used > 0 ? "/" : "", name);
    assay_buf_reset(&r->text);
}

static void on_text(void *arg, const XML_Char *p, int n)
{
    struct reading *r = arg;
    assay_buf_add(&r->text, p, (size_t)n);
    if (r->text.failed)
        stop(r);
}

static void on_end(void *arg, const XML_Char *name)
{
    struct reading *r = arg;
    (void)name;
    struct assay_str text = r->has_child[r->depth] ? ASSAY_STR_NULL : r->text.n > 0 ? assay_buf_view(&r->text) : ASSAY_STR("");
    if (!r->leaf(r->arg, r->path, text))
        stop(r);
    r->depth--;
    r->path[r->at[r->depth]] = '\0';
    assay_buf_reset(&r->text);
}

static void on_doctype(void *arg, const XML_Char *name, const XML_Char *system, const XML_Char *public_id, int internal)
{
    (void)name, (void)system, (void)public_id, (void)internal;
    stop(arg);
}

int bs_xml_read(struct assay_str xml, bs_leaf leaf, void *arg, struct assay_err *err)
{
    struct reading r = {.leaf = leaf, .arg = arg};
    /* white space keeps a connection open while S3 puts an object together, and may come before the XML begins */
    while (xml.n > 0 && strchr(" \t\r\n", xml.p[0]) != NULL && xml.p[0] != '\0')
        xml.p++, xml.n--;
    if (xml.n > BS_ANSWER_MAX)
        return assay_err_set(err, ASSAY_E_CORRUPT, "the XML has more than %zu bytes", BS_ANSWER_MAX);
    r.parser = XML_ParserCreate(NULL);
    if (r.parser == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to read XML");
    assay_buf_init(&r.text, TEXT_MAX);
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_start, on_end);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    bool good = XML_Parse(r.parser, xml.n > 0 ? xml.p : "", (int)xml.n, 1) == XML_STATUS_OK && !r.bad;
    int rc = good ? 0 : assay_err_set(err, ASSAY_E_CORRUPT, "the answer is not the XML that is expected (line %lu)",
                                      (unsigned long)XML_GetCurrentLineNumber(r.parser));
    XML_ParserFree(r.parser);
    assay_buf_free(&r.text);
    return rc;
}

struct wanted {
    const char *path;
    char *out;
    size_t room;
    bool found, long_;
};

static bool take(void *arg, const char *path, struct assay_str text)
{
    struct wanted *w = arg;
    if (text.p == NULL || w->found || strcmp(path, w->path) != 0)
        return true;
    if (text.n == 0 || text.n >= w->room) {
        w->long_ = true;
        return false;
    }
    memcpy(w->out, text.p, text.n);
    w->out[text.n] = '\0';
    w->found = true;
    return true;
}

int bs_xml_text(struct assay_str xml, const char *path, char *out, size_t room, struct assay_err *err)
{
    struct wanted w = {.path = path, .out = out, .room = room};
    int rc = bs_xml_read(xml, take, &w, err);
    if (rc == ASSAY_E_NOMEM)
        return rc;
    if (rc != 0 || !w.found)
        return assay_err_set(err, ASSAY_E_CORRUPT, "the answer has no %s that could be one", path);
    return 0;
}

static void printable(char *z)
{
    for (; *z != '\0'; z++)
        if (*z < ' ' || *z == 127)
            *z = ' ';
}

void bs_explain(struct assay_str body, char code[64], char message[256])
{
    if (bs_xml_text(body, "Error/Code", code, 64, NULL) != 0)
        code[0] = '\0';
    if (bs_xml_text(body, "Error/Message", message, 256, NULL) != 0)
        message[0] = '\0';
    printable(code);
    printable(message);
}
