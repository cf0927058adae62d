#include "local.h"

static bool is_person(const struct assay_principal *who)
{
    return who->authenticated && who->agent_id.n == 0;
}

bool pits_may_change(const struct pit *p, const struct assay_principal *who)
{
    return is_person(who) && (assay_is_admin(who) || (!p->file && assay_str_eq(p->owner_id, who->user_id)));
}

/* The tests of a file's PIT are any instructor's: it is nobody's own. */
bool pits_may_put_tests(const struct pit *p, const struct assay_principal *who)
{
    return is_person(who) && assay_is_staff(who) && (p->file || pits_may_change(p, who));
}

bool pits_sees_all(const struct pit *p, const struct assay_principal *who)
{
    return is_person(who) && (assay_is_staff(who) || pits_may_change(p, who));
}

bool pits_is_zip(struct assay_str b)
{
    return b.n >= 22 && b.p[0] == 'P' && b.p[1] == 'K' && ((b.p[2] == 3 && b.p[3] == 4) || (b.p[2] == 5 && b.p[3] == 6));
}
