/* YAML files of a package, as a tree that knows its lines. libyaml stays inside. */
#include "package.h"

#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

struct yaml {
    yaml_document_t document;
    char file[PACKAGE_PATH_MAX + 1];
    bool empty;
};

struct yaml *yaml_load(struct package *p, const struct package_file *file)
{
    struct yaml *y = calloc(1, sizeof *y);
    yaml_parser_t parser;
    if (y == NULL || !yaml_parser_initialize(&parser)) {
        free(y);
        p->no_memory = true;
        return NULL;
    }
    (void)snprintf(y->file, sizeof y->file, "%.*s", ASSAY_FMT(file->path));
    yaml_parser_set_input_string(&parser, (const unsigned char *)file->bytes.p, file->bytes.n);
    bool ok = yaml_parser_load(&parser, &y->document) != 0;
    if (!ok && parser.problem == NULL) /* the parser says what is wrong with a file, and not always that there was no memory */
        p->no_memory = true;
    else if (!ok)
        package_fault(p, y->file, (int64_t)parser.problem_mark.line + 1, "%s", parser.problem);
    yaml_parser_delete(&parser);
    if (!ok) {
        free(y);
        return NULL;
    }
    y->empty = yaml_document_get_root_node(&y->document) == NULL;
    if (!y->empty && yaml_kind(yaml_root(y)) != YAML_MAP) {
        package_fault(p, y->file, yaml_line(yaml_root(y)), "must be a mapping of names to values");
        yaml_free(y);
        return NULL;
    }
    return y;
}

void yaml_free(struct yaml *y)
{
    if (y == NULL)
        return;
    yaml_document_delete(&y->document);
    free(y);
}

static yaml_node_t *node_of(struct yaml_at at)
{
    return at.node > 0 ? yaml_document_get_node(&at.y->document, at.node) : NULL;
}

struct yaml_at yaml_root(struct yaml *y)
{
    return (struct yaml_at){y, y->empty ? 0 : 1};
}

enum yaml_kind yaml_kind(struct yaml_at at)
{
    const yaml_node_t *n = node_of(at);
    if (n == NULL)
        return YAML_NOTHING;
    return n->type == YAML_SCALAR_NODE ? YAML_TEXT : n->type == YAML_SEQUENCE_NODE ? YAML_LIST : YAML_MAP;
}

int64_t yaml_line(struct yaml_at at)
{
    const yaml_node_t *n = node_of(at);
    return n != NULL ? (int64_t)n->start_mark.line + 1 : 0;
}

struct assay_str yaml_text(struct yaml_at at)
{
    const yaml_node_t *n = node_of(at);
    if (n == NULL || n->type != YAML_SCALAR_NODE)
        return ASSAY_STR("");
    return (struct assay_str){(const char *)n->data.scalar.value, n->data.scalar.length};
}

static bool is_null(struct yaml_at at)
{
    const yaml_node_t *n = node_of(at);
    struct assay_str s = yaml_text(at);
    return n != NULL && n->type == YAML_SCALAR_NODE && n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (s.n == 0 || assay_str_is(s, "~") || assay_str_is(s, "null"));
}

size_t yaml_count(struct yaml_at at)
{
    const yaml_node_t *n = node_of(at);
    if (n != NULL && n->type == YAML_SEQUENCE_NODE)
        return (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
    if (n != NULL && n->type == YAML_MAPPING_NODE)
        return (size_t)(n->data.mapping.pairs.top - n->data.mapping.pairs.start);
    return 0;
}

struct yaml_at yaml_item(struct yaml_at list, size_t i)
{
    const yaml_node_t *n = node_of(list);
    bool there = n != NULL && n->type == YAML_SEQUENCE_NODE && i < yaml_count(list);
    return (struct yaml_at){list.y, there ? n->data.sequence.items.start[i] : 0};
}

struct assay_str yaml_key(struct yaml_at map, size_t i, struct yaml_at *value)
{
    const yaml_node_t *n = node_of(map);
    *value = (struct yaml_at){map.y, 0};
    if (n == NULL || n->type != YAML_MAPPING_NODE || i >= yaml_count(map))
        return ASSAY_STR("");
    value->node = n->data.mapping.pairs.start[i].value;
    return yaml_text((struct yaml_at){map.y, n->data.mapping.pairs.start[i].key});
}

struct yaml_at yaml_get(struct yaml_at map, const char *key)
{
    for (size_t i = 0; i < yaml_count(map); i++) {
        struct yaml_at value;
        if (yaml_kind(map) == YAML_MAP && assay_str_is(yaml_key(map, i, &value), key))
            return is_null(value) ? (struct yaml_at){map.y, 0} : value;
    }
    return (struct yaml_at){map.y, 0};
}

const char *yaml_file(struct yaml_at at)
{
    return at.y->file;
}
