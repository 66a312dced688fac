/* What the node does, without ROS: the newest observation in, an action out at each tick.
 *
 * In:      observations, whenever they come; ticks at a fixed rate.
 * Out:     at each tick an action for the newest observation, if it is fresh; otherwise the safe action.
 * Refuses: an observation of another size, with a sentence.
 *
 * It is not for several threads at once: ROS's single-threaded executor calls it.
 */
#ifndef RLWAY_POLICY_NODE_POLICY_LOOP_HPP
#define RLWAY_POLICY_NODE_POLICY_LOOP_HPP

#include <rlway/rlway.hpp>

#include <string>
#include <utility>
#include <vector>

namespace rlway_policy_node {

struct Settings {
    rlway::Server server;
    std::size_t observation_size = 0;
    std::vector<float> safe_action; // where neither the server nor a fresh observation is there
    rlway::Clock::duration within = std::chrono::milliseconds(15);
    rlway::Clock::duration fresh = std::chrono::milliseconds(100); // an older observation is not acted on
};

/* `Out` has `publish(const std::vector<float> &action)` and `log(const std::string &sentence)`: ROS, or a test. */
template <class Out> class PolicyLoop {
  public:
    static rlway::Result<PolicyLoop> open(Settings settings, Out &out)
    {
        auto tell = [&out](rlway::Side side, const std::string &why) {
            out.log(std::string("now ") + rlway::name(side) + ": " + why);
        };
        auto policy = rlway::Fallback<float>::open(
            settings.server, rlway::Local<float>::fixed(settings.safe_action), settings.within, tell);
        if (!policy) return policy.error();
        return PolicyLoop(std::move(settings), std::move(*policy), out);
    }

    /* An observation has come. */
    void observe(const std::vector<float> &observation, rlway::Clock::time_point taken)
    {
        if (observation.size() != settings_.observation_size) {
            out_->log("observation: expected " + std::to_string(settings_.observation_size) + " numbers, got " +
                      std::to_string(observation.size()) + "; it is not acted on");
            return;
        }
        newest_ = observation;
        taken_ = taken;
    }

    /* Publishes an action. */
    void tick(rlway::Clock::time_point now)
    {
        const bool is_fresh = !newest_.empty() && now - taken_ <= settings_.fresh;
        if (!is_fresh) {
            if (was_fresh_) out_->log("no fresh observation: the safe action");
            was_fresh_ = false;
            out_->publish(settings_.safe_action);
            return;
        }
        was_fresh_ = true;
        // The deadline counts from the tick: the observation may already be some milliseconds old.
        const auto reply = policy_.act(rlway::Observation(newest_.data(), newest_.size()), now);
        out_->publish(reply ? reply->action : settings_.safe_action);
    }

    /* An episode begins, for a policy with state. */
    void reset() { policy_.reset(); }

  private:
    PolicyLoop(Settings settings, rlway::Fallback<float> policy, Out &out)
        : settings_(std::move(settings)), policy_(std::move(policy)), out_(&out)
    {
    }

    Settings settings_;
    rlway::Fallback<float> policy_;
    Out *out_;
    std::vector<float> newest_;
    rlway::Clock::time_point taken_;
    bool was_fresh_ = false;
};

} // namespace rlway_policy_node

#endif
