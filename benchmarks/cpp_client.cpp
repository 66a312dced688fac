/* Asks a policy server with the C++ client, one request after the other.
 *
 *     cpp_client json|raw|stream URL POLICY SECONDS [SPIN_US]    prints {"rps": …, "p50_ms": …, "p99_ms": …}
 */
#include <rlway/rlway.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

int main(int count, char **words)
{
    if (count != 5 && count != 6) return 2;
    const std::string way = words[1];
    rlway::Server server{words[2], words[3]};
    if (count == 6) server.spin = std::chrono::microseconds(std::atol(words[5]));
    auto client = rlway::Client::open(server);
    auto stream = rlway::Stream::open(server);
    if (!client || !stream) return 1;
    const float numbers[4] = {0.01f, -0.02f, 0.03f, 0.04f};
    const rlway::Observation observation(numbers);
    std::int64_t action[1];
    std::vector<double> took_ms;
    const auto begun = rlway::Clock::now();
    const auto counted_from = begun + std::chrono::milliseconds(200); // to warm up
    const auto end = counted_from + std::chrono::duration_cast<rlway::Clock::duration>(
                                        std::chrono::duration<double>(std::atof(words[4])));
    for (auto now = begun; now < end;) {
        const bool is_good = way == "json"  ? bool(client->ask<std::int64_t>(observation))
                             : way == "raw" ? bool(client->act(numbers, action))
                                            : !stream->act(numbers, action);
        if (!is_good) return 1;
        const auto after = rlway::Clock::now();
        if (now >= counted_from) took_ms.push_back(rlway::wire::seconds(after - now) * 1e3);
        now = after;
    }
    std::sort(took_ms.begin(), took_ms.end());
    const auto percentile = [&](double share) {
        return took_ms[static_cast<std::size_t>(share * static_cast<double>(took_ms.size() - 1))];
    };
    std::printf("{\"rps\": %.1f, \"p50_ms\": %.4f, \"p99_ms\": %.4f}\n",
                static_cast<double>(took_ms.size()) / rlway::wire::seconds(end - counted_from), percentile(0.5), percentile(0.99));
}
