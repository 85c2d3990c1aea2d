/* The interface between the C side and the Rust side. */

#ifndef SHARED_H
#define SHARED_H

#include "bench.h"

#include <uv.h>

/* The C side. Each function runs a loop to its end. A result other than zero is an error code of libuv. */
int uv_side_serve(uv_os_sock_t listener, int role);
int uv_side_serve_unix(const char *path, int role);
int uv_side_udp_echo(const uv_os_sock_t *sockets, size_t count);
int uv_side_pipe_echo(const char *name);
int uv_side_timers(void);
int uv_side_threads(void);
void uv_side_wake(void);
void uv_side_stop(void);
int uv_side_spawn(size_t at_a_time, const char *program);
int uv_side_child_stdout(const char *program, const char *argument);
int uv_side_children(const char *program, const char *argument, size_t count);

/* The Rust side, in addition to `bench.h`. */
void threads_start(void);
void threads_run_calls(void);
/* Reports that the server listens on its UNIX socket. */
void listening(void);
/* Starts the clients of the pipe. */
void pipe_exists(void);
/* Counts received bytes, and ends the process after the last. */
void echoed(size_t bytes);

#endif
