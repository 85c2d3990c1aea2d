/* The interface for peers in C and C++: it counts, decides what to do next, and reports results. */

#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The behaviour of all connections of a server. */
enum role { ROLE_ECHO, ROLE_SINK, ROLE_SOURCE, ROLE_BOTH };

/* Gets the next timer of the plan; returns 0 after the last one. A timer that shall fire has a number from 0 on; one to
 * cancel has the number -1. */
int plan_next(uint64_t *delay_us, int64_t *number);
void plan_armed(void);
void plan_cancelled(void);
/* Notes that a timer has fired; returns whether it was the last one. */
int plan_fired(int64_t number);
/* Returns whether to spawn another child. */
int child_next(void);
void child_reaped(void);
void output_received(size_t bytes);
void output_ended(void);
/* Notes that the first line is sent to a child; returns the text of all lines. */
const char *lines_begin(size_t child, size_t *length);
/* Notes data from a child; returns whether to send it another line. */
int lines_received(size_t child, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
