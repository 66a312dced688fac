/* RFC 6455 from the client's side: masked frames to the server, whole messages from it.
 *
 * In:      bytes as they arrive.
 * Out:     frames; the bytes of a frame to send.
 * Refuses: what a policy server does not send, such as a masked frame or a part of a message: `Progress::foreign`.
 */
#ifndef RLWAY_WIRE_WEBSOCKET_HPP
#define RLWAY_WIRE_WEBSOCKET_HPP

#include "http.hpp"
#include "sha1.hpp"

#include <cstdint>
#include <random>
#include <string>
#include <string_view>

namespace rlway::wire {

enum class Opcode : unsigned char { text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

struct Frame {
    Opcode opcode = Opcode::text;
    std::string_view payload; // valid until more is received
};

/* What the server has to answer to this key, so that no cache and no other server can be in its place. */
inline std::string acceptance_of(std::string_view key)
{
    return base64(sha1(std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
}

/* Appends a message as one masked frame. */
inline void append_frame(std::string &out, Opcode opcode, std::string_view payload, std::uint32_t mask)
{
    const auto byte = [&](std::uint64_t bits) { out += static_cast<char>(bits); };
    byte(0x80u | static_cast<unsigned>(opcode));
    const auto size = payload.size();
    int size_bytes = 0;
    if (size < 126) {
        byte(0x80 | size);
    } else {
        size_bytes = size < 65536 ? 2 : 8;
        byte(size_bytes == 2 ? 0x80 | 126 : 0x80 | 127);
    }
    for (int i = size_bytes - 1; i >= 0; --i) byte(size >> (8 * i));
    for (int i = 0; i < 4; ++i) byte(mask >> (8 * i));
    const auto begin = out.size();
    out += payload;
    for (std::size_t i = 0; i < size; ++i) out[begin + i] ^= static_cast<char>(mask >> (8 * (i % 4)));
}

/* Keeps its memory from one frame to the next. */
class FrameReader {
  public:
    /* Where the bytes that arrive are to be appended; then comes `read`. */
    std::string &received() { return in_; }

    void clear()
    {
        in_.clear();
        at_ = 0;
    }

    /* Takes the next frame. */
    Progress read(Frame &frame)
    {
        const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(in_[at_ + i]); };
        if (in_.size() - at_ < 2) return more();
        const int opcode = byte(0) & 15;
        if ((byte(0) & 0xF0) != 0x80 || (byte(1) & 0x80) != 0) return Progress::foreign;
        if (opcode != 1 && opcode != 2 && (opcode < 8 || opcode > 10)) return Progress::foreign;
        std::uint64_t size = byte(1);
        if (opcode >= 8 && size > 125) return Progress::foreign;
        const std::size_t size_bytes = size < 126 ? 0 : size == 126 ? 2 : 8;
        if (in_.size() - at_ < 2 + size_bytes) return more();
        if (size_bytes != 0) size = 0;
        for (std::size_t i = 0; i < size_bytes; ++i) size = (size << 8) | byte(2 + i);
        if (size > longest) return Progress::foreign;
        const auto length = static_cast<std::size_t>(size);
        if (in_.size() - at_ - 2 - size_bytes < length) return more();
        frame = {static_cast<Opcode>(opcode), std::string_view(in_).substr(at_ + 2 + size_bytes, length)};
        at_ += 2 + size_bytes + length;
        return Progress::whole;
    }

  private:
    static constexpr std::uint64_t longest = 1 << 26;

    Progress more()
    {
        in_.erase(0, at_); // of frames that were taken; what remains is less than one
        at_ = 0;
        return Progress::more;
    }

    std::string in_;
    std::size_t at_ = 0;
};

/* Numbers that an observer of earlier ones cannot guess cheaply: masks are against caches that take frames for HTTP. */
class Masks {
  public:
    std::uint32_t next() { return static_cast<std::uint32_t>(generator_() >> 16); }

    std::string key()
    {
        std::string bytes;
        for (int i = 0; i < 4; ++i) {
            const auto number = next();
            for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(number >> shift);
        }
        return base64(bytes);
    }

  private:
    std::mt19937_64 generator_{(static_cast<std::uint64_t>(std::random_device{}()) << 32) | std::random_device{}()};
};

} // namespace rlway::wire

#endif
