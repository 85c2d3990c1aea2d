// Child processes, with Boost.Process.

#include "shared.hpp"

#include <array>
#include <cstdlib>
#include <system_error>

#include <boost/asio.hpp>
#include <boost/process.hpp>

namespace asio = boost::asio;
namespace process = boost::process;
using boost::system::error_code;

namespace {

void spawn_next(asio::io_context &io, const char *program)
{
    if (!child_next())
        return;
    const auto ended = [&io, program](error_code error, int status) {
        if (error || status)
            std::abort();
        child_reaped();
        spawn_next(io, program);
    };
    process::async_system(io, ended, process::exe = program);
}

class output {
public:
    explicit output(asio::io_context &io) : pipe_(io) {}

    process::async_pipe &pipe() { return pipe_; }

    void receive()
    {
        pipe_.async_read_some(asio::buffer(data_), [this](error_code error, std::size_t count) {
            if (error) {
                output_ended();
                return;
            }
            output_received(count);
            receive();
        });
    }

private:
    process::async_pipe pipe_;
    std::array<char, 64 * 1024> data_;
};

} // namespace

void asio_side_spawn(size_t at_a_time, const char *program) noexcept
{
    asio::io_context io(1);
    for (size_t count = 0; count < at_a_time; count++)
        spawn_next(io, program);
    io.run();
}

void asio_side_child_stdout(const char *program, const char *argument) noexcept
{
    asio::io_context io(1);
    output output(io);
    process::child child(process::exe = program, process::args = argument, process::std_in < process::null,
                         process::std_out > output.pipe(), io);
    output.receive();
    io.run();
    child.wait();
}
