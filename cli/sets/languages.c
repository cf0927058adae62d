/* The languages of data sets; their programs are the files below datasets/, as cli/sets/room.mk puts them together. */
#include "cli/sets/sets.h"

static const struct set_language languages[] = {
    {"python", set_python_program, set_python_prove, set_python_record},
    {"javascript", set_javascript_program, set_javascript_prove, set_javascript_record},
};

const struct set_language *set_language_find(const char *name)
{
    for (size_t i = 0; i < sizeof(languages) / sizeof(languages[0]); i++)
        if (strcmp(languages[i].name, name) == 0)
            return &languages[i];
    return NULL;
}
