/*
 * Whose turn it is.
 *
 * Theory of operation.  What waits stands in lines: one for each benchmark, and one for all that has none.  Rejudges stand in
 * lines of their own, of a second class, which have turns when no line of the first class waits.  Within a class the lines are served
 * by start-time fair queueing (Goyal, Vin and Cheng, 1996), each turn one submission long and a benchmark's priority its weight:
 *
 *     - each line has a pass, the start tag of its next turn; the line with the least has the turn, of equals the first by id
 *     - the turn moves the pass on by TURNS_SCALE / priority
 *     - the clock of the class is the tag of its latest turn; a line that begins to wait takes its pass or the clock, whichever is later
 *     - what a runner gave back or lost is the first of its line, and moves that line back by the turn that came to nothing, but not
 *       before the clock: so it is among the next, and a hundred lost at once are not a hundred turns in a row
 *
 * So of two lines that both wait, one of priority p and one of priority q have turns as p to q, whatever the others do, and neither
 * ever falls behind by more than one turn of its own and one of the other's; equals alternate.  A line that did not wait saves up
 * nothing, and what it had before is not held against it.  Whoever comes to an idle line waits for at most one turn of each line
 * of the same priority, and for q / p of one whose priority is q, rounded up: however many stand in the others.
 *
 * Within a line submitters take turns by the rounds that their rows are given when they are queued (DUE in repo_turns.h).
 *
 * The rule is SQL over two small tables (repo_turns.c, migration 9), so it holds for every runner, lease and gateway alike and
 * a restart changes nothing.  What is here is its arithmetic, for telling how the queue will go on (`position`).
 */
#ifndef SUBMISSIONS_TURNS_H
#define SUBMISSIONS_TURNS_H

#include <stddef.h>
#include <stdint.h>

/* 16 * 9 * 25 * 7 * 11 * 13: whole for most priorities, and 2e12 turns of the least one do not overflow. */
#define TURNS_SCALE 3603600

struct turn_line {
    int64_t class, pass, priority;
    int64_t waiting; /* rows, as far as is known */
};

/* The line whose turn it is, or n when none waits. Of equals the first. */
size_t turns_next(const struct turn_line *line, size_t n);
/* It has had its turn, of one row. */
void turns_served(struct turn_line *line);
/* It begins to wait, when its class's latest turn had that tag. */
void turns_begin(struct turn_line *line, int64_t clock);

#endif
