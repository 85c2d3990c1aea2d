/* What the peers in C and C++ call: the sizes of the workloads, and what is told. */

#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What all connections of a server do. */
enum role { ROLE_ECHO, ROLE_SINK, ROLE_SOURCE, ROLE_BOTH };

/* The next timer of the plan, 0 after the last; one that is kept has a number from 0, the others have -1. */
int plan_next(uint64_t *delay_us, int64_t *number);
void plan_armed(void);
void plan_cancelled(void);
/* Whether it was the last. */
int plan_fired(int64_t number);
/* Whether another child is to be spawned. */
int child_next(void);
void child_reaped(void);
void output_received(size_t bytes);
void output_ended(void);
/* The first line of a child is sent; this is what all lines are. */
const char *lines_begin(size_t child, size_t *length);
/* What follows: the rest of the line is to come, another is to be sent, or the child has no more to do. */
enum lines_answer { LINES_AWAIT, LINES_SEND, LINES_END };
int lines_received(size_t child, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
