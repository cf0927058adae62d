/* What the files of the leaderboard's routes share. */
#ifndef LEADERBOARD_HTTP_H
#define LEADERBOARD_HTTP_H

#include "local.h"

/* A board that may be read, as the viewer sees it. */
struct lb_shown {
    struct lb_benchmark b;
    struct assay_str board; /* the benchmark's id, or that of its frozen board */
    int64_t until_ms;       /* what was submitted from then on is not seen; INT64_MAX: all is */
    bool scores, frozen;
    bool problems, metrics; /* what is asked for with each row */
};
/* ASSAY_E_NOT_FOUND for what the viewer may not see; reads the query parameter "view". */
int lb_admit(const struct leaderboard *s, struct assay_request *rq, struct assay_response *rs, const struct lb_viewer *v,
             struct assay_str id, struct lb_shown *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* A query parameter that is an id; p == NULL when absent. */
int lb_id_param(struct assay_request *rq, struct assay_response *rs, const char *name, struct assay_str *out,
                struct assay_err *err) ASSAY_MUST_CHECK;

#endif
