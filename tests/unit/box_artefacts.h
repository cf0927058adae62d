/* Tests of box_artefacts.c, for the list of box_test.c. */
#ifndef BOX_ARTEFACTS_H
#define BOX_ARTEFACTS_H

void artefact_goes_round(void **state);
void artefact_name_is_canonical(void **state);
void tools_are_found(void **state);
void artefacts_travel(void **state);
void bad_artefacts_are_refused(void **state);
void collect_refuses(void **state);
void store_forgets_the_oldest(void **state);

#endif
