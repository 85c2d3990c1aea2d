/* Servers. All connections read into one buffer and send back at once; each stores only data that it could not send. */

#include "shared.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define BACKLOG 1024
#define PIECE_BYTES (64 * 1024)

struct connection {
    union {
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } handle;
    uv_write_t write;
    char *unsent;
};

static char buffer[PIECE_BYTES];
static char piece[PIECE_BYTES];
static enum role role_of_all;

static void closed(uv_handle_t *handle)
{
    struct connection *connection = (struct connection *)handle;
    free(connection->unsent);
    free(connection);
}

static void close_connection(struct connection *connection)
{
    if (!uv_is_closing((uv_handle_t *)connection))
        uv_close((uv_handle_t *)connection, closed);
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *to)
{
    (void)handle;
    (void)suggested;
    *to = uv_buf_init(buffer, sizeof buffer);
}

static void received(uv_stream_t *stream, ssize_t count, const uv_buf_t *from);

static void sent(uv_write_t *request, int status)
{
    struct connection *connection = request->data;
    free(connection->unsent);
    connection->unsent = NULL;
    if (status < 0 || uv_read_start(request->handle, allocate, received) < 0)
        close_connection(connection);
}

/* Sends the rest as soon as the socket is writable, and stops reading until then. */
static void send_rest(struct connection *connection, const char *rest, size_t count)
{
    uv_stream_t *stream = (uv_stream_t *)connection;
    uv_read_stop(stream);
    connection->unsent = malloc(count);
    if (!connection->unsent)
        abort();
    memcpy(connection->unsent, rest, count);
    uv_buf_t buf = uv_buf_init(connection->unsent, (unsigned int)count);
    if (uv_write(&connection->write, stream, &buf, 1, sent) < 0)
        close_connection(connection);
}

static void received(uv_stream_t *stream, ssize_t count, const uv_buf_t *from)
{
    struct connection *connection = (struct connection *)stream;
    if (count < 0) {
        close_connection(connection);
        return;
    }
    if (count == 0 || role_of_all != ROLE_ECHO)
        return;
    uv_buf_t buf = uv_buf_init(from->base, (unsigned int)count);
    int taken = uv_try_write(stream, &buf, 1);
    if (taken == UV_EAGAIN)
        taken = 0;
    if (taken < 0)
        close_connection(connection);
    else if (taken < count)
        send_rest(connection, from->base + taken, (size_t)(count - taken));
}

static void send_piece(uv_write_t *request, int status)
{
    struct connection *connection = request->data;
    uv_buf_t buf = uv_buf_init(piece, sizeof piece);
    uv_stream_t *stream = (uv_stream_t *)connection;
    if (status < 0 || uv_write(request, stream, &buf, 1, send_piece) < 0)
        close_connection(connection);
}

static int init_like(const uv_stream_t *listener, struct connection *connection)
{
    if (listener->type == UV_TCP)
        return uv_tcp_init(listener->loop, &connection->handle.tcp);
    return uv_pipe_init(listener->loop, &connection->handle.pipe, 0);
}

static void connected(uv_stream_t *listener, int status)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (status < 0 || !connection || init_like(listener, connection) < 0)
        abort();
    uv_stream_t *stream = (uv_stream_t *)connection;
    connection->write.data = connection;
    if (uv_accept(listener, stream) < 0) {
        close_connection(connection);
        return;
    }
    if (role_of_all != ROLE_SOURCE && uv_read_start(stream, allocate, received) < 0)
        close_connection(connection);
    if (role_of_all == ROLE_SOURCE || role_of_all == ROLE_BOTH)
        send_piece(&connection->write, 0);
}

int uv_side_serve(uv_os_sock_t listener, int role)
{
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t server;
    role_of_all = role;
    int error = uv_tcp_init(loop, &server);
    if (!error)
        error = uv_tcp_open(&server, listener);
    if (!error)
        error = uv_listen((uv_stream_t *)&server, BACKLOG, connected);
    return error ? error : uv_run(loop, UV_RUN_DEFAULT);
}

int uv_side_serve_unix(const char *path, int role)
{
    uv_loop_t *loop = uv_default_loop();
    uv_pipe_t server;
    role_of_all = role;
    int error = uv_pipe_init(loop, &server, 0);
    if (!error)
        error = uv_pipe_bind(&server, path);
    if (!error)
        error = uv_listen((uv_stream_t *)&server, BACKLOG, connected);
    if (error)
        return error;
    listening();
    return uv_run(loop, UV_RUN_DEFAULT);
}
