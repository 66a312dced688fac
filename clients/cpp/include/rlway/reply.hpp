/* What a request may say besides the observation, and what a policy answers. */
#ifndef RLWAY_REPLY_HPP
#define RLWAY_REPLY_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rlway {

struct Options {
    std::optional<double> epsilon, temperature, sigma; // of the exploration
    std::optional<std::int64_t> seed;
    std::optional<std::int64_t> version; // or `label`; otherwise the active version answers
    std::string label;
    std::optional<double> deadline_ms;    // how long the server may take before the policy runs
    std::vector<std::string> outputs = {}; // further outputs that a server is to return, such as "q_values"
};

/* Who answered, with a fallback. */
enum class Source { server, local, hold, fixed };

inline const char *name(Source source)
{
    static const char *const names[] = {"server", "local", "hold", "fixed"};
    return names[static_cast<int>(source)];
}

/* The rules of a guard that an action violated: the bits of a policy.h. */
inline constexpr unsigned out_of_range = 1, too_fast = 2, non_finite = 4;

/* A further output; NaN where a number is not finite. */
struct Output {
    std::string name;
    std::vector<double> numbers; // in row-major order
};

/* What a policy answered. An action of several parts is their numbers one after the other, in the manifest's order; the
 * actions for several observations follow one another as well. */
template <class Number> struct Reply {
    std::vector<Number> action = {};
    std::int64_t version = 0;         // of the policy; 0 if none answered
    Source source = Source::server;
    std::string why = {};             // why the server did not answer
    unsigned guarded = 0;             // the rules that the guard applied, here or on the server
    std::vector<Output> outputs = {}; // those that were asked for, if the server answered

    /* The numbers of one of the outputs; null if it is not there. */
    const std::vector<double> *output(std::string_view name) const
    {
        for (const Output &one : outputs)
            if (one.name == name) return &one.numbers;
        return nullptr;
    }
};

/* What the server says of a policy. */
struct Description {
    std::string policy;
    std::int64_t version = 0;
    std::size_t observation_size = 0, action_size = 0; // numbers in all parts
    bool keeps_state = false;
};

} // namespace rlway

#endif
