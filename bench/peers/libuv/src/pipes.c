/* Named pipes of Windows. Each write has a copy of its data, because libuv writes to them only in the background. */

#include "shared.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define BACKLOG 16
#define BUFFER_BYTES (16 * 1024)

static char buffer[BUFFER_BYTES];

static void closed(uv_handle_t *handle)
{
    free(handle);
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *to)
{
    (void)handle;
    (void)suggested;
    *to = uv_buf_init(buffer, sizeof buffer);
}

static void sent(uv_write_t *request, int status)
{
    (void)status;
    free(request);
}

static void received(uv_stream_t *stream, ssize_t count, const uv_buf_t *from)
{
    if (count < 0) {
        uv_close((uv_handle_t *)stream, closed);
        return;
    }
    if (count == 0)
        return;
    uv_write_t *request = malloc(sizeof *request + (size_t)count);
    if (!request)
        abort();
    uv_buf_t copy = uv_buf_init((char *)(request + 1), (unsigned int)count);
    memcpy(copy.base, from->base, copy.len);
    if (uv_write(request, stream, &copy, 1, sent) < 0)
        abort();
    echoed((size_t)count);
}

static void connected(uv_stream_t *listener, int status)
{
    uv_pipe_t *pipe = malloc(sizeof *pipe);
    if (status < 0 || !pipe || uv_pipe_init(listener->loop, pipe, 0) < 0)
        abort();
    if (uv_accept(listener, (uv_stream_t *)pipe) < 0 ||
        uv_read_start((uv_stream_t *)pipe, allocate, received) < 0)
        uv_close((uv_handle_t *)pipe, closed);
}

int uv_side_pipe_echo(const char *name)
{
    uv_loop_t *loop = uv_default_loop();
    uv_pipe_t server;
    int error = uv_pipe_init(loop, &server, 0);
    if (!error)
        error = uv_pipe_bind(&server, name);
    if (!error)
        error = uv_listen((uv_stream_t *)&server, BACKLOG, connected);
    if (error)
        return error;
    pipe_exists();
    return uv_run(loop, UV_RUN_DEFAULT);
}
