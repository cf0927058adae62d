#include "turns.h"

size_t turns_next(const struct turn_line *line, size_t n)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
        if (line[i].waiting <= 0)
            continue;
        if (best == n || line[i].class < line[best].class || (line[i].class == line[best].class && line[i].pass < line[best].pass))
            best = i;
    }
    return best;
}

void turns_served(struct turn_line *line)
{
    line->pass += TURNS_SCALE / line->priority;
    line->waiting--;
}

void turns_begin(struct turn_line *line, int64_t clock)
{
    if (line->pass < clock)
        line->pass = clock;
}
