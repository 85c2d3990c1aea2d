/* UDP: all sockets receive several datagrams at once into one buffer, and send each back at once. */

#include "shared.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* libuv divides the buffer into parts for datagrams of any size, of which it uses at most 20. */
#define PARTS 20
#define PART_BYTES (64 * 1024)

static char buffer[PARTS * PART_BYTES];

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *to)
{
    (void)handle;
    (void)suggested;
    *to = uv_buf_init(buffer, sizeof buffer);
}

static void sent(uv_udp_send_t *request, int status)
{
    if (status < 0)
        abort();
    free(request);
}

/* Sends a copy as soon as the socket is writable. */
static void send_later(uv_udp_t *socket, const uv_buf_t *datagram, const struct sockaddr *peer)
{
    uv_udp_send_t *request = malloc(sizeof *request + datagram->len);
    if (!request)
        abort();
    uv_buf_t copy = uv_buf_init((char *)(request + 1), (unsigned int)datagram->len);
    memcpy(copy.base, datagram->base, copy.len);
    if (uv_udp_send(request, socket, &copy, 1, peer, sent) < 0)
        abort();
}

static void received(uv_udp_t *socket, ssize_t count, const uv_buf_t *from, const struct sockaddr *peer,
                     unsigned int flags)
{
    (void)flags;
    if (count < 0)
        abort();
    /* Without a peer, there is nothing to read, or a buffer may be freed. */
    if (!peer)
        return;
    uv_buf_t datagram = uv_buf_init(from->base, (unsigned int)count);
    int result = uv_udp_try_send(socket, &datagram, 1, peer);
    if (result == UV_EAGAIN)
        send_later(socket, &datagram, peer);
    else if (result < 0)
        abort();
}

int uv_side_udp_echo(const uv_os_sock_t *sockets, size_t count)
{
    uv_loop_t *loop = uv_default_loop();
    uv_udp_t *handles = calloc(count, sizeof *handles);
    if (!handles)
        abort();
    for (size_t at = 0; at < count; at++) {
        int error = uv_udp_init_ex(loop, &handles[at], AF_UNSPEC | UV_UDP_RECVMMSG);
        if (!error)
            error = uv_udp_open(&handles[at], sockets[at]);
        if (!error)
            error = uv_udp_recv_start(&handles[at], allocate, received);
        if (error)
            return error;
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
