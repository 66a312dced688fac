/* A policy on a server, over the raw WebSocket stream: no HTTP headers, and several observations in flight.
 *
 * In:      raw rows of the manifest's types.
 * Out:     raw actions, in the order of the rows. The connection is an episode by itself.
 * Refuses: as a Client does. The server's refusal of a row keeps the connection; anything else closes it, so that no
 *          late action is taken for that of another row.
 *
 * Nothing is allocated per action after the first calls.
 */
#ifndef RLWAY_STREAM_HPP
#define RLWAY_STREAM_HPP

#include "client.hpp"
#include "wire/websocket.hpp"

#include <cstring>
#include <string>
#include <utility>

namespace rlway {

/* One connection, opened for the first row and kept. Not for several threads at once. */
class Stream {
  public:
    /* Looks up the server's name, which no deadline ends: call it outside of the control loop. Connects to nothing. */
    static Result<Stream> open(Server server)
    {
        auto target = wire::Target::open(std::move(server));
        if (!target) return target.error();
        if (target->server.policy.empty())
            return Error{Kind::usage, "Stream: expected the name of a policy, got none; a stream has no default policy."};
        return Stream(std::move(*target));
    }

    /* Connects, if that has not been done. The first `send` does it as well. */
    Failure connect()
    {
        if (connection_.is_open()) return {};
        const auto until = Clock::now() + target_.server.timeout;
        in_flight_ = 0;
        frames_.clear();
        if (auto trouble = connection_.open(target_.peers, until)) return target_.error(*trouble);
        auto failure = shake_hands(until);
        if (failure) connection_.close();
        return failure;
    }

    /* Sends a row without waiting for its action. */
    template <class In> Failure send(Span<In> observation)
    {
        if (auto failure = check_finite(Span<const std::remove_const_t<In>>(observation.data, observation.size)))
            return failure;
        if (auto failure = connect()) return failure;
        out_.clear();
        wire::append_frame(out_, wire::Opcode::binary, observation.bytes(), masks_.next());
        if (auto trouble = connection_.send(out_, Clock::now() + target_.server.timeout))
            return broken(target_.error(*trouble));
        ++in_flight_;
        return {};
    }

    /* Writes the action of the oldest row that has none yet; or gives the server's refusal of that row. */
    template <class Out> Failure receive(Span<Out> action)
    {
        if (in_flight_ == 0) return Error{Kind::usage, "receive: expected a row in flight, got none; call send() first."};
        const auto until = Clock::now() + target_.server.timeout;
        for (;;) {
            wire::Frame frame;
            const auto progress = frames_.read(frame);
            if (progress == wire::Progress::foreign) return broken(foreign_frame());
            if (progress == wire::Progress::more) {
                if (auto trouble = connection_.receive(frames_.received(), until, target_.server.spin))
                    return broken(target_.error(*trouble));
                continue;
            }
            switch (frame.opcode) {
            case wire::Opcode::binary:
                --in_flight_;
                if (frame.payload.size() != action.bytes().size())
                    return Error{Kind::usage, "action: expected room for the answer's " +
                                                  std::to_string(frame.payload.size()) + " bytes, got " +
                                                  std::to_string(action.bytes().size()) +
                                                  "; its type and size are in the policy's manifest."};
                std::memcpy(action.data, frame.payload.data(), frame.payload.size());
                return {};
            case wire::Opcode::text:
                --in_flight_;
                return refusal(frame.payload);
            case wire::Opcode::ping:
                out_.clear();
                wire::append_frame(out_, wire::Opcode::pong, frame.payload, masks_.next());
                if (auto trouble = connection_.send(out_, until)) return broken(target_.error(*trouble));
                break;
            case wire::Opcode::close: return broken(closing(frame.payload));
            case wire::Opcode::pong: break;
            }
        }
    }

    /* `send` and `receive`, for a program that has no other row in flight. */
    template <class In, class Out> Failure act(Span<In> observation, Span<Out> action)
    {
        if (auto failure = send(observation)) return failure;
        return receive(action);
    }

    template <class In, std::size_t n, class Out, std::size_t m> Failure act(const In (&observation)[n], Out (&action)[m])
    {
        return act(Span<const In>(observation), Span<Out>(action));
    }

    /* Rows whose actions have not been received. */
    std::size_t in_flight() const { return in_flight_; }

    /* The next row begins an episode, over a new connection. */
    void reset() { close(); }

    /* Of each call from now on. */
    void set_timeout(Clock::duration timeout) { target_.server.timeout = timeout; }

    /* Closes the connection; actions in flight are lost. The next row opens another. */
    void close()
    {
        connection_.close();
        in_flight_ = 0;
    }

  private:
    explicit Stream(wire::Target target)
        : target_(std::move(target)), path_("/v1/policies/" + wire::quoted(target_.server.policy) + "/stream")
    {
    }

    Failure shake_hands(Clock::time_point until)
    {
        const auto key = masks_.key();
        out_.clear();
        target_.write_head(out_, "GET", path_);
        out_ += "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: ";
        (out_ += key) += "\r\n\r\n";
        if (auto trouble = connection_.send(out_, until)) return target_.error(*trouble);
        wire::AnswerReader reader;
        auto progress = wire::Progress::more;
        while (progress == wire::Progress::more) {
            if (auto trouble = connection_.receive(reader.received(), until, target_.server.spin)) return target_.error(*trouble);
            progress = reader.read();
        }
        const auto &answer = reader.answer();
        if (progress == wire::Progress::foreign || (answer.status < 400 && answer.status != 101)) return wire::foreign();
        if (answer.status != 101) return wire::read_problem(answer.status, answer.body, answer.retry_after_s);
        if (answer.acceptance != wire::acceptance_of(key)) return wire::foreign();
        frames_.received() = reader.rest();
        return {};
    }

    static Error refusal(std::string_view problem)
    {
        std::int64_t status = 0;
        wire::JsonReader reader(problem);
        const bool is_read = reader.object(
            [&](std::string_view key) { return key == "status" ? reader.integer(status) : reader.skip(); });
        if (!is_read || status < 400 || status > 599) return wire::foreign();
        return wire::read_problem(static_cast<int>(status), problem, 1);
    }

    Error foreign_frame() const
    {
        return target_.error({false, "it sent a frame that a policy server does not send"});
    }

    Error closing(std::string_view payload) const
    {
        const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(payload[i]); };
        const std::string code = payload.size() < 2 ? "no code" : "code " + std::to_string(byte(0) * 256 + byte(1));
        const std::string reason = payload.size() < 3 ? "" : ": " + std::string(payload.substr(2));
        return target_.error({false, "it closed the stream with " + code + reason});
    }

    Error broken(Error error)
    {
        close();
        return error;
    }

    wire::Target target_;
    std::string path_;
    wire::Connection connection_;
    wire::FrameReader frames_;
    wire::Masks masks_;
    std::string out_;
    std::size_t in_flight_ = 0;
};

} // namespace rlway

#endif
