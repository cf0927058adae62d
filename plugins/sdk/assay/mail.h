/*
 * Mail: a driver (kind ASSAY_PLUGIN_MAIL, named mail_<name>) hands short texts to people.  It knows how they travel and nothing
 * of what they say.  Services reach it through assay_host.mail.
 *
 * Threads: send may be called from any thread that may block; it ends within the driver's own deadline.
 */
#ifndef ASSAY_MAIL_H
#define ASSAY_MAIL_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

struct assay_letter {
    struct assay_str to;      /* one address, as auth takes them; a control character is refused */
    struct assay_str subject; /* ASCII, one line */
    struct assay_str text;    /* UTF-8, lines ended by \n */
};

/* Driver operations. Read a member only if size covers it. */
struct assay_mail_ops {
    uint32_t size;
    /* 0: the next server has taken it. ASSAY_E_INVALID: nobody will ever take it; any other error: not now. */
    int (*send)(void *self, const struct assay_letter *mail, struct assay_err *err);
};

#ifdef __cplusplus
}
#endif
#endif
