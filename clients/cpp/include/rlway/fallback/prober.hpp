/* Asks the server on a thread of its own while the local side answers, so that no control loop waits for it.
 *
 * In:      requests that the local side has to answer.
 * Out:     how each probe went; a client whose connection is open and known to work.
 *
 * It looks up the server's name, connects, compares the served policy with the local one, and then asks for actions. A
 * policy with state is asked for every observation, in an episode of its own: after some steps without a gap its state
 * on the server is as good as that of an episode that was played there from the beginning.
 */
#ifndef RLWAY_FALLBACK_PROBER_HPP
#define RLWAY_FALLBACK_PROBER_HPP

#include "../client.hpp"
#include "local.hpp"

#include <condition_variable>
#include <csignal>
#include <memory>
#include <mutex>
#include <optional>
#include <pthread.h>
#include <string>
#include <utility>
#include <vector>

namespace rlway {

/* One thread, which has at most one job at a time. Every method but `wait` returns at once, the destructor as well: the
 * thread ends by itself, once its probe has ended. */
class Prober {
  public:
    using Probe = std::optional<std::string>; // its fault

    /* What the thread has found out since it was asked last. */
    struct Findings {
        std::vector<Probe> probes;
        std::int64_t served_version = 0;
        Failure mismatch; // the served policy is not the local one
        std::uint64_t warm_steps = 0; // of the server's episode, without a gap
    };

    /* `local` is empty where no policy is compared. A thread that cannot be had is a probe that failed. */
    Prober(Server server, std::optional<Bundle> local, Clock::duration within)
        : shared_(std::make_shared<Shared>(std::move(server), std::move(local), within))
    {
        auto *own = new std::shared_ptr<Shared>(shared_);
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before); // signals are for the program's own threads
        pthread_t thread;
        const bool is_started = pthread_create(&thread, nullptr, &run, own) == 0;
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        if (is_started) {
            pthread_detach(thread);
            return;
        }
        delete own;
        shared_->findings.probes.emplace_back("the system gave no thread for the probes");
        shared_->has_job = false;
    }

    Prober(const Prober &) = delete;
    Prober &operator=(const Prober &) = delete;

    ~Prober()
    {
        const std::lock_guard<std::mutex> lock(shared_->mutex);
        shared_->is_closed = true;
        shared_->changed.notify_all();
    }

    /* Asks with this request; empty only connects. False if the last probe is still under way: the episode has a gap. */
    bool offer(const std::string &request)
    {
        const std::lock_guard<std::mutex> lock(shared_->mutex);
        if (shared_->has_job) {
            shared_->has_gap = true;
            return false;
        }
        shared_->request = request;
        shared_->has_job = true;
        shared_->changed.notify_all();
        return true;
    }

    /* The next observation begins an episode. */
    void begin()
    {
        const std::lock_guard<std::mutex> lock(shared_->mutex);
        shared_->findings.warm_steps = 0;
        shared_->has_gap = shared_->has_job;
    }

    /* What was found since the last call. */
    Findings findings()
    {
        const std::lock_guard<std::mutex> lock(shared_->mutex);
        Findings &all = shared_->findings;
        return {std::exchange(all.probes, {}), all.served_version, all.mismatch, all.warm_steps};
    }

    /* The client, if no probe is under way; it is the caller's from then on. */
    std::optional<Client> take_client()
    {
        const std::lock_guard<std::mutex> lock(shared_->mutex);
        if (shared_->has_job) return {};
        return std::exchange(shared_->client, std::nullopt);
    }

    /* Waits until no probe is under way. */
    void wait(Clock::time_point until)
    {
        std::unique_lock<std::mutex> lock(shared_->mutex);
        shared_->changed.wait_until(lock, until, [&] { return !shared_->has_job; });
    }

  private:
    static constexpr std::chrono::milliseconds longest_probe{500}; // into a broken network; then comes the next

    /* What both threads see. Only the prober's thread uses the client while there is a job. */
    struct Shared {
        Shared(Server asked, std::optional<Bundle> compared, Clock::duration deadline)
            : server(std::move(asked)), local(std::move(compared)), within(deadline), episode(server.episode)
        {
            server.timeout = longest_probe;
            server.spin = {}; // the control loop may need this core
        }

