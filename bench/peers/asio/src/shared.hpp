// The interface between the C++ side and the Rust side.

#pragma once

#include "bench.h"

extern "C" {

// The C++ side. Each function runs a loop to its end. An exception ends the program.
void asio_side_serve(int listener, int role) noexcept;
void asio_side_timers() noexcept;
void asio_side_threads() noexcept;
void asio_side_post(void *call) noexcept;
void asio_side_stop() noexcept;
void asio_side_spawn(size_t at_a_time, const char *program) noexcept;
void asio_side_child_stdout(const char *program, const char *argument) noexcept;
void asio_side_children(const char *program, const char *argument, size_t count) noexcept;

// The Rust side, in addition to `bench.h`.
void threads_start();
void call_run(void *call);
}
