/* Timers, and calls from another thread. */

#include "shared.h"

#include <stdlib.h>
#include <uv.h>

struct timer {
    uv_timer_t timer;
    int64_t number;
    struct timer *next;
};

static void never(uv_timer_t *timer)
{
    (void)timer;
    abort();
}

static void fired(uv_timer_t *timer)
{
    if (plan_fired(((struct timer *)timer)->number))
        uv_stop(timer->loop);
}

/* Rounds up. libuv's clock also has a resolution of a millisecond, so some timers fire early by less than one. */
static uint64_t milliseconds(uint64_t delay_us)
{
    return delay_us / 1000 + 1;
}

int uv_side_timers(void)
{
    uv_loop_t *loop = uv_default_loop();
    struct timer *cancelled = NULL;
    uint64_t delay_us;
    int64_t number;
    while (plan_next(&delay_us, &number)) {
        struct timer *timer = malloc(sizeof *timer);
        if (!timer || uv_timer_init(loop, &timer->timer) < 0)
            abort();
        timer->number = number;
        if (number < 0) {
            timer->next = cancelled;
            cancelled = timer;
        } else {
            /* libuv caches the time at the start of a turn, so update it. */
            uv_update_time(loop);
        }
        uv_timer_start(&timer->timer, number < 0 ? never : fired, milliseconds(delay_us), 0);
    }
    plan_armed();
    while (cancelled) {
        struct timer *timer = cancelled;
        cancelled = timer->next;
        /* Stop the timer without closing its handle, as users do that start it again later. */
        uv_timer_stop(&timer->timer);
    }
    plan_cancelled();
    return uv_run(loop, UV_RUN_DEFAULT) < 0;
}

static uv_async_t async;

static void called(uv_async_t *handle)
{
    (void)handle;
    threads_run_calls();
}

void uv_side_wake(void)
{
    uv_async_send(&async);
}

void uv_side_stop(void)
{
    uv_stop(uv_default_loop());
}

int uv_side_threads(void)
{
    uv_loop_t *loop = uv_default_loop();
    int error = uv_async_init(loop, &async, called);
    if (error)
        return error;
    threads_start();
    /* A positive result means that a handle is still open, which is expected here. */
    return uv_run(loop, UV_RUN_DEFAULT) < 0;
}
