// Timers, and calls from another thread.

#include "shared.hpp"

#include <chrono>
#include <deque>
#include <memory>

#include <boost/asio.hpp>

namespace asio = boost::asio;
using boost::system::error_code;

void asio_side_timers() noexcept
{
    asio::io_context io(1);
    std::deque<asio::steady_timer> kept;
    std::deque<asio::steady_timer> cancelled;
    std::uint64_t delay_us;
    std::int64_t number;
    while (plan_next(&delay_us, &number)) {
        const std::chrono::microseconds delay(delay_us);
        if (number < 0) {
            cancelled.emplace_back(io, delay).async_wait([](error_code) {});
            continue;
        }
        kept.emplace_back(io, delay).async_wait([&io, number](error_code error) {
            if (!error && plan_fired(number))
                io.stop();
        });
    }
    plan_armed();
    for (auto &timer : cancelled)
        timer.cancel();
    // Run the handlers of the cancelled timers.
    io.poll();
    plan_cancelled();
    io.run();
}

namespace {

asio::io_context *called;
std::unique_ptr<asio::executor_work_guard<asio::io_context::executor_type>> guard;

} // namespace

void asio_side_post(void *call) noexcept
{
    asio::post(*called, [call] { call_run(call); });
}

void asio_side_stop() noexcept
{
    guard.reset();
}

void asio_side_threads() noexcept
{
    // Never delete this: the other thread may still be inside `post` when the loop has ended.
    called = new asio::io_context(1);
    guard = std::make_unique<decltype(guard)::element_type>(called->get_executor());
    threads_start();
    called->run();
}