        std::mutex mutex;
        std::condition_variable changed;
        Server server;
        const std::optional<Bundle> local;
        const Clock::duration within;
        const std::string episode;
        std::optional<Client> client;
        std::string request;
        Findings findings;
        int clients = 0;
        bool has_job = true; // the first one connects
        bool has_gap = false, is_closed = false;
    };

    static void *run(void *argument)
    {
        auto *given = static_cast<std::shared_ptr<Shared> *>(argument);
        const std::shared_ptr<Shared> shared = std::move(*given);
        delete given;
        std::unique_lock<std::mutex> lock(shared->mutex);
        std::string request;
        for (;;) {
            shared->changed.wait(lock, [&] { return shared->is_closed || shared->has_job; });
            if (shared->is_closed) return nullptr;
            request = shared->request;
            const bool is_first = shared->findings.warm_steps == 0;
            lock.unlock();
            auto probes = probe(*shared, request, is_first);
            lock.lock();
            auto &found = shared->findings;
            const bool is_step = !request.empty() && !probes.back() && !shared->has_gap;
            found.warm_steps = is_step ? found.warm_steps + 1 : 0;
            found.probes.insert(found.probes.end(), probes.begin(), probes.end());
            shared->has_job = shared->has_gap = false;
            shared->changed.notify_all();
        }
    }

    static std::vector<Probe> probe(Shared &shared, const std::string &request, bool is_first)
    {
        std::vector<Probe> probes;
        const bool is_new = !shared.client;
        auto failure = is_new ? connect(shared) : Failure();
        if (!failure && (is_new || request.empty())) {
            failure = compare(shared);
            if (!failure) probes.emplace_back();
        }
        if (!failure && !request.empty()) {
            if (is_first) shared.client->reset();
            const auto begun = Clock::now();
            Reply<double> reply;
            failure = shared.client->ask_written(request, reply);
            const auto took = Clock::now() - begun;
            if (!failure && took <= shared.within) probes.emplace_back();
            if (!failure && took > shared.within)
                probes.emplace_back("a probe took " + milliseconds(took) + " ms, longer than " +
                                    milliseconds(shared.within) + " ms");
        }
        if (failure) {
            probes.emplace_back(failure->sentence);
            shared.client.reset();
        }
        return probes;
    }

    /* Each client has an episode of its own on the server, so that no late request steps into it. */
    static Failure connect(Shared &shared)
    {
        ++shared.clients;
        if (!shared.episode.empty() && shared.clients > 1)
            shared.server.episode = shared.episode + "~" + std::to_string(shared.clients);
        auto client = Client::open(shared.server);
        if (!client) return client.error();
        shared.client.emplace(std::move(*client));
        return {};
    }

    static Failure compare(Shared &shared)
    {
        auto served = shared.client->describe();
        if (!served) return served.error();
        auto mismatch = shared.local ? compare(*shared.local, *served) : Failure();
        const std::lock_guard<std::mutex> lock(shared.mutex);
        shared.findings.served_version = served->version;
        shared.findings.mismatch = mismatch;
        return mismatch;
    }

    static Failure compare(const Bundle &local, const Description &served)
    {
        const auto differ = [](const std::string &what, const std::string &theirs, const std::string &ours) {
            return Error{Kind::usage, "fallback: " + what + "expected " + theirs + ", as the server serves it, got " + ours +
                                          " in the local policy; deploy the bundle of the served version."};
        };
        const auto state = [](bool keeps_state) { return keeps_state ? std::string("a state") : std::string("none"); };
        const auto numbers = [](std::size_t size) { return std::to_string(size) + " numbers"; };
        if (local.policy != served.policy)
            return Error{Kind::usage, "fallback: expected a bundle of '" + served.policy + "', as the server serves, got " +
                                          "one of '" + local.policy + "'; deploy the bundle of the served policy."};
        if (local.observation_size != served.observation_size)
            return differ("observation: ", numbers(served.observation_size), numbers(local.observation_size));
        if (local.action_size != served.action_size)
            return differ("actions: ", numbers(served.action_size), numbers(local.action_size));
        if (local.keeps_state != served.keeps_state)
            return differ("state: ", state(served.keeps_state), state(local.keeps_state));
        return {};
    }

    static std::string milliseconds(Clock::duration time)
    {
        return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
    }

    std::shared_ptr<Shared> shared_;
};

} // namespace rlway

#endif
