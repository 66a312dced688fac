/* A cart that balances a pole at 50 Hz: a server's policy, and the same policy compiled in, for when the server is away.
 *
 *     robot [URL [SECONDS]]        CMakeLists.txt says how to build it
 *
 * Stop the server while it runs: each tick has its action all the same. On a robot, replace `move` with the hardware:
 * read the sensors, ask the policy, drive the motors.
 */
#include <rlway/rlway.hpp>

#include "policy.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <thread>

#if RLWAY_OBSERVATION_SIZE != 4
#error "this program is for a policy of CartPole-v1, which observes four numbers"
#endif

namespace {

constexpr std::chrono::milliseconds period{20}, within{10};

/* CartPole-v1's own physics, 20 ms a step; the state is position, velocity, angle, angular velocity. */
void move(float (&state)[4], std::int64_t action)
{
    const float force = action == 1 ? 10.0f : -10.0f, sine = std::sin(state[2]), cosine = std::cos(state[2]);
    const float push = (force + 0.05f * state[3] * state[3] * sine) / 1.1f;
    const float turn = (9.8f * sine - cosine * push) / (0.5f * (4.0f / 3.0f - 0.1f * cosine * cosine / 1.1f));
    const float acceleration = push - 0.05f * turn * cosine / 1.1f;

    state[0] += 0.02f * state[1];
    state[1] += 0.02f * acceleration;
    state[2] += 0.02f * state[3];
    state[3] += 0.02f * turn;
}

bool has_fallen(const float (&state)[4]) { return std::fabs(state[0]) > 2.4f || std::fabs(state[2]) > 0.2095f; }

} // namespace

int main(int count, char **words)
{
    using Clock = rlway::Clock;
    const char *url = count > 1 ? words[1] : "http://127.0.0.1:8080";
    const long ticks = std::lround((count > 2 ? std::atof(words[2]) : 10.0) / std::chrono::duration<double>(period).count());

    auto local = rlway::Local<std::int64_t>::policy_on_floats(
        {RLWAY_POLICY, RLWAY_VERSION, RLWAY_OBSERVATION_SIZE, RLWAY_ACTION_SIZE},
        [](const float *observation, bool, std::int64_t *action) {
            std::int32_t chosen = 0;
            rlway_act(observation, nullptr, &chosen, nullptr); // no noise, so the action is greedy; no Q-values
            *action = chosen;
        });
#ifdef RLWAY_REFUSED // the bundle has a guard
    local.guard([](const std::int64_t *previous, double elapsed_s, std::int64_t *action) {
        const std::int32_t before = previous ? static_cast<std::int32_t>(*previous) : 0;
        auto chosen = static_cast<std::int32_t>(*action);
        const int violated = rlway_guard(previous ? &before : nullptr, elapsed_s, &chosen);
        *action = chosen;
        return static_cast<unsigned>(violated);
    });
#endif
    const auto tell = [](rlway::Side side, const std::string &why) {
        std::printf("now %s: %s\n", rlway::name(side), why.c_str());
    };
    auto policy = rlway::Fallback<std::int64_t>::open({url, RLWAY_POLICY}, std::move(local), within, tell);
    if (!policy) {
        std::fprintf(stderr, "robot: %s\n", policy.error().sentence.c_str());
        return 1;
    }
    if (auto failure = policy->wait_for_server(std::chrono::seconds(1)))
        std::printf("it starts without the server: %s\n", failure->sentence.c_str());

    float state[4] = {0.01f, -0.02f, 0.03f, 0.04f};
    const rlway::Observation observation(state); // it only points to the numbers
    long late = 0, falls = 0;
    auto due = Clock::now();
    for (long tick = 0; tick < ticks; ++tick, due += period) {
        std::this_thread::sleep_until(due);
        late += Clock::now() - due > std::chrono::milliseconds(1);
        const auto reply = policy->act(observation);
        if (!reply) return 1; // never, with a local policy
        move(state, reply->action[0]);
        if (has_fallen(state)) {
            ++falls;
            state[0] = state[1] = state[2] = state[3] = 0.01f;
            policy->reset();
        }
    }
    const auto &counts = policy->counts();
    std::printf("%ld ticks: %llu by the server, %llu by the local policy, %llu held; %ld begun late, %ld falls\n", ticks,
                static_cast<unsigned long long>(counts.server), static_cast<unsigned long long>(counts.local),
                static_cast<unsigned long long>(counts.held), late, falls);
}
