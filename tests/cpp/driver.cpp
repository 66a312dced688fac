/* Drives the C++ client from a test: a command a line on stdin, an answer of JSON a line on stdout.
 *
 *     client URL POLICY KEY TIMEOUT_MS EPISODE      "-" is an empty word
 *     ask int|float [NAME=NUMBER ...] : NUMBER ...
 *
 * Observations are float32. An error is {"kind": number of rlway::Kind, "error": sentence}.
 */
#include <rlway/rlway.hpp>
#include <rlway_policy_node/policy_loop.hpp>

#include "policy.h" // of linear

#include <cstdlib>
#include <iostream>
#include <new>
#include <sstream>
#include <stdexcept>

extern "C" void summing_act(const float *observation, const float *noise, float *sum, int reset, std::int32_t *action,
                            float *q_values);

static thread_local long allocations = 0;

// Not inlined: g++ otherwise takes the inlined halves for a mismatch.
[[gnu::noinline]] void *operator new(std::size_t size)
{
    ++allocations;
    void *memory = std::malloc(size);
    if (memory == nullptr) std::abort();
    return memory;
}
[[gnu::noinline]] void operator delete(void *memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

using rlway::Clock;
using rlway::Observation;
using Words = std::istringstream;

namespace {

std::string told; // the JSON of what on_change was told
std::optional<rlway::Client> client;
std::optional<rlway::Stream> stream;
std::optional<rlway::Fallback<std::int64_t>> fallback;

/* What ROS would do with it. */
struct Published {
    std::vector<float> action;
    std::vector<std::string> logged;

    void publish(const std::vector<float> &newest) { action = newest; }
    void log(const std::string &sentence) { logged.push_back(sentence); }
};

Published published;
std::optional<rlway_policy_node::PolicyLoop<Published>> loop;

std::string word(Words &words)
{
    std::string found;
    words >> found;
    return found == "-" ? "" : found;
}

long whole(Words &words) { return std::stol(word(words)); }

std::string quoted(std::string_view text)
{
    std::string out;
    rlway::wire::append_string(out, text);
    return out;
}

std::string told_of(const rlway::Error &error)
{
    return "{\"kind\":" + std::to_string(static_cast<int>(error.kind)) + ",\"error\":" + quoted(error.sentence) +
           ",\"retry_after_s\":" + std::to_string(error.retry_after_s) + "}";
}

std::string told_of(const rlway::Failure &failure) { return failure ? told_of(*failure) : "{}"; }

template <class Numbers> std::string listed(const Numbers &numbers)
{
    std::string out = "[";
    for (const auto number : numbers) {
        if (out.size() > 1) out += ',';
        if (!rlway::wire::append_number(out, number)) out += "null";
    }
    return out + "]";
}

template <class Number> std::string told_of(const rlway::Result<rlway::Reply<Number>> &reply)
{
    if (!reply) return told_of(reply.error());
    std::string outputs;
    for (const auto &[name, numbers] : reply->outputs)
        outputs += (outputs.empty() ? "" : ",") + quoted(name) + ":" + listed(*reply->output(name));
    return "{\"action\":" + listed(reply->action) + ",\"version\":" + std::to_string(reply->version) +
           ",\"source\":" + quoted(name(reply->source)) + ",\"why\":" + quoted(reply->why) +
           ",\"guarded\":" + std::to_string(reply->guarded) + ",\"outputs\":{" + outputs + "}}";
}

/* NAME=NUMBER up to the colon. `age_ms` is how long ago the observation was taken. */
rlway::Options options(Words &words, double *age_ms = nullptr)
{
    rlway::Options found;
    for (auto one = word(words); one != ":"; one = word(words)) {
        const auto equals = one.find('=');
        const auto key = one.substr(0, equals);
        if (key == "label") {
            found.label = one.substr(equals + 1);
            continue;
        }
        if (key == "output") {
            found.outputs.push_back(one.substr(equals + 1));
            continue;
        }
        const auto value = std::stod(one.substr(equals + 1));
        if (key == "epsilon") found.epsilon = value;
        if (key == "temperature") found.temperature = value;
        if (key == "sigma") found.sigma = value;
        if (key == "seed") found.seed = static_cast<std::int64_t>(value);
        if (key == "version") found.version = static_cast<std::int64_t>(value);
        if (key == "deadline_ms") found.deadline_ms = value;
        if (key == "age_ms" && age_ms != nullptr) *age_ms = value;
    }
    return found;
}

std::vector<float> floats(Words &words)
{
    std::vector<float> found;
    for (auto one = word(words); !one.empty(); one = word(words)) found.push_back(std::stof(one));
    return found;
}

rlway::Server server(Words &words)
{
    rlway::Server found{word(words), word(words)};
    found.key = word(words);
    found.timeout = std::chrono::milliseconds(whole(words));
    found.episode = word(words);
    return found;
}

template <class Number> std::string ask(Words &words)
{
    const auto asked = options(words);
    const auto observation = floats(words);
    return told_of(client->ask<Number>(Observation(observation.data(), observation.size()), asked));
}

/* Several observations of this many numbers each. */
template <class Number> std::string ask_batch(Words &words)
{
    const auto width = static_cast<std::size_t>(whole(words));
    const auto asked = options(words);
    const auto numbers = floats(words);
    std::vector<Observation> rows;
    for (std::size_t i = 0; i < numbers.size(); i += width) rows.emplace_back(numbers.data() + i, width);
    return told_of(client->ask_batch<Number>(rows, asked));
}

/* The same observation by the places of policy.h and by the names that the server knows; then one part of several. */
std::string ask_by_name(Words &words)
{
    const auto numbers = floats(words); // toe, ankle, knee, hip
    float sensors[RLWAY_OBSERVATION_SIZE];
    sensors[RLWAY_OBSERVATION_TOE] = numbers.at(0);
    sensors[RLWAY_OBSERVATION_ANKLE] = numbers.at(1);
    sensors[RLWAY_OBSERVATION_KNEE] = numbers.at(2);
    sensors[RLWAY_OBSERVATION_HIP] = numbers.at(3);
    Observation named;
    named.add_named({}, {"toe", "ankle", "knee", "hip"}, numbers.data());
    const auto by_place = client->ask<std::int64_t>(Observation(sensors)), by_name = client->ask<std::int64_t>(named);
    if (!by_place || !by_name) return told_of(by_name ? by_place : by_name);
    const bool goes = by_place->action[0] == RLWAY_ACTION_GO;
    return "[" + quoted(goes ? "go" : "brake") + "," + std::to_string(by_name->action[0]) + "]";
}

std::string ask_with_named_part(Words &words)
{
    const auto numbers = floats(words); // toe, knee, hip
    const std::uint8_t camera[2] = {3, 200};
    Observation observation;
    observation.add({"camera"}, camera, 2).add_named({"joints", "arm"}, {"toe", "knee", "hip"}, numbers.data());
    return told_of(client->ask<std::int64_t>(observation));
}

template <class Number> std::string act(Words &words)
{
    std::vector<Number> action(static_cast<std::size_t>(whole(words)));
    const auto observation = floats(words);
    const auto version = client->act(rlway::Span<const float>(observation), rlway::Span<Number>(action));
    if (!version) return told_of(version.error());
    return "{\"action\":" + listed(action) + ",\"version\":" + std::to_string(*version) + "}";
}

template <class Number> std::string receive(Words &words)
{
    std::vector<Number> action(static_cast<std::size_t>(whole(words)));
    if (auto failure = stream->receive(rlway::Span<Number>(action))) return told_of(failure);
    return "{\"action\":" + listed(action) + ",\"in_flight\":" + std::to_string(stream->in_flight()) + "}";
}

/* An observation of a camera and a joint, and one of several dimensions. */
std::string ask_nested(Words &words)
{
    const auto numbers = floats(words);
    const std::uint8_t camera[2] = {static_cast<std::uint8_t>(numbers.at(0)), static_cast<std::uint8_t>(numbers.at(1))};
    Observation observation;
    observation.add({"camera"}, camera, 2).add({"joints", "arm"}, numbers.data() + 2, 3);
    return told_of(client->ask<std::int64_t>(observation));
}

std::string written(Words &words)
{
    const auto numbers = floats(words);
    const std::int64_t place = -7;
    const bool flags[1] = {true};
    Observation observation;
    observation.add({"a\"b", "x"}, numbers.data(), numbers.size(), {2, 1, numbers.size() / 2});
    observation.add_number({"a\"b", "y", "z"}, &place).add({"a\"b", "y", "v"}, flags, 1).add_number({"last"}, &place);
    std::string out;
    if (auto failure = observation.write(out)) return told_of(failure);
    return out;
}

/* How often this thread allocated memory for this many actions, after the first ones. */
std::string count_allocations(Words &words)
{
    const auto way = word(words);
    const auto times = whole(words);
    const float numbers[4] = {1, 2, 3, 4};
    const Observation observation(numbers);
    std::int64_t action[1];
    rlway::Reply<std::int64_t> reply;
    rlway::Options asked;
    asked.outputs = {"q_values"};
    std::string sources;
    long before = 0;
    for (long i = -3; i < times; ++i) {
        if (i == 0) before = allocations;
        const bool is_good = way == "stream"     ? !stream->act(numbers, action)
                             : way == "raw"      ? bool(client->act(numbers, action))
                             : way == "fallback" ? !fallback->act(observation, reply)
                                                 : !client->ask(observation, reply, asked);
        if (!is_good) return "{}";
    }
    const auto found = allocations - before;
    return "{\"allocations\":" + std::to_string(found) + ",\"source\":" + quoted(name(reply.source)) + "}";
}

/* What the thread does in each of several waits, looking (true) or sleeping; each word says whether a look would find
 * the answer. */
std::string run_spin(Words &words)
{
    rlway::wire::Spin spin;
    std::vector<bool> looked;
    for (auto finds = word(words); !finds.empty(); finds = word(words)) {
        looked.push_back(spin.begin(std::chrono::seconds(1)) > Clock::now());
        spin.end(looked.back() && finds == "found");
    }
    return listed(looked);
}

rlway::Local<std::int64_t> local(const std::string &name)
{
    using Local = rlway::Local<std::int64_t>;
    if (name == "hold") return Local::hold();
    if (name == "fixed") return Local::fixed({7});
    if (name == "summing")
        return Local::policy_on_floats({"summing", 1, 4, 1, true},
                                       [sum = std::vector<float>(4)](const float *observation, bool begins,
                                                                     std::int64_t *action) mutable {
                                           std::int32_t chosen = 0;
                                           summing_act(observation, nullptr, sum.data(), begins, &chosen, nullptr);
                                           *action = chosen;
                                       });
    const std::int64_t version = name == "old" ? 1 : 2;
    const std::size_t size = name == "wide" ? 5 : 4;
    auto linear = Local::policy_on_floats({"linear", version, size, 1},
                                          [name](const float *observation, bool, std::int64_t *action) {
                                              if (name == "throwing") throw std::runtime_error("no luck");
                                              std::int32_t chosen = 0;
                                              linear_act(observation, nullptr, &chosen, nullptr);
                                              *action = chosen;
                                          });
    if (name == "guarded")
        linear.guard([](const std::int64_t *previous, double, std::int64_t *action) {
            *action = previous == nullptr ? 5 : *previous + 1;
            if (*action == 8) return 2u | Local::refused;
            return previous == nullptr ? 1u : 2u;
        });
    return linear;
}

std::string open_fallback(Words &words)
{
    auto asked = server(words);
    const auto within = std::chrono::milliseconds(whole(words));
    const auto name = word(words);
    told.clear();
    const auto tell = [name](rlway::Side side, const std::string &why) {
        told += (told.empty() ? "[" : ",[") + quoted(rlway::name(side)) + "," + quoted(why) + "]";
        if (name == "complaining") throw std::runtime_error(why);
    };
    fallback.reset();
    auto opened = rlway::Fallback<std::int64_t>::open(std::move(asked), local(name), within, tell);
    if (!opened) return told_of(opened.error());
    fallback.emplace(std::move(*opened));
    return "{}";
}

std::string fall(Words &words)
{
    double age_ms = 0;
    const auto asked = options(words, &age_ms);
    const auto observation = floats(words);
    const auto taken = Clock::now() - std::chrono::microseconds(static_cast<long>(age_ms * 1e3));
    return told_of(fallback->act(Observation(observation.data(), observation.size()), taken, asked));
}

std::string state()
{
    const auto &c = fallback->counts();
    std::ostringstream out;
    out << "{\"side\":" << quoted(name(fallback->side())) << ",\"why\":" << quoted(fallback->why())
        << ",\"skew\":" << quoted(fallback->skew()) << ",\"told\":[" << told << "],\"server\":" << c.server
        << ",\"local\":" << c.local << ",\"held\":" << c.held << ",\"late\":" << c.late << ",\"failed\":" << c.failed
        << ",\"overdue\":" << c.overdue << ",\"probes\":" << c.probes << ",\"changes\":" << c.changes << "}";
    return out.str();
}

std::string open_loop(Words &words)
{
    rlway_policy_node::Settings settings;
    settings.server.url = word(words);
    settings.server.policy = word(words);
    settings.observation_size = static_cast<std::size_t>(whole(words));
    settings.safe_action = floats(words);
    settings.within = std::chrono::milliseconds(500);
    auto opened = rlway_policy_node::PolicyLoop<Published>::open(std::move(settings), published);
    if (!opened) return told_of(opened.error());
    loop.emplace(std::move(*opened));
    return "{}";
}

std::string tick()
{
    loop->tick(Clock::now());
    std::string logged;
    for (const auto &sentence : published.logged) logged += (logged.empty() ? "" : ",") + quoted(sentence);
    return "{\"action\":" + listed(published.action) + ",\"logged\":[" + logged + "]}";
}

/* Events, each after some seconds: `fail`, `good` and `bad`. What the switch is after each. */
std::string run_switch(Words &words)
{
    rlway::Switch events({});
    Clock::time_point now{};
    std::string out = "[";
    for (auto event = word(words); !event.empty(); event = word(words)) {
        now += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(std::stod(word(words))));
        if (event == "fail") events.fail("late", now);
        if (event == "good") events.probed({});
        if (event == "bad") events.probed("late");
        if (events.side() == rlway::Side::local && events.is_proved()) events.give_back(now);
        out += (out.size() > 1 ? ",[" : "[") + quoted(name(events.side())) + "," + std::to_string(events.needed()) + "," +
               std::to_string(events.counts.changes) + "]";
    }
    return out + "]";
}

std::string bytes(Words &words)
{
    const auto digits = word(words);
    std::string found;
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
        found += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
    return found;
}

/* A copy of exactly this size, so that the sanitizer sees a read past its end. */
struct Exact {
    explicit Exact(const std::string &text) : size(text.size()), data(new char[size])
    {
        std::copy(text.begin(), text.end(), data.get());
    }
    std::string_view view() const { return {data.get(), size}; }
    std::size_t size;
    std::unique_ptr<char[]> data;
};

std::string read_json(Words &words)
{
    const Exact text(bytes(words));
    rlway::wire::JsonReader reader(text.view());
    return reader.skip() && reader.is_at_end() ? "true" : "false";
}

std::string read_action(Words &words)
{
    rlway::wire::Answer answer;
    answer.status = static_cast<int>(whole(words));
    const Exact text(bytes(words));
    const auto rows = word(words);
    answer.body = text.view();
    const auto described = rlway::wire::read_description(answer);
    const auto listing = rlway::wire::read_default(answer);
    rlway::Reply<double> reply;
    const auto failure = rlway::wire::read_reply(answer, reply, rows.empty() ? 0 : std::stoul(rows));
    const auto told_reply = failure ? told_of(*failure) : told_of(rlway::Result<rlway::Reply<double>>(reply));
    return "[" + told_reply + "," + (described ? std::to_string(described->observation_size) : "null") + "," +
           (listing ? quoted(*listing) : "null") + "]";
}

/* Feeds an answer of HTTP in pieces of this many bytes. */
std::string read_http(Words &words)
{
    const auto piece = static_cast<std::size_t>(whole(words));
    const auto text = bytes(words);
    rlway::wire::AnswerReader reader;
    auto progress = rlway::wire::Progress::more;
    for (std::size_t i = 0; i < text.size() && progress == rlway::wire::Progress::more; i += piece) {
        reader.received().append(text, i, piece);
        progress = reader.read();
    }
    if (progress == rlway::wire::Progress::more) return "[\"more\"]";
    if (progress == rlway::wire::Progress::foreign) return "[\"foreign\"]";
    return "[\"whole\"," + std::to_string(reader.answer().status) + "," + quoted(reader.answer().body) + "]";
}

std::string read_frames(Words &words)
{
    const auto piece = static_cast<std::size_t>(whole(words));
    const auto text = bytes(words);
    rlway::wire::FrameReader reader;
    std::string out = "[";
    for (std::size_t i = 0; i < text.size(); i += piece) {
        reader.received().append(text, i, piece);
        rlway::wire::Frame frame;
        for (auto progress = reader.read(frame); progress != rlway::wire::Progress::more; progress = reader.read(frame)) {
            if (progress == rlway::wire::Progress::foreign) return out + (out.size() > 1 ? ",null]" : "null]");
            out += (out.size() > 1 ? "," : "") + std::to_string(frame.payload.size());
        }
    }
    return out + "]";
}

std::string masked(Words &words)
{
    std::string out;
    rlway::wire::append_frame(out, rlway::wire::Opcode::binary, bytes(words), 0x01020304);
    std::ostringstream digits;
    for (const char c : out) digits << "0123456789abcdef"[(c >> 4) & 15] << "0123456789abcdef"[c & 15];
    return quoted(digits.str());
}

std::string run(const std::string &line)
{
    Words words(line);
    const auto command = word(words);
    if (command == "client") {
        auto opened = rlway::Client::open(server(words));
        if (!opened) return told_of(opened.error());
        client.emplace(std::move(*opened));
        return "{}";
    }
    if (command == "stream") {
        auto opened = rlway::Stream::open(server(words));
        if (!opened) return told_of(opened.error());
        stream.emplace(std::move(*opened));
        return "{}";
    }
    if (command == "ask") return word(words) == "int" ? ask<std::int64_t>(words) : ask<float>(words);
    if (command == "act") return word(words) == "int" ? act<std::int64_t>(words) : act<float>(words);
    if (command == "receive") return word(words) == "int" ? receive<std::int64_t>(words) : receive<float>(words);
    if (command == "batch") return word(words) == "int" ? ask_batch<std::int64_t>(words) : ask_batch<float>(words);
    if (command == "nested") return ask_nested(words);
    if (command == "by-name") return ask_by_name(words);
    if (command == "named-part") return ask_with_named_part(words);
    if (command == "written") return written(words);
    if (command == "timeout") {
        const auto timeout = std::chrono::milliseconds(whole(words));
        client->set_timeout(timeout);
        stream->set_timeout(timeout);
        return "{}";
    }
    if (command == "reset") return client->reset(), "{}";
    if (command == "describe") {
        const auto found = client->describe();
        if (!found) return told_of(found.error());
        return "[" + quoted(found->policy) + "," + std::to_string(found->version) + "," +
               std::to_string(found->observation_size) + "," + std::to_string(found->action_size) + "," +
               (found->keeps_state ? "true]" : "false]");
    }
    if (command == "send") {
        const auto observation = floats(words);
        return told_of(stream->send(rlway::Span<const float>(observation)));
    }
    if (command == "reset-stream") return stream->reset(), "{}";
    if (command == "allocations") return count_allocations(words);
    if (command == "fallback") return open_fallback(words);
    if (command == "fall") return fall(words);
    if (command == "wait") return told_of(fallback->wait_for_server(std::chrono::milliseconds(whole(words))));
    if (command == "measure") {
        const float observation[4] = {};
        return told_of(fallback->measure_local(Observation(observation)));
    }
    if (command == "begin") return fallback->reset(), "{}";
    if (command == "state") return state();
    if (command == "loop") return open_loop(words);
    if (command == "observe") {
        const auto taken = Clock::now() - std::chrono::milliseconds(whole(words));
        return loop->observe(floats(words), taken), "{}";
    }
    if (command == "tick") return tick();
    if (command == "switch") return run_switch(words);
    if (command == "spin") return run_spin(words);
    if (command == "sleep") return client->set_spin({}), "{}";
    if (command == "json") return read_json(words);
    if (command == "reply") return read_action(words);
    if (command == "http") return read_http(words);
    if (command == "frames") return read_frames(words);
    if (command == "masked") return masked(words);
    if (command == "acceptance") return quoted(rlway::wire::acceptance_of(word(words)));
    std::abort();
}

} // namespace

int main()
{
    for (std::string line; std::getline(std::cin, line);) std::cout << run(line) << std::endl;
}
