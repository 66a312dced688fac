/* A thin seam between ROS 2 and policy_loop.hpp, which has the logic.
 *
 *     ~/observation  std_msgs/Float32MultiArray  in
 *     ~/reset        std_msgs/Empty              in: an episode begins, for a policy with state
 *     ~/action       std_msgs/Float32MultiArray  out, at each tick
 *
 * Parameters: url, policy, key, episode, observation_size, safe_action, rate_hz, within_ms, fresh_ms.
 */
#include "rlway_policy_node/policy_loop.hpp"

#include <rclcpp/rclcpp.hpp>
#include <std_msgs/msg/empty.hpp>
#include <std_msgs/msg/float32_multi_array.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using std_msgs::msg::Float32MultiArray;

class PolicyNode : public rclcpp::Node {
  public:
    PolicyNode() : Node("policy")
    {
        const auto milliseconds = [](double number) {
            return std::chrono::duration_cast<rlway::Clock::duration>(std::chrono::duration<double, std::milli>(number));
        };
        rlway_policy_node::Settings settings;
        settings.server.url = declare_parameter<std::string>("url", "http://127.0.0.1:8080");
        settings.server.policy = declare_parameter<std::string>("policy", "");
        settings.server.key = declare_parameter<std::string>("key", "");
        settings.server.episode = declare_parameter<std::string>("episode", "");
        settings.observation_size = static_cast<std::size_t>(declare_parameter<std::int64_t>("observation_size", 4));
        for (const double number : declare_parameter<std::vector<double>>("safe_action", {0.0}))
            settings.safe_action.push_back(static_cast<float>(number));
        settings.within = milliseconds(declare_parameter<double>("within_ms", 15.0));
        settings.fresh = milliseconds(declare_parameter<double>("fresh_ms", 100.0));
        const double rate_hz = declare_parameter<double>("rate_hz", 50.0);

        publisher_ = create_publisher<Float32MultiArray>("~/action", 1);
        auto loop = rlway_policy_node::PolicyLoop<PolicyNode>::open(std::move(settings), *this);
        if (!loop) throw std::runtime_error(loop.error().sentence);
        loop_.emplace(std::move(*loop));
        subscription_ = create_subscription<Float32MultiArray>(
            "~/observation", rclcpp::SensorDataQoS().keep_last(1),
            [this](const Float32MultiArray &message) { loop_->observe(message.data, rlway::Clock::now()); });
        reset_ = create_subscription<std_msgs::msg::Empty>("~/reset", 1, [this](const std_msgs::msg::Empty &) { loop_->reset(); });
        timer_ = create_wall_timer(milliseconds(1e3 / rate_hz), [this] { loop_->tick(rlway::Clock::now()); });
    }

    void publish(const std::vector<float> &action)
    {
        Float32MultiArray message;
        message.data = action;
        publisher_->publish(message);
    }

    void log(const std::string &sentence) { RCLCPP_WARN(get_logger(), "%s", sentence.c_str()); }

  private:
    std::optional<rlway_policy_node::PolicyLoop<PolicyNode>> loop_;
    rclcpp::Publisher<Float32MultiArray>::SharedPtr publisher_;
    rclcpp::Subscription<Float32MultiArray>::SharedPtr subscription_;
    rclcpp::Subscription<std_msgs::msg::Empty>::SharedPtr reset_;
    rclcpp::TimerBase::SharedPtr timer_;
};

int main(int count, char **words)
{
    rclcpp::init(count, words);
    rclcpp::spin(std::make_shared<PolicyNode>());
    rclcpp::shutdown();
}
