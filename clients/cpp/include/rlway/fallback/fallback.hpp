/* A policy on a server with a local policy in its place: within a deadline, and until the server has proved itself again.
 *
 * In:      an observation, and when it was taken.
 * Out:     a reply with an action, by the deadline.
 * Refuses: a deadline that leaves the local policy no time (usage); to hold an action where there is none.
 *
 * The deadline is kept by the caller's thread alone: it sends, waits on the socket until the deadline less a reserve, and
 * otherwise runs the local policy. Names are looked up, connections opened and servers tested by the prober's thread.
 */
#ifndef RLWAY_FALLBACK_FALLBACK_HPP
#define RLWAY_FALLBACK_FALLBACK_HPP

#include "../client.hpp"
#include "local.hpp"
#include "prober.hpp"
#include "switch.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace rlway {

/* One server with a local side. Not for several threads at once. */
template <class Number> class Fallback {
  public:
    /* `server.timeout` is not used: `within` is the deadline of each action, counted from when it was taken. */
    static Result<Fallback> open(Server server, Local<Number> local,
                                 Clock::duration within = std::chrono::milliseconds(15), OnChange on_change = {})
    {
        auto address = wire::Address::parse(server.url);
        if (!address) return address.error();
        if (local.keeps_state() && server.episode.empty())
            return Error{Kind::usage, "fallback: a policy with state needs an `episode`, an id that no other client uses, "
                                      "got none."};
        if (within <= reserve) return too_short(within, reserve);
        return Fallback(std::move(server), std::move(local), within, std::move(on_change));
    }

    /* The action for this observation, taken at this time. The error is only that there is nothing to hold. */
    Result<Reply<Number>> act(const Observation &observation, Clock::time_point taken = Clock::now(),
                              const Options &options = {})
    {
        Reply<Number> reply;
        if (auto failure = act(observation, reply, taken, options)) return *failure;
        return reply;
    }

    /* The same into a reply that the caller keeps: nothing is allocated after the first calls, unless sides change. */
    Failure act(const Observation &observation, Reply<Number> &reply, Clock::time_point taken = Clock::now(),
                const Options &options = {})
    {
        collect();
        const auto now = Clock::now();
        const auto left = taken + within_ - reserve_ - now;
        const auto unfit = write(observation, options);
        if (!client_) return settle(observation, unfit, nullptr, false, reply);
        if (left <= Clock::duration::zero()) {
            overdue();
            return settle(observation, unfit, nullptr, false, reply);
        }
        if (unfit) return settle(observation, unfit, &unfit, false, reply);
        client_->set_timeout(left);
        const auto outcome = client_->ask_written(request_, reply);
        const bool is_late = outcome && Clock::now() - now >= left;
        const auto failure = settle(observation, unfit, &outcome, is_late, reply);
        if (side() == Side::local) client_.reset(); // a late answer is never taken for that of the next observation
        return failure;
    }

    /* The next observation begins an episode. */
    void reset()
    {
        local_.reset();
        prober_->begin();
        if (client_) client_->reset();
    }

    /* Waits until the server answers: before the loop, where a program wants to be sure of it.
     *
     * Gives usage if the server has another policy than the local one, server_unreachable after `timeout`. */
    Failure wait_for_server(Clock::duration timeout)
    {
        const auto until = Clock::now() + timeout;
        for (;;) {
            prober_->wait(until);
            collect();
            if (mismatch_) return mismatch_;
            if (side() == Side::server) return {};
            if (Clock::now() >= until) {
                char time[32];
                std::snprintf(time, sizeof time, "%g", wire::seconds(timeout));
                return Error{Kind::server_unreachable,
                             std::string("fallback: the server did not answer within ") + time + " s: " + why()};
            }
            std::this_thread::sleep_for(std::min<Clock::duration>(probe_every, timeout));
            prober_->offer({});
        }
    }

    /* Runs the local policy a few times, and keeps for it the longest time that it took: before the loop, for a policy
     * that takes more than some microseconds. */
    Failure measure_local(const Observation &observation)
    {
        if (!local_.is_policy()) return {};
        if (auto unfit = local_.check(observation)) return unfit;
        Clock::duration slowest{};
        for (int i = 0; i <= measured_runs; ++i) {
            const auto begun = Clock::now();
            if (auto failure = local_.act(observation, {}, begun, spare_)) return failure;
            if (i != 0) slowest = std::max(slowest, Clock::now() - begun);
        }
        local_.reset();
        if (within_ <= reserve + slowest) return too_short(within_, reserve + slowest);
        reserve_ = reserve + slowest;
        return {};
    }

    /* Who answers the next observation, as far as is known, and why. */
    Side side() const { return switch_.side(); }
    const std::string &why() const { return switch_.why(); }
    const Counts &counts() const { return switch_.counts; }

    /* How the local version differs from the server's, in a sentence; empty if no difference is known. */
    std::string skew() const
    {
        const auto own = local_.bundle().version;
        if (!local_.is_policy() || served_version_ == 0 || own == served_version_) return {};
        return "the local bundle is version " + std::to_string(own) + ", and the server's version is " +
               std::to_string(served_version_);
    }

  private:
    static constexpr std::chrono::milliseconds probe_every{100}; // policies with state are probed at every observation
    static constexpr std::chrono::milliseconds reserve{1};       // for the timer, and for the local policy
    static constexpr std::uint64_t warm_steps = 16; // on the server, before it takes over from a policy with state
    static constexpr int measured_runs = 5;

    Fallback(Server server, Local<Number> local, Clock::duration within, OnChange on_change)
        : local_(std::move(local)), within_(within), spin_(server.spin), switch_(std::move(on_change)),
          prober_(std::make_unique<Prober>(
              std::move(server), local_.is_policy() ? std::optional<Bundle>(local_.bundle()) : std::nullopt, within))
    {
    }

    static Error too_short(Clock::duration within, Clock::duration needed)
    {
        char sentence[160];
        std::snprintf(sentence, sizeof sentence,
                      "within: expected more than %.1f ms, the time that the local policy needs, got %g ms; allow more time.",
                      wire::seconds(needed) * 1e3, wire::seconds(within) * 1e3);
        return {Kind::usage, sentence};
    }

    /* Writes the request; why no policy takes the observation, if that is so. */
    Failure write(const Observation &observation, const Options &options)
    {
        limited_ = options;
        if (!limited_.deadline_ms) limited_.deadline_ms = wire::seconds(within_) * 1e3;
        request_.clear();
        auto unfit = local_.check(observation);
        if (!unfit) unfit = wire::write_request(request_, observation, limited_);
        return unfit;
    }

    /* Takes in how the probes went; the server answers again once enough were good. */
    void collect()
    {
        const auto found = prober_->findings();
        for (const auto &probe : found.probes) switch_.probed(probe);
        mismatch_ = found.mismatch;
        if (served_version_ == 0 || !client_) served_version_ = found.served_version;
        if (side() == Side::server || !switch_.is_proved() || mismatch_) return;
        const auto seen = found.warm_steps, steps = local_.steps();
        if (local_.keeps_state() && seen < warm_steps && seen != steps) return; // the server's state lacks steps
        auto client = prober_->take_client();
        if (!client) return;
        client_.emplace(std::move(*client));
        client_->set_spin(spin_);
        if (steps == 0) client_->reset();
        switch_.give_back(Clock::now());
    }

    /* Completes the reply. `outcome` is the server's error, or empty if it answered; null if it was not asked. */
    Failure settle(const Observation &observation, const Failure &unfit, const Failure *outcome, bool is_late,
                   Reply<Number> &reply)
    {
        if (outcome && !*outcome) {
            ++switch_.counts.server;
            served_version_ = reply.version;
            if (local_.keeps_state()) local_.act(observation, unfit, Clock::now(), spare_); // it sees every observation
            local_.gave(reply.action, Clock::now());
            return {};
        }
        if (outcome && !is_callers_fault(**outcome, unfit)) {
            ++(is_late || (*outcome)->kind == Kind::deadline_exceeded ? switch_.counts.late : switch_.counts.failed);
            switch_.fail((*outcome)->sentence, Clock::now());
        }
        if (auto failure = local_.act(observation, unfit, Clock::now(), reply)) return failure;
        ++(reply.source == Source::hold ? switch_.counts.held : switch_.counts.local);
        if (reply.why.empty()) reply.why = outcome ? (*outcome)->sentence : switch_.why();
        if (side() == Side::local && !unfit) offer_probe();
        local_.gave(reply.action, Clock::now());
        return {};
    }

    /* Whether the observation fits no policy, so that its refusal says nothing about the server. */
    bool is_callers_fault(const Error &error, const Failure &unfit) const
    {
        return unfit || (error.kind == Kind::spec_violated && !local_.is_policy());
    }

    /* The observation is older than the deadline, and the server was not asked. */
    void overdue()
    {
        ++switch_.counts.overdue;
        if (local_.keeps_state()) {
            switch_.fail("an observation was older than the deadline, and the server's state lacks its step", Clock::now());
            client_.reset();
        }
    }

    void offer_probe()
    {
        const auto now = Clock::now();
        if (!local_.keeps_state() && now < probe_from_) return;
        if (prober_->offer(request_)) probe_from_ = now + probe_every;
    }

    Local<Number> local_;
    Clock::duration within_, reserve_ = reserve, spin_;
    Switch switch_;
    std::unique_ptr<Prober> prober_;
    std::optional<Client> client_; // asks the server, while that is the side that answers
    std::int64_t served_version_ = 0;
    Failure mismatch_;
    Clock::time_point probe_from_;
    Reply<Number> spare_; // the local policy's, where the server's is given
    std::string request_; // this and the next keep their memory
    Options limited_;
};

} // namespace rlway

#endif
