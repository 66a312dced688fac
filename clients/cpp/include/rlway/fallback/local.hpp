/* What acts in the server's place: a policy in this process, the last action, or a fixed action.
 *
 * In:      observations, each of which may lack a server's answer; the actions that were given.
 * Out:     an action, always, and who gave it.
 * Refuses: server_unreachable where there is no action to hold, because none has been given yet.
 *
 * An observation that is not finite, and a policy that fails, do not stop a control loop: the last action is held.
 * Before the first action, that is `Bundle::neutral`.
 */
#ifndef RLWAY_FALLBACK_LOCAL_HPP
#define RLWAY_FALLBACK_LOCAL_HPP

#include "../messages.hpp"
#include "../wire/clock.hpp"

#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace rlway {

/* What a policy.h says of its policy; it is compared with what the server says. */
struct Bundle {
    std::string policy;               // RLWAY_POLICY
    std::int64_t version = 0;         // RLWAY_VERSION
    std::size_t observation_size = 0; // numbers in all parts
    std::size_t action_size = 0;
    bool keeps_state = false;         // it has to see every observation of an episode
};

/* The local side of a fallback. `Number` is float where the action is continuous, std::int64_t where it is discrete. */
template <class Number> class Local {
  public:
    /* Writes the action for an observation; `begins` says that an episode begins with it. */
    using Act = std::function<void(const Observation &, bool begins, Number *action)>;
    using ActOnFloats = std::function<void(const float *observation, bool begins, Number *action)>;
    /* `rlway_guard` of a policy.c: the limits of the action, given the last one (null: none) and how long ago that was
     * given; a bit for each rule that it applied, and `refused` besides where the action must not be used. */
    using Guard = std::function<unsigned(const Number *previous, double elapsed_s, Number *action)>;
    static constexpr unsigned refused = 8; // RLWAY_REFUSED of a policy.h

    /* A policy whose observation has several parts, or is not of float: it reads the arrays that the caller observes. */
    static Local policy(Bundle bundle, Act act)
    {
        Local local;
        local.bundle_ = std::move(bundle);
        local.act_ = std::move(act);
        return local;
    }

    /* A policy that observes one array of float, such as most `rlway_act`. */
    static Local policy_on_floats(Bundle bundle, ActOnFloats act)
    {
        Local local = policy(std::move(bundle), [act = std::move(act)](const Observation &observation, bool begins,
                                                                       Number *action) {
            act(observation.numbers<float>(), begins, action);
        });
        local.needs_floats_ = true;
        return local;
    }

    /* The last action again. */
    static Local hold() { return Local(); }

    /* Always this action. */
    static Local fixed(std::vector<Number> action)
    {
        Local local;
        local.fixed_ = std::move(action);
        return local;
    }

    /* The limits that each action of the local policy passes through. */
    Local &guard(Guard guard)
    {
        guard_ = std::move(guard);
        return *this;
    }

    /* The action that is held before there was one; zeros by default. */
    Local &neutral(std::vector<Number> action)
    {
        neutral_ = std::move(action);
        return *this;
    }

    bool is_policy() const { return static_cast<bool>(act_); }
    bool keeps_state() const { return is_policy() && bundle_.keeps_state; }
    const Bundle &bundle() const { return bundle_; }
    std::uint64_t steps() const { return steps_; } // since the episode began

    /* Writes the reply without the server. `unfit` is why no policy takes the observation, if that is so. */
    Failure act(const Observation &observation, const Failure &unfit, Clock::time_point now, Reply<Number> &reply)
    {
        if (!is_policy()) {
            if (fixed_.empty()) return hold(reply, {});
            begin(reply, Source::fixed, 0);
            reply.action = fixed_;
            return {};
        }
        if (unfit) return hold(reply, unfit->sentence);
        begin(reply, Source::local, bundle_.version);
        reply.action.assign(bundle_.action_size, Number());
        if (const auto fault = run(observation, reply, now)) return hold(reply, "the local policy failed: " + *fault);
        return {};
    }

    /* Why no policy can take this observation, besides numbers that are not finite. */
    Failure check(const Observation &observation) const
    {
        if (!is_policy()) return {};
        const auto size = observation.size(), expected = bundle_.observation_size;
        if (size != expected)
            return Error{Kind::spec_violated, "observation: expected " + std::to_string(expected) + " numbers, got " +
                                                  std::to_string(size) + "; policy.h shows the spec"};
        if (needs_floats_ && observation.numbers<float>() == nullptr)
            return Error{Kind::spec_violated, "observation: expected one array of float, got another; use Local::policy"};
        return {};
    }

    /* This action was given to the caller, by whomever. */
    void gave(const std::vector<Number> &action, Clock::time_point now)
    {
        last_ = action;
        given_ = now;
        ++steps_;
    }

    /* The next observation begins an episode. */
    void reset()
    {
        steps_ = 0;
        begins_ = true;
        last_.clear();
    }

  private:
    Local() = default;

    static void begin(Reply<Number> &reply, Source source, std::int64_t version)
    {
        reply.version = version;
        reply.source = source;
        reply.why.clear();
        reply.guarded = 0;
        reply.outputs.clear();
    }

    /* The last action again, and why. */
    Failure hold(Reply<Number> &reply, std::string_view fault) const
    {
        begin(reply, Source::hold, bundle_.version);
        reply.why = fault;
        reply.action = last_.empty() ? neutral_ : last_;
        if (reply.action.empty() && is_policy()) reply.action.assign(bundle_.action_size, Number());
        if (!reply.action.empty()) return {};
        return Error{Kind::server_unreachable, "fallback: there is no action to hold before the server's first one; "
                                               "pass an action or a local policy."};
    }

    /* Why the policy failed, if it did. */
    std::optional<std::string> run(const Observation &observation, Reply<Number> &reply, Clock::time_point now)
    {
#if defined(__cpp_exceptions)
        try {
            run_unguarded(observation, reply, now);
        } catch (const std::exception &error) {
            return error.what();
        } catch (...) {
            return "it threw something";
        }
#else
        run_unguarded(observation, reply, now);
#endif
        if (reply.guarded & refused) return "its guard refuses its action";
        if constexpr (std::is_floating_point_v<Number>)
            for (const auto number : reply.action)
                if (!std::isfinite(number)) return "its action is not finite";
        return {};
    }

    void run_unguarded(const Observation &observation, Reply<Number> &reply, Clock::time_point now)
    {
        act_(observation, begins_, reply.action.data());
        begins_ = false;
        // The guard of the bundle: the server has applied its own, and a held or fixed action has passed one.
        if (guard_) {
            const auto elapsed_s = last_.empty() ? 0.0 : wire::seconds(now - given_);
            const auto *previous = last_.empty() ? nullptr : last_.data();
            reply.guarded = guard_(previous, elapsed_s, reply.action.data());
        }
    }

    Bundle bundle_;
    Act act_;
    Guard guard_;
    std::vector<Number> fixed_, neutral_, last_;
    Clock::time_point given_;
    std::uint64_t steps_ = 0;
    bool begins_ = true, needs_floats_ = false;
};

} // namespace rlway

#endif
