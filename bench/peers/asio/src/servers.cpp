// Servers: an object for each connection. Handlers own it, so it lives until none is left.

#include "shared.hpp"

#include <array>
#include <memory>
#include <utility>

#include <boost/asio.hpp>

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr std::size_t buffer_bytes = 16 * 1024;
constexpr std::size_t piece_bytes = 64 * 1024;

std::array<char, piece_bytes> piece;

// Sends back everything that it receives.
class echo : public std::enable_shared_from_this<echo> {
public:
    explicit echo(tcp::socket socket) : socket_(std::move(socket)) {}

    void start()
    {
        auto self = shared_from_this();
        socket_.async_read_some(asio::buffer(data_), [self](error_code error, std::size_t count) {
            if (!error)
                self->send(count);
        });
    }

private:
    void send(std::size_t count)
    {
        auto self = shared_from_this();
        asio::async_write(socket_, asio::buffer(data_, count), [self](error_code error, std::size_t) {
            if (!error)
                self->start();
        });
    }

    tcp::socket socket_;
    std::array<char, buffer_bytes> data_;
};

// Receives data and drops it, sends without end, or both.
class stream : public std::enable_shared_from_this<stream> {
public:
    explicit stream(tcp::socket socket) : socket_(std::move(socket)) {}

    void receive()
    {
        auto self = shared_from_this();
        socket_.async_read_some(asio::buffer(data_), [self](error_code error, std::size_t) {
            if (!error)
                self->receive();
        });
    }

    void send()
    {
        auto self = shared_from_this();
        asio::async_write(socket_, asio::buffer(piece), [self](error_code error, std::size_t) {
            if (!error)
                self->send();
        });
    }

private:
    tcp::socket socket_;
    std::array<char, piece_bytes> data_;
};

void begin(tcp::socket socket, int role)
{
    if (role == ROLE_ECHO) {
        std::make_shared<echo>(std::move(socket))->start();
        return;
    }
    auto connection = std::make_shared<stream>(std::move(socket));
    if (role != ROLE_SOURCE)
        connection->receive();
    if (role != ROLE_SINK)
        connection->send();
}

void accept(tcp::acceptor &acceptor, int role)
{
    acceptor.async_accept([&acceptor, role](error_code error, tcp::socket socket) {
        if (!error)
            begin(std::move(socket), role);
        accept(acceptor, role);
    });
}

} // namespace

void asio_side_serve(int listener, int role) noexcept
{
    asio::io_context io(1);
    tcp::acceptor acceptor(io, tcp::v4(), listener);
    accept(acceptor, role);
    io.run();
}
