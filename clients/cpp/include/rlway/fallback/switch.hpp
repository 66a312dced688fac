/* Which side answers: the server, or after a failure the local side until the server has proved itself again.
 *
 * In:      failures of the server, and how its probes went.
 * Out:     the side that answers next; counts; a call of `on_change` for each change.
 *
 *     server --failure--> local --`needed` good probes in a row--> server
 *
 * A failure within `calm` after the return doubles `needed`, up to `most_probes`: a server that answers now and then
 * does not make the control loop flap. A failure later than that counts as the first.
 */
#ifndef RLWAY_FALLBACK_SWITCH_HPP
#define RLWAY_FALLBACK_SWITCH_HPP

#include "../wire/clock.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace rlway {

enum class Side { server, local };

inline const char *name(Side side) { return side == Side::server ? "server" : "local"; }

using OnChange = std::function<void(Side, const std::string &why)>;

/* What happened since the fallback was opened. */
struct Counts {
    std::uint64_t server = 0;  // actions by the server
    std::uint64_t local = 0;   // actions by the local policy, or the fixed action
    std::uint64_t held = 0;    // actions that neither could give, such as for an observation with NaN
    std::uint64_t late = 0;    // server answers that did not come within the deadline
    std::uint64_t failed = 0;  // server errors of any other kind, such as a refused connection
    std::uint64_t overdue = 0; // observations older than the deadline when `act` was called; the server was not asked
    std::uint64_t probes = 0;  // requests to the server that only tested it
    std::uint64_t changes = 0; // of the side
};

/* Not for several threads at once. */
class Switch {
  public:
    static constexpr int probes = 3, most_probes = 64;
    static constexpr std::chrono::seconds calm{10};

    /* It begins on the local side: the server has not been reached yet, and has to give one good answer. */
    explicit Switch(OnChange on_change) : on_change_(std::move(on_change)) {}

    Side side() const { return side_; }
    const std::string &why() const { return why_; }
    int needed() const { return needed_; }
    bool is_proved() const { return good_ >= needed_; }

    /* The server failed, or the local side has to answer for another reason. */
    void fail(std::string why, Clock::time_point now)
    {
        good_ = 0;
        if (side_ == Side::local) {
            why_ = std::move(why);
            return;
        }
        const bool is_relapse = back_ && now - *back_ < calm;
        needed_ = is_relapse ? std::min(2 * std::max(needed_, probes), most_probes) : probes;
        change(Side::local, std::move(why));
    }

    /* A probe was answered in time, or failed with this fault. */
    void probed(const std::optional<std::string> &fault)
    {
        ++counts.probes;
        good_ = fault ? 0 : good_ + 1;
        if (fault && side_ == Side::local) why_ = *fault;
    }

    /* The server answers from now on. */
    void give_back(Clock::time_point now)
    {
        back_ = now;
        change(Side::server, "probes in a row that were answered in time: " + std::to_string(good_));
    }

    Counts counts;

  private:
    void change(Side side, std::string why)
    {
        side_ = side;
        why_ = std::move(why);
        ++counts.changes;
        if (!on_change_) return;
#if defined(__cpp_exceptions)
        try {
            on_change_(side_, why_);
        } catch (...) { // the action of this step must not be lost
        }
#else
        on_change_(side_, why_);
#endif
    }

    Side side_ = Side::local;
    std::string why_ = "the server has not answered yet";
    int needed_ = 1, good_ = 0; // probes in a row
    std::optional<Clock::time_point> back_;
    OnChange on_change_;
};

} // namespace rlway

#endif
