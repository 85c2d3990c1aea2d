/* Child processes. */

#include "shared.h"

#include <stdlib.h>
#include <uv.h>

static const char *brief;

static int spawn_next(uv_loop_t *loop);

static void brief_closed(uv_handle_t *handle)
{
    free(handle);
}

static void brief_exited(uv_process_t *process, int64_t status, int signal)
{
    (void)status;
    (void)signal;
    uv_loop_t *loop = process->loop;
    child_reaped();
    uv_close((uv_handle_t *)process, brief_closed);
    if (spawn_next(loop) < 0)
        abort();
}

static int spawn_next(uv_loop_t *loop)
{
    if (!child_next())
        return 0;
    uv_process_t *process = malloc(sizeof *process);
    char *arguments[] = {(char *)brief, NULL};
    uv_stdio_container_t stdio[3];
    for (int number = 0; number < 3; number++) {
        stdio[number].flags = UV_INHERIT_FD;
        stdio[number].data.fd = number;
    }
    uv_process_options_t options = {
        .file = brief,
        .args = arguments,
        .exit_cb = brief_exited,
        .stdio = stdio,
        .stdio_count = 3,
    };
    return process ? uv_spawn(loop, process, &options) : UV_ENOMEM;
}

int uv_side_spawn(size_t at_a_time, const char *program)
{
    uv_loop_t *loop = uv_default_loop();
    brief = program;
    for (size_t count = 0; count < at_a_time; count++) {
        int error = spawn_next(loop);
        if (error)
            return error;
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}

static char buffer[64 * 1024];

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *to)
{
    (void)handle;
    (void)suggested;
    *to = uv_buf_init(buffer, sizeof buffer);
}

static void received(uv_stream_t *stream, ssize_t count, const uv_buf_t *from)
{
    (void)from;
    if (count > 0) {
        output_received((size_t)count);
    } else if (count < 0) {
        output_ended();
        uv_close((uv_handle_t *)stream, NULL);
    }
}

static void writer_exited(uv_process_t *process, int64_t status, int signal)
{
    (void)status;
    (void)signal;
    uv_close((uv_handle_t *)process, NULL);
}

int uv_side_child_stdout(const char *program, const char *argument)
{
    uv_loop_t *loop = uv_default_loop();
    uv_process_t process;
    uv_pipe_t output;
    int error = uv_pipe_init(loop, &output, 0);
    if (error)
        return error;
    char *arguments[] = {(char *)program, (char *)argument, NULL};
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&output},
        {.flags = UV_INHERIT_FD, .data.fd = 2},
    };
    uv_process_options_t options = {
        .file = program,
        .args = arguments,
        .exit_cb = writer_exited,
        .stdio = stdio,
        .stdio_count = 3,
    };
    error = uv_spawn(loop, &process, &options);
    if (!error)
        error = uv_read_start((uv_stream_t *)&output, allocate, received);
    return error ? error : uv_run(loop, UV_RUN_DEFAULT);
}

/* A child that echoes lines. */
struct echoer {
    size_t number;
    uv_process_t process;
    uv_pipe_t input;
    uv_pipe_t output;
};

static uv_buf_t line;

static void written(uv_write_t *writing, int error)
{
    free(writing);
    if (error)
        abort();
}

static void send_line(struct echoer *echoer)
{
    uv_stream_t *stream = (uv_stream_t *)&echoer->input;
    if (uv_try_write(stream, &line, 1) == (int)line.len)
        return;
    /* Windows has no such write to a pipe. */
    uv_write_t *writing = malloc(sizeof *writing);
    if (!writing || uv_write(writing, stream, &line, 1, written))
        abort();
}

static void line_received(uv_stream_t *stream, ssize_t count, const uv_buf_t *from)
{
    (void)from;
    struct echoer *echoer = stream->data;
    if (count < 0)
        abort();
    if (count && lines_received(echoer->number, (size_t)count))
        send_line(echoer);
}

static int start_echoer(uv_loop_t *loop, struct echoer *echoer, const char *program, const char *argument)
{
    int error = uv_pipe_init(loop, &echoer->input, 0);
    if (!error)
        error = uv_pipe_init(loop, &echoer->output, 0);
    if (error)
        return error;
    echoer->output.data = echoer;
    char *arguments[] = {(char *)program, (char *)argument, NULL};
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&echoer->input},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&echoer->output},
        {.flags = UV_INHERIT_FD, .data.fd = 2},
    };
    uv_process_options_t options = {
        .file = program,
        .args = arguments,
        .exit_cb = writer_exited,
        .stdio = stdio,
        .stdio_count = 3,
    };
    error = uv_spawn(loop, &echoer->process, &options);
    if (!error)
        error = uv_read_start((uv_stream_t *)&echoer->output, allocate, line_received);
    if (error)
        return error;
    size_t length;
    const char *text = lines_begin(echoer->number, &length);
    line = uv_buf_init((char *)text, (unsigned int)length);
    send_line(echoer);
    return 0;
}

int uv_side_children(const char *program, const char *argument, size_t count)
{
    uv_loop_t *loop = uv_default_loop();
    struct echoer *echoers = calloc(count, sizeof *echoers);
    int error = echoers ? 0 : UV_ENOMEM;
    for (size_t number = 0; number < count && !error; number++) {
        echoers[number].number = number;
        error = start_echoer(loop, &echoers[number], program, argument);
    }
    if (!error)
        error = uv_run(loop, UV_RUN_DEFAULT);
    free(echoers);
    return error;
}
