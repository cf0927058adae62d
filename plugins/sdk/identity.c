/* Role names. */
#include <assay/identity.h>
#include <assay/plugin.h>

static const struct {
    uint32_t role;
    const char *name;
} roles[] = {
    {ASSAY_ROLE_VIEWER, "viewer"},         {ASSAY_ROLE_AGENT, "agent"}, {ASSAY_ROLE_USER, "user"},
    {ASSAY_ROLE_INSTRUCTOR, "instructor"}, {ASSAY_ROLE_ADMIN, "admin"},
};

uint32_t assay_role_parse(struct assay_str name)
{
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (assay_str_is(name, roles[i].name))
            return roles[i].role;
    return 0;
}

const char *assay_role_name(uint32_t role)
{
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (roles[i].role == role)
            return roles[i].name;
    return "none";
}
