/*
 * llhttp, compiled from the sources that the system ships (configure's LLHTTP_SRC): its state machine.
 * llhttp_api.c holds the rest; the two declare one another's functions differently, hence two units.
 *
 * The shared library of the distributions is built loose: it takes forms that request smuggling is made
 * of.  These units are compiled with -DLLHTTP_STRICT_MODE=1, and assay_front_parser_probe() makes sure at
 * start that they really were.  No warning flags of ours: the sources are generated, not ours to mend.
 */
#include <llhttp.c>
