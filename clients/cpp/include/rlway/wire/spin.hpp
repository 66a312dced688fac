/* Whether to look for an answer again and again before the thread sleeps: only while that finds answers.
 *
 * In:      how long to look; whether each look found an answer.
 * Out:     until when to look during the next wait.
 *
 * Waking a thread costs some 30 us, a third of a round trip on one machine. A look that finds nothing costs its time in
 * vain, and where the server runs on the same core, it makes the server wait. After each such look the thread therefore
 * sleeps at once for the next 1, 2, 4, ... 64 waits. A look that finds an answer begins anew.
 */
#ifndef RLWAY_WIRE_SPIN_HPP
#define RLWAY_WIRE_SPIN_HPP

#include "clock.hpp"

#include <algorithm>

namespace rlway::wire {

class Spin {
  public:
    static constexpr int longest_pause = 64;

    /* A wait begins now: look for an answer until then. That is the past where the thread is to sleep at once. */
    Clock::time_point begin(Clock::duration spin)
    {
        is_looking_ = spin > Clock::duration::zero() && left_ == 0;
        if (is_looking_) return Clock::now() + spin;
        left_ = std::max(left_ - 1, 0);
        return Clock::time_point::min();
    }

    /* The wait has ended; a look that was not made tells nothing. */
    void end(bool is_found)
    {
        if (!is_looking_) return;
        pause_ = is_found ? 0 : std::clamp(2 * pause_, 1, longest_pause);
        left_ = pause_;
    }

  private:
    int pause_ = 0, left_ = 0; // waits
    bool is_looking_ = false;
};

} // namespace rlway::wire

#endif
