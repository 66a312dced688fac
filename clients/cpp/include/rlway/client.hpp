/* A policy on a server, for programs that wait for each action.
 *
 * In:      an observation.
 * Out:     an action.
 * Refuses: timed_out when the whole exchange takes longer than `timeout`, connecting included; server_unreachable; any
 *          error that the server reports, in its words.
 */
#ifndef RLWAY_CLIENT_HPP
#define RLWAY_CLIENT_HPP

#include "messages.hpp"
#include "wire/connection.hpp"

#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rlway {

/* Where a policy is, and how it is asked. */
struct Server {
    std::string url;
    std::string policy = {}; // empty: the server's default policy
    std::string key = {};    // an API key, if the server wants one
    Clock::duration timeout = std::chrono::seconds(5);
    std::string episode = {}; // an id that no other client uses, for a policy with state
    Clock::duration spin = std::chrono::microseconds(200); // how long to look for an answer before the thread sleeps
};

namespace wire {

/* A server as both the client and the stream know it: the name is looked up once. */
struct Target {
    Server server;
    Address address;
    std::vector<Peer> peers;

    static Result<Target> open(Server server)
    {
        for (const char c : server.key)
            if (c < ' ' || c > '~') return Error{Kind::usage, "API key: expected printable ASCII on one line."};
        auto address = Address::parse(server.url);
        if (!address) return address.error();
        auto peers = address->look_up();
        if (!peers) return peers.error();
        return Target{std::move(server), std::move(*address), std::move(*peers)};
    }

    /* Appends the first lines of a request. */
    void write_head(std::string &out, std::string_view method, std::string_view path) const
    {
        ((((out += method) += ' ') += address.prefix) += path) += " HTTP/1.1\r\nhost: ";
        (out += address.authority) += "\r\n";
        if (!server.key.empty()) ((out += "authorization: Bearer ") += server.key) += "\r\n";
    }

    Error error(const Trouble &trouble) const
    {
        if (!trouble.is_late)
            return {Kind::server_unreachable, address.text() + ": no policy server answers there: " + trouble.reason + "."};
        char time[32];
        std::snprintf(time, sizeof time, "%g", seconds(server.timeout));
        return {Kind::timed_out, address.text() + ": no answer within " + time + " s."};
    }
};

} // namespace wire

/* One connection to one policy, opened for the first request and kept. Not for several threads at once. */
class Client {
  public:
    /* Looks up the server's name, which no deadline ends: call it outside of the control loop. Connects to nothing. */
    static Result<Client> open(Server server)
    {
        auto target = wire::Target::open(std::move(server));
        if (!target) return target.error();
        return Client(std::move(*target));
    }

    /* The action for an observation, as JSON: for policies of every kind. */
    template <class Number> Result<Reply<Number>> ask(const Observation &observation, const Options &options = {})
    {
        Reply<Number> reply;
        if (auto failure = ask(observation, reply, options)) return *failure;
        return reply;
    }

    /* The same into a reply that the caller keeps: nothing is allocated after the first calls. */
    template <class Number> Failure ask(const Observation &observation, Reply<Number> &reply, const Options &options = {})
    {
        body_.clear();
        if (auto failure = wire::write_request(body_, observation, options)) return failure;
        return ask_written(body_, reply);
    }

    /* The actions for several observations, in one request. In an episode, each is one of several environments. */
    template <class Number>
    Result<Reply<Number>> ask_batch(Span<const Observation> observations, const Options &options = {})
    {
        Reply<Number> reply;
        body_.clear();
        if (observations.size == 0) return Error{Kind::usage, "ask_batch: expected at least one observation, got none."};
        if (auto failure = wire::write_batch(body_, observations, options)) return *failure;
        if (auto failure = ask_written(body_, reply, observations.size)) return *failure;
        return reply;
    }

    /* The action for a raw row, or the actions for several, written to `action`; the version of the policy.
     *
     * The types are those of the manifest, such as float and std::int64_t. Nothing is allocated after the first calls.
     * For a policy with state, use `ask` or a Stream. */
    template <class In, class Out> Result<std::int64_t> act(Span<In> observation, Span<Out> action)
    {
        if (auto failure = check_finite(Span<const std::remove_const_t<In>>(observation.data, observation.size)))
            return *failure;
        auto answer = exchange("POST", act_path_, "application/octet-stream", observation.bytes(), true);
        if (!answer) return answer.error();
        if (answer->status >= 400) return wire::read_problem(answer->status, answer->body, answer->retry_after_s);
        if (answer->status != 200 || answer->version == 0) return wire::foreign();
        if (auto failure = copy_action(answer->body, action)) return *failure;
        return answer->version;
    }

