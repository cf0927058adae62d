/*
 * The pages that a browser gets: the dashboard and Swagger UI, as `make dashboard` built them.
 *
 * They are read once, at the start, from the folder www of share_dir, and answered from memory: a request's path is
 * only ever compared with the names that were found, so no path reaches the file system.  Beside NAME may stand
 * NAME.gz and NAME.br, the same compressed at build time.  Immutable after assay_pages_load(), so any thread may
 * answer.
 */
#ifndef ASSAY_GATEWAY_PAGES_H
#define ASSAY_GATEWAY_PAGES_H

#include <assay/http.h>

struct assay_pages;

/* Reads dir/index.html and the files of dir/ui and dir/swagger.  ASSAY_E_NOT_FOUND when there is no index.html (the
 * pages were not built); ASSAY_E_TOO_LARGE over PAGES_MAX; ASSAY_E_CONFIG for what cannot be read. */
int assay_pages_load(const char *dir, struct assay_pages **ret, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_pages_free(struct assay_pages *p); /* NULL is fine */
size_t assay_pages_count(const struct assay_pages *p);

/* Answers with folder/name (folder "": the top), in the encoding that the request likes best: the headers into *rs, the
 * body as *bytes, which live as long as p.  ASSAY_E_NOT_FOUND. */
int assay_pages_answer(const struct assay_pages *p, const char *folder, struct assay_str name, struct assay_request *rq,
                       struct assay_response *rs, struct assay_str *bytes, struct assay_err *err) ASSAY_MUST_CHECK;

/* Whether a request would rather have a page for people than JSON (its Accept names text/html). */
bool assay_pages_wanted(const struct assay_request *rq);

/* The headers that every page for people carries beside those of every answer, also one that was not built. */
void assay_pages_harden(struct assay_response *rs, const char *folder);

#endif
