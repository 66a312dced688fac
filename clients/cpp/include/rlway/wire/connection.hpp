/* One TCP connection, on which nothing waits longer than until a deadline.
 *
 * In:      addresses of a server; bytes.
 * Out:     bytes, as they arrive.
 * Refuses: with `Trouble`: the deadline has passed, or the connection is broken. It is closed then.
 */
#ifndef RLWAY_WIRE_CONNECTION_HPP
#define RLWAY_WIRE_CONNECTION_HPP

#include "address.hpp"
#include "clock.hpp"
#include "spin.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rlway::wire {

struct Trouble {
    bool is_late = false;
    std::string reason; // unless it is late
};

class Connection {
  public:
    Connection() = default;
    Connection(Connection &&other) noexcept : socket_(std::exchange(other.socket_, -1)) {}
    Connection &operator=(Connection &&other) noexcept
    {
        std::swap(socket_, other.socket_);
        return *this;
    }
    ~Connection() { close(); }

    bool is_open() const { return socket_ >= 0; }

    void close()
    {
        if (socket_ >= 0) ::close(socket_);
        socket_ = -1;
    }

    /* Tries one address after the other; each may take its share of the time. */
    std::optional<Trouble> open(const std::vector<Peer> &peers, Clock::time_point until)
    {
        std::optional<Trouble> trouble = Trouble{false, "its name has no address"};
        for (std::size_t i = 0; i < peers.size() && trouble; ++i) {
            const auto now = Clock::now();
            trouble = open(peers[i], now + (until - now) / static_cast<long>(peers.size() - i));
        }
        return trouble;
    }

    /* Whether there are bytes to read, or the peer has closed. */
    bool is_readable() const
    {
        pollfd watched{socket_, POLLIN, 0};
        return poll(&watched, 1, 0) != 0;
    }

    std::optional<Trouble> send(std::string_view bytes, Clock::time_point until)
    {
        while (!bytes.empty()) {
            const auto sent = ::send(socket_, bytes.data(), bytes.size(), no_signal);
            if (sent >= 0)
                bytes.remove_prefix(static_cast<std::size_t>(sent));
            else if (errno == EAGAIN || errno == EWOULDBLOCK) {
                if (!wait_until_ready(socket_, POLLOUT, until)) return broken(Trouble{true, {}});
            } else if (errno != EINTR)
                return broken(reason(errno));
        }
        return {};
    }

    /* Appends what has arrived. For the time of `spin` it looks again and again, and only then it sleeps. */
    std::optional<Trouble> receive(std::string &received, Clock::time_point until, Clock::duration spin)
    {
        const auto look_until = std::min(until, spin_.begin(spin));
        for (;;) {
            const bool is_looking = Clock::now() < look_until;
            if (!is_looking && !wait_until_ready(socket_, POLLIN, until)) {
                spin_.end(false);
                return broken(Trouble{true, {}});
            }
            char bytes[16384];
            const auto count = recv(socket_, bytes, sizeof bytes, 0);
            if (count > 0) {
                spin_.end(is_looking);
                received.append(bytes, static_cast<std::size_t>(count));
                return {};
            }
            if (count == 0) return broken(Trouble{false, "it closed the connection before it had answered"});
            if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return broken(reason(errno));
        }
    }

  private:
#if defined(MSG_NOSIGNAL)
    static constexpr int no_signal = MSG_NOSIGNAL;
#else
    static constexpr int no_signal = 0; // SO_NOSIGPIPE is set instead
#endif

    static Trouble reason(int number) { return {false, std::generic_category().message(number)}; }

    Trouble broken(Trouble trouble)
    {
        close();
        return trouble;
    }

    std::optional<Trouble> open(const Peer &peer, Clock::time_point until)
    {
        close();
        socket_ = ::socket(peer.family, SOCK_STREAM, 0);
        if (socket_ < 0) return reason(errno);
        const int on = 1;
        fcntl(socket_, F_SETFD, FD_CLOEXEC);
        fcntl(socket_, F_SETFL, fcntl(socket_, F_GETFL) | O_NONBLOCK);
        setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
#if defined(SO_NOSIGPIPE)
        setsockopt(socket_, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
        if (connect(socket_, reinterpret_cast<const sockaddr *>(&peer.address), peer.length) == 0) return {};
        if (errno != EINPROGRESS && errno != EINTR) return broken(reason(errno));
        if (!wait_until_ready(socket_, POLLOUT, until)) return broken(Trouble{true, {}});
        int fault = 0;
        socklen_t length = sizeof fault;
        getsockopt(socket_, SOL_SOCKET, SO_ERROR, &fault, &length);
        if (fault != 0) return broken(reason(fault));
        return {};
    }

    int socket_ = -1;
    Spin spin_;
};

} // namespace rlway::wire

#endif
