/*
 * One real warden for all the tests of a program, as in production: what a test leaves behind makes the next one fail.
 * The tests say what to run by words to the program under tests/boxes.
 *
 * Include <cmocka.h> and what it needs first.
 */
#ifndef BOX_RIG_H
#define BOX_RIG_H

#include "warden_fixture.h"

#define MIB (INT64_C(1) << 20)

extern struct fixture fx;
extern struct assay_str program;        /* what boxes get as "prog" */
extern struct assay_buf out, errout;    /* of the last run */
extern struct assay_box_outcome oc;

struct ask {
    struct assay_str argv[32];
    struct assay_box_file file;
    struct assay_box_spec spec;
};

/* "prog" and the words, in a box of 1 s, 64 MiB and 1 MiB of output. */
void ask_words(struct ask *a, const char *words);
void run_spec(const struct assay_box_spec *spec);
void run(struct ask *a);
void run_words(const char *words);
bool said(const char *text);
void assert_said(const char *text);
void assert_end(enum assay_box_end end);
/* After each misdeed an honest program must find everything as it was. */
void assert_honest_next(void);

/* extra: the warden's options, ended by NULL. program_path: what becomes `program`. */
int rig_open(const char *mode, const char *const *extra, const char *program_path, bool leaf, bool ordinary);
int rig_close(void **state); /* 0: the warden ended well and left nothing */

#endif
