/* The act message as a client writes and reads it.
 *
 * In:      an observation or several, and options; then the server's answer.
 * Out:     the JSON of a request; a `Reply`.
 * Refuses: an answer that reports an error, with that error; one that no policy server gives (other).
 */
#ifndef RLWAY_MESSAGES_HPP
#define RLWAY_MESSAGES_HPP

#include "observation.hpp"
#include "reply.hpp"
#include "result.hpp"
#include "wire/http.hpp"
#include "wire/json_reader.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace rlway {

namespace wire {

inline Error foreign()
{
    return {Kind::other, "the server answered, but not as a policy server does; is the URL right?"};
}

/* The error that the server reports. */
inline Error read_problem(int status, std::string_view body, int retry_after_s)
{
    Error error{kind_of_status(status), {}};
    std::string detail;
    bool has_request_id = false;
    JsonReader reader(body);
    const bool is_read = reader.object([&](std::string_view key) {
        has_request_id |= key == "request_id";
        if (key != "detail" || reader.next() != '"') return reader.skip();
        detail.clear();
        return reader.string(detail);
    });
    if (has_request_id && is_read) error.kind = Kind::internal_error;
    if (error.kind == Kind::queue_full) error.retry_after_s = retry_after_s;
    const bool has_detail = is_read && reader.is_at_end() && !detail.empty();
    error.sentence = has_detail ? detail : "the server answered with status " + std::to_string(status);
    return error;
}

inline Failure write_options(std::string &out, const Options &options)
{
    bool is_finite = true;
    const auto member = [&](const char *key, const auto &value) {
        if (!value) return;
        ((out += ",\"") += key) += "\":";
        is_finite &= append_number(out, *value);
    };
    if (options.epsilon || options.temperature || options.sigma) {
        out += ",\"explore\":{";
        const auto first = out.size();
        member("epsilon", options.epsilon);
        member("temperature", options.temperature);
        member("sigma", options.sigma);
        out.erase(first, 1); // the first comma
        out += '}';
    }
    member("seed", options.seed);
    member("version", options.version);
    member("deadline_ms", options.deadline_ms);
    if (!options.label.empty()) {
        out += ",\"label\":";
        append_string(out, options.label);
    }
    if (!options.outputs.empty()) out += ",\"outputs\":";
    for (std::size_t i = 0; i < options.outputs.size(); ++i) {
        out += i == 0 ? '[' : ',';
        append_string(out, options.outputs[i]);
    }
    if (!options.outputs.empty()) out += ']';
    if (!is_finite) return Error{Kind::usage, "options: expected finite numbers, got NaN or Infinity."};
    return {};
}

/* Appends the request, all but its last brace: the client adds the episode. */
inline Failure write_request(std::string &out, const Observation &observation, const Options &options)
{
    out += "{\"observation\":";
    if (auto failure = observation.write(out)) return failure;
    return write_options(out, options);
}

/* The same for several observations. */
inline Failure write_batch(std::string &out, Span<const Observation> observations, const Options &options)
{
    out += "{\"observations\":[";
    for (std::size_t i = 0; i < observations.size; ++i) {
        out += i != 0 ? "," : "";
        if (auto failure = observations.data[i].write(out, i)) return failure;
    }
    out += ']';
    return write_options(out, options);
}

/* Appends all numbers of a value, which may be nested; false where one does not fit the type. */
template <class Number> bool read_numbers(JsonReader &reader, std::vector<Number> &numbers, bool takes_null = false)
{
    switch (reader.next()) {
    case '{': return reader.object([&](std::string_view) { return read_numbers(reader, numbers, takes_null); });
    case '[': return reader.array([&] { return read_numbers(reader, numbers, takes_null); });
    case 't':
    case 'f': {
        bool value = false;
        if (!reader.boolean(value)) return false;
        numbers.push_back(static_cast<Number>(value));
        return true;
    }
    case 'n':
        if (!takes_null || !reader.null()) return false;
        numbers.push_back(std::numeric_limits<Number>::quiet_NaN());
        return true;
    default:
        if constexpr (std::is_integral_v<Number>) {
            std::int64_t value = 0;
            if (!reader.integer(value) || value != static_cast<std::int64_t>(static_cast<Number>(value))) return false;
            numbers.push_back(static_cast<Number>(value));
        } else {
            double value = 0;
            if (!reader.number(value)) return false;
            numbers.push_back(static_cast<Number>(value));
        }
        return true;
    }
}

/* Outputs by name, into those of the last answer. */
inline bool read_outputs(JsonReader &reader, std::vector<Output> &outputs)
{
    std::size_t count = 0;
    const bool is_read = reader.object([&](std::string_view name) {
        if (count == outputs.size()) outputs.emplace_back();
        Output &output = outputs[count++];
        output.name.assign(name);
        output.numbers.clear();
        return read_numbers(reader, output.numbers, true);
    });
    outputs.resize(count);
    return is_read;
}

/* Adds the rules that an answer names for each part of an action. */
inline bool read_guarded(JsonReader &reader, unsigned &guarded)
{
    if (reader.next() == '{') return reader.object([&](std::string_view) { return read_guarded(reader, guarded); });
    if (reader.next() == '[') return reader.array([&] { return read_guarded(reader, guarded); });
    std::string rule;
    if (!reader.string(rule)) return false;
    guarded |= rule == "out_of_range" ? out_of_range : rule == "too_fast" ? too_fast : rule == "non_finite" ? non_finite : 0;
    return true;
}

/* Reads the answer to one observation, or to several `rows`, into a reply, whose memory is used again. */
template <class Number> Failure read_reply(const Answer &answer, Reply<Number> &reply, std::size_t rows = 0)
{
    reply.action.clear();
    reply.version = 0;
    reply.source = Source::server;
    reply.why.clear();
    reply.guarded = 0;
    if (answer.status >= 400) return read_problem(answer.status, answer.body, answer.retry_after_s);
    const std::string_view wanted = rows == 0 ? "action" : "actions";
    bool has_version = false, has_outputs = false, fits = true;
    std::size_t count = 0;
    JsonReader reader(answer.body);
    const bool is_read = reader.object([&](std::string_view key) {
        if (key == "version") return has_version = reader.integer(reply.version);
        if (key == "outputs") return has_outputs = read_outputs(reader, reply.outputs);
        if (key == "guarded") return read_guarded(reader, reply.guarded);
        if (key != wanted) return reader.skip();
        reply.action.clear();
        JsonReader ahead = reader;
        const auto row = [&] {
            ++count;
            return read_numbers(reader, reply.action);
        };
        fits = rows == 0 ? row() : reader.array(row);
        return fits || (reader = ahead, reader.skip()); // its numbers may be of another type
    });
    if (!has_outputs) reply.outputs.clear();
    if (!is_read || !reader.is_at_end() || !has_version) return foreign();
    if (!fits)
        return Error{Kind::usage, "action: expected numbers of the type that was asked for, got others; ask for float "
                                  "where actions are continuous, and for std::int64_t where they are discrete."};
    if (reply.action.empty() || (rows != 0 && count != rows)) return foreign();
    return {};
}

/* One tensor's size is the product of its shape; "action" is one tensor, or a list of them. */
inline bool read_sizes(JsonReader &reader, std::size_t &sum)
{
    if (reader.next() == '[') return reader.array([&] { return read_sizes(reader, sum); });
    double size = 1;
    const bool is_read = reader.object([&](std::string_view key) {
        if (key != "shape") return reader.skip();
        return reader.array([&] {
            std::int64_t dimension = 0;
            if (!reader.integer(dimension) || dimension < 1) return false;
            size *= static_cast<double>(dimension);
            return size <= 1 << 30;
        });
    });
    sum += static_cast<std::size_t>(size);
    return is_read;
}

inline Result<Description> read_description(const Answer &answer)
{
    if (answer.status >= 400) return read_problem(answer.status, answer.body, answer.retry_after_s);
    Description found;
    std::size_t state_size = 0;
    JsonReader reader(answer.body);
    const bool is_read = reader.object([&](std::string_view outer) {
        if (outer != "manifest") return reader.skip();
        return reader.object([&](std::string_view key) {
            if (key == "policy") return reader.string(found.policy);
            if (key == "version") return reader.integer(found.version);
            if (key == "observation") return read_sizes(reader, found.observation_size);
            if (key == "action") return read_sizes(reader, found.action_size);
            if (key == "state") return read_sizes(reader, state_size);
            return reader.skip();
        });
    });
    if (!is_read || !reader.is_at_end() || found.policy.empty()) return foreign();
    found.keeps_state = state_size != 0;
    return found;
}

/* The name of the default policy, in the answer to GET /v1/policies. */
inline Result<std::string> read_default(const Answer &answer)
{
    if (answer.status >= 400) return read_problem(answer.status, answer.body, answer.retry_after_s);
    std::string name;
    JsonReader reader(answer.body);
    const bool is_read = reader.object([&](std::string_view key) {
        return key == "default" && reader.next() == '"' ? reader.string(name) : reader.skip();
    });
    if (!is_read || !reader.is_at_end()) return foreign();
    if (name.empty())
        return Error{Kind::server_unreachable, "the server has no default policy; name one of those that it serves."};
    return name;
}

} // namespace wire
} // namespace rlway

#endif