    template <class In, std::size_t n, class Out, std::size_t m>
    Result<std::int64_t> act(const In (&observation)[n], Out (&action)[m])
    {
        return act(Span<const In>(observation), Span<Out>(action));
    }

    /* What the server says of the policy. */
    Result<Description> describe()
    {
        auto policy = target_.server.policy;
        if (policy.empty()) {
            auto listing = exchange("GET", "/v1/policies", "", "", true);
            if (!listing) return listing.error();
            auto found = wire::read_default(*listing);
            if (!found) return found.error();
            policy = *found;
        }
        auto answer = exchange("GET", "/v1/policies/" + wire::quoted(policy), "", "", true);
        if (!answer) return answer.error();
        return wire::read_description(*answer);
    }

    /* The next action begins an episode. */
    void reset() { is_first_ = true; }

    /* Of each request from now on. */
    void set_timeout(Clock::duration timeout) { target_.server.timeout = timeout; }

    /* Of each wait from now on; 0: the thread sleeps at once. */
    void set_spin(Clock::duration spin) { target_.server.spin = spin; }

    /* Closes the connection; the next request opens another. */
    void close() { connection_.close(); }

    /* `ask` with what `wire::write_request` wrote, or `wire::write_batch` for so many rows. */
    template <class Number> Failure ask_written(std::string_view request, Reply<Number> &reply, std::size_t rows = 0)
    {
        const auto &episode = target_.server.episode;
        json_.assign(request);
        if (!episode.empty()) {
            json_ += ",\"episode\":";
            wire::append_string(json_, episode);
            if (is_first_) json_ += ",\"first\":true";
        }
        json_ += '}';
        // Within an episode, the server may have made the step before the connection broke.
        const bool may_repeat = episode.empty() || is_first_;
        auto answer = exchange("POST", act_path_, "application/json", json_, may_repeat);
        if (!answer) return answer.error();
        auto failure = wire::read_reply(*answer, reply, rows);
        if (!failure) is_first_ = false;
        return failure;
    }

  private:
    explicit Client(wire::Target target) : target_(std::move(target))
    {
        const auto &policy = target_.server.policy;
        act_path_ = policy.empty() ? "/act" : "/v1/policies/" + wire::quoted(policy) + "/act";
    }

    template <class Out> static Failure copy_action(std::string_view body, Span<Out> action)
    {
        if (body.size() != action.bytes().size())
            return Error{Kind::usage, "action: expected room for the answer's " + std::to_string(body.size()) +
                                          " bytes, got " + std::to_string(action.bytes().size()) +
                                          "; its type and size are in the policy's manifest."};
        std::memcpy(action.data, body.data(), body.size());
        return {};
    }

    Result<wire::Answer> exchange(std::string_view method, std::string_view path, std::string_view media_type,
                                  std::string_view body, bool may_repeat)
    {
        const auto until = Clock::now() + target_.server.timeout;
        request_.clear();
        target_.write_head(request_, method, path);
        if (!media_type.empty()) {
            ((request_ += "content-type: ") += media_type) += "\r\ncontent-length: ";
            wire::append_number(request_, body.size());
            request_ += "\r\n";
        }
        (request_ += "\r\n") += body;
        if (connection_.is_open() && connection_.is_readable())
            connection_.close(); // data before a request can only be the end of the connection, or its announcement
        const bool is_reused = connection_.is_open();
        auto trouble = exchange_once(until);
        if (trouble && !trouble->is_late && is_reused && may_repeat)
            trouble = exchange_once(until); // the server may close a kept connection at any time
        if (trouble) return target_.error(*trouble);
        if (!reader_.answer().keep_alive) connection_.close();
        return reader_.answer();
    }

    std::optional<wire::Trouble> exchange_once(Clock::time_point until)
    {
        if (!connection_.is_open())
            if (auto trouble = connection_.open(target_.peers, until)) return trouble;
        if (auto trouble = connection_.send(request_, until)) return trouble;
        reader_.clear();
        for (;;) {
            if (auto trouble = connection_.receive(reader_.received(), until, target_.server.spin)) return trouble;
            const auto progress = reader_.read();
            if (progress == wire::Progress::whole) return {};
            if (progress == wire::Progress::foreign) {
                connection_.close();
                return wire::Trouble{false, "what answers there does not speak HTTP as a policy server does"};
            }
        }
    }

    wire::Target target_;
    std::string act_path_;
    wire::Connection connection_;
    wire::AnswerReader reader_;
    std::string body_, json_, request_; // they keep their memory from one request to the next
    bool is_first_ = true;
};

} // namespace rlway

#endif
