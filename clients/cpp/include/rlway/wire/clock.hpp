/* The clock of all deadlines, and waiting for a socket until one of them.
 *
 * It is monotonic: a change of the system's date moves no deadline.
 */
#ifndef RLWAY_WIRE_CLOCK_HPP
#define RLWAY_WIRE_CLOCK_HPP

#include <cerrno>
#include <chrono>
#include <ctime>
#include <poll.h>

namespace rlway {

using Clock = std::chrono::steady_clock;

namespace wire {

inline double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

/* Whether the socket became ready before the time was over; an error of the socket is ready, too. */
inline bool wait_until_ready(int socket, short events, Clock::time_point until)
{
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(until - Clock::now()).count();
        if (left <= 0) return false;
        pollfd watched{socket, events, 0};
#if defined(__linux__)
        const timespec time{static_cast<std::time_t>(left / 1000000000), static_cast<long>(left % 1000000000)};
        const int ready = ppoll(&watched, 1, &time, nullptr);
#else
        const long long left_ms = (left + 999999) / 1000000;
        const int ready = poll(&watched, 1, left_ms < 60000 ? static_cast<int>(left_ms) : 60000);
#endif
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR && errno != EAGAIN) return true; // the next call on the socket says what it is
    }
}

} // namespace wire
} // namespace rlway

#endif
