/* JSON of PITs over HTTP: what may be said of one, and how it is shown. */
#include "local.h"

#define FH(name_, alias_, type_, member, has_, lo, hi)                                                                 \
    {                                                                                                                  \
        .name = (name_), .alias = (alias_), .type = (type_), .flags = ASSAY_JSON_CLEARABLE,                            \
        .offset = offsetof(struct pits_body, member), .min = (lo), .max = (hi), .has_offset = offsetof(struct pits_body, has_) \
    }
const struct assay_json_field pits_body_fields[] = {
    {.name = "id", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_SLUG, .offset = offsetof(struct pits_body, id), .min = 1, .max = 64,
     .has_offset = -1},
    {.name = "code", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_SLUG, .offset = offsetof(struct pits_body, code), .min = 1, .max = 64,
     .has_offset = -1},
    {.name = "active", .type = ASSAY_JSON_BOOL, .offset = offsetof(struct pits_body, active),
     .has_offset = offsetof(struct pits_body, has_active)},
    FH("title", NULL, ASSAY_JSON_STRING, def.title, has_title, 0, 200),
    FH("description", NULL, ASSAY_JSON_STRING, def.description, has_description, 0, 16384),
    FH("language", NULL, ASSAY_JSON_STRING, def.language, has_language, 0, 64),
    FH("buildTool", "build_tool", ASSAY_JSON_STRING, def.build_tool, has_build_tool, 0, 64),
    FH("testCommand", "test_command", ASSAY_JSON_STRING, def.test_command, has_command, 1, ASSAY_PIT_COMMAND_MAX),
    FH("maxTimeoutMs", "max_timeout_ms", ASSAY_JSON_INT, def.max_timeout_ms, has_timeout, 1000, (double)ASSAY_PIT_TIMEOUT_MAX_MS),
    FH("setupCommands", "setup_commands", ASSAY_JSON_STRINGS, def.setup_commands, has_setup, 0, ASSAY_PIT_COMMANDS_MAX),
    FH("environment", NULL, ASSAY_JSON_MAP, def.environment, has_environment, 0, 4 * ASSAY_PIT_COMMANDS_MAX),
    FH("requiredFiles", "required_files", ASSAY_JSON_STRINGS, def.required_files, has_required, 0, 4 * ASSAY_PIT_COMMANDS_MAX),
    FH("reports", NULL, ASSAY_JSON_STRINGS, def.reports, has_reports, 0, 4 * ASSAY_PIT_COMMANDS_MAX),
    {.name = NULL},
};

void pits_check(const struct pits_body *b, bool create, struct assay_json_faults *f, struct assay_arena *arena)
{
    if (b->id.n != 0 && b->code.n != 0 && !assay_str_eq(b->id, b->code))
        assay_json_fault(f, arena, "/code", "is another name of id: give one of them, or the same in both");
    if (!create && (b->id.n != 0 || b->code.n != 0))
        assay_json_fault(f, arena, b->id.n != 0 ? "/id" : "/code", "cannot be changed");
    if (assay_str_is(b->id, ASSAY_PIT_DEFAULT) || assay_str_is(b->code, ASSAY_PIT_DEFAULT))
        assay_json_fault(f, arena, "/id", "\"default\" is the file that fills what PITs leave out, and no PIT");
    if (create && b->id.n == 0 && b->code.n == 0 && b->def.title.n == 0)
        assay_json_fault(f, arena, "/title", "is required unless an id is given");
    assay_pit_check(&b->def, f, arena);
}

void pits_apply(struct pit *p, const struct pits_body *b)
{
    struct {
        bool has;
        struct assay_str *to;
        struct assay_str from;
    } text[] = {{b->has_title, &p->def.title, b->def.title},
                {b->has_description, &p->def.description, b->def.description},
                {b->has_language, &p->def.language, b->def.language},
                {b->has_build_tool, &p->def.build_tool, b->def.build_tool},
                {b->has_command, &p->def.test_command, b->def.test_command}};
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
        if (text[i].has)
            *text[i].to = text[i].from.p != NULL ? text[i].from : ASSAY_STR("");
    }
    if (b->has_timeout)
        p->def.max_timeout_ms = b->def.max_timeout_ms;
    if (b->has_setup)
        p->def.setup_commands = b->def.setup_commands;
    if (b->has_environment)
        p->def.environment = b->def.environment;
    if (b->has_required)
        p->def.required_files = b->def.required_files;
    if (b->has_reports)
        p->def.reports = b->def.reports;
    if (b->has_active)
        p->active = b->active;
}

static void knull_or_str(struct assay_jw *w, const char *key, struct assay_str s)
{
    if (s.n != 0)
        assay_jw_kstr(w, key, s);
    else
        assay_jw_kz(w, key, NULL);
}

static void strings(struct assay_jw *w, const char *key, const struct assay_strs *s)
{
    assay_jw_key(w, key);
    assay_jw_array(w);
    for (size_t i = 0; i < s->n; i++)
        assay_jw_str(w, s->items[i]);
    assay_jw_end(w);
}

void pits_write(struct assay_jw *w, const struct pit *p, bool whole)
{
    const struct assay_pit *d = &p->def;
    assay_jw_object(w);
    assay_jw_kstr(w, "id", p->id);
    assay_jw_kstr(w, "code", p->id);
    assay_jw_kstr(w, "title", d->title.n != 0 ? d->title : p->id);
    knull_or_str(w, "description", d->description);
    assay_jw_kz(w, "source", p->file ? "file" : "api");
    knull_or_str(w, "ownerId", p->owner_id);
    assay_jw_kbool(w, "active", p->active);
    knull_or_str(w, "language", d->language);
    knull_or_str(w, "buildTool", d->build_tool);
    assay_jw_kint(w, "maxTimeoutMs", d->max_timeout_ms);
    strings(w, "requiredFiles", &d->required_files);
    assay_jw_kbool(w, "hasTests", d->tests_key.n != 0);
    if (whole) {
        knull_or_str(w, "testCommand", d->test_command);
        strings(w, "setupCommands", &d->setup_commands);
        strings(w, "reports", &d->reports);
        assay_jw_key(w, "environment");
        assay_jw_object(w);
        for (size_t i = 0; i < d->environment.n; i++) {
            char key[132];
            size_t n = d->environment.items[i].key.n > 128 ? 128 : d->environment.items[i].key.n;
            memcpy(key, d->environment.items[i].key.p, n);
            key[n] = '\0';
            assay_jw_kstr(w, key, d->environment.items[i].value);
        }
        assay_jw_end(w);
        knull_or_str(w, "testsS3Key", d->tests_key);
    }
    assay_jw_ktime(w, "createdAt", p->created_ms);
    assay_jw_ktime(w, "updatedAt", p->updated_ms);
    assay_jw_end(w);
}

int pits_definition(const struct assay_pit *p, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    struct assay_buf b = ASSAY_BUF_INIT;
    assay_jw_object(w);
    assay_pit_write(w, p);
    assay_jw_end(w);
    int rc = assay_jw_finish(w, &b, err);
    *out = rc >= 0 ? assay_arena_take(arena, &b) : ASSAY_STR_NULL;
    assay_buf_free(&b);
    return rc < 0 ? rc : out->p == NULL ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : ASSAY_OK;
}
