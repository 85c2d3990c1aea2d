// Child processes, with Boost.Process.

#include "shared.hpp"

#include <array>
#include <cstdlib>
#include <functional>
#include <memory>
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
    // The handler owns the child object, which must live until the child has exited.
    auto child = std::make_shared<process::child>();
    const auto ended = [&io, program, child](int status, std::error_code error) {
        if (error || status)
            std::abort();
        child_reaped();
        // Spawn the next child later: Boost.Process is iterating over its children here, and must not get another one.
        asio::post(io, [&io, program] { spawn_next(io, program); });
    };
    *child = process::child(process::exe = program, io, process::on_exit = ended);
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

// Sends lines to a child that echoes them. Handlers own this object, so it lives until none is left.
class echoer : public std::enable_shared_from_this<echoer> {
public:
    echoer(asio::io_context &io, std::size_t number) : number_(number), in_(io), out_(io) {}

    void start(asio::io_context &io, const char *program, const char *argument)
    {
        child_ = process::child(process::exe = program, process::args = argument, process::std_in < in_,
                                process::std_out > out_, process::on_exit = ended(), io);
        line_ = lines_begin(number_, &length_);
        send();
        receive();
    }

private:
    std::function<void(int, std::error_code)> ended()
    {
        return [self = shared_from_this()](int status, std::error_code error) {
            if (error || status)
                std::abort();
        };
    }

    void send()
    {
        auto self = shared_from_this();
        asio::async_write(in_, asio::buffer(line_, length_), [self](error_code error, std::size_t) {
            if (error)
                std::abort();
        });
    }

    void receive()
    {
        auto self = shared_from_this();
        out_.async_read_some(asio::buffer(data_), [self](error_code error, std::size_t count) {
            if (!error)
                self->received(count);
        });
    }

    void received(std::size_t count)
    {
        if (lines_received(number_, count))
            send();
        receive();
    }

    std::size_t number_;
    process::async_pipe in_;
    process::async_pipe out_;
    process::child child_;
    const char *line_ = nullptr;
    std::size_t length_ = 0;
    std::array<char, 16 * 1024> data_;
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

void asio_side_children(const char *program, const char *argument, size_t count) noexcept
{
    asio::io_context io(1);
    for (size_t number = 0; number < count; number++)
        std::make_shared<echoer>(io, number)->start(io, program, argument);
    io.run();
}
