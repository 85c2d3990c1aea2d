/* What the two sides of the program offer each other. */

#ifndef SHARED_H
#define SHARED_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/* Ours: each runs a loop to its end. A result other than zero is an error of libuv's. */
enum role { ROLE_ECHO, ROLE_SINK, ROLE_SOURCE, ROLE_BOTH };
int uv_side_serve(uv_os_sock_t listener, int role);
int uv_side_timers(void);
int uv_side_threads(void);
void uv_side_wake(void);
void uv_side_stop(void);
int uv_side_spawn(size_t at_a_time, const char *program);
int uv_side_child_stdout(const char *program, const char *argument);
int uv_side_children(const char *program, const char *argument, size_t count);

/* The Rust side's: the sizes of the workloads, and what is told. */
/* The next timer of the plan, 0 after the last; one that is kept has a number from 0, the others have -1. */
int plan_next(uint64_t *delay_us, int64_t *number);
void plan_armed(void);
void plan_cancelled(void);
/* Whether it was the last. */
int plan_fired(int64_t number);
void threads_start(void);
void threads_run_calls(void);
int child_next(void);
void child_reaped(void);
void output_received(size_t bytes);
void output_ended(void);
const char *lines_begin(size_t child, size_t *length);
/* What follows: the rest of the line is to come, another is to be sent, or the child has no more to do. */
enum lines_answer { LINES_AWAIT, LINES_SEND, LINES_END };
int lines_received(size_t child, size_t bytes);

#endif
