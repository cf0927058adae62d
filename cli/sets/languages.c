/* The languages of data sets; their programs are the files below datasets/, as cli/sets/room.mk puts them together. */
#include "cli/sets/sets.h"

static const struct set_language languages[] = {
    {"python", set_python_program, set_python_prove, set_python_record, NULL},
    {"javascript", set_javascript_program, set_javascript_prove, set_javascript_record, NULL},
    {"cpp", set_cpp_program, set_cpp_prove, set_cpp_record, set_compose_cpp},
    {"go", set_go_program, set_go_prove, set_go_record, set_compose_go},
    {"java", set_java_program, set_java_prove, set_java_record, set_compose_java},
};

const char *set_text(const struct set_language *l, const json_t *task, const char *which)
{
    const char *own = json_string_value(json_object_get(json_object_get(task, "sources"), which));

    if (own != NULL)
        return own;
    return strcmp(which, "record") == 0 ? l->record : strcmp(which, "prove") == 0 ? l->prove : l->program;
}

const struct set_language *set_language_find(const char *name)
{
    for (size_t i = 0; i < sizeof(languages) / sizeof(languages[0]); i++)
        if (strcmp(languages[i].name, name) == 0)
            return &languages[i];
    return NULL;
}
