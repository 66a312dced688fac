/* SHA-1 and base64, which RFC 6455 asks for in a WebSocket's handshake; they protect nothing. */
#ifndef RLWAY_WIRE_SHA1_HPP
#define RLWAY_WIRE_SHA1_HPP

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace rlway::wire {

inline std::string sha1(std::string_view text)
{
    const auto rotated = [](std::uint32_t x, int n) { return (x << n) | (x >> (32 - n)); };
    std::array<std::uint32_t, 5> sum{0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    std::string padded(text);
    padded += '\x80';
    padded.append((119 - text.size() % 64) % 64, '\0');
    for (int shift = 56; shift >= 0; shift -= 8)
        padded += static_cast<char>((static_cast<std::uint64_t>(text.size()) * 8) >> shift);
    for (std::size_t block = 0; block < padded.size(); block += 64) {
        std::array<std::uint32_t, 80> w{};
        for (std::size_t i = 0; i < 64; ++i) w[i / 4] = (w[i / 4] << 8) | static_cast<unsigned char>(padded[block + i]);
        for (std::size_t i = 16; i < 80; ++i) w[i] = rotated(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        auto [a, b, c, d, e] = sum;
        for (std::size_t i = 0; i < 80; ++i) {
            std::uint32_t mixed = 0, constant = 0;
            if (i < 20)
                mixed = (b & c) | (~b & d), constant = 0x5A827999;
            else if (i < 40)
                mixed = b ^ c ^ d, constant = 0x6ED9EBA1;
            else if (i < 60)
                mixed = (b & c) | (b & d) | (c & d), constant = 0x8F1BBCDC;
            else
                mixed = b ^ c ^ d, constant = 0xCA62C1D6;
            const auto next = rotated(a, 5) + mixed + e + constant + w[i];
            e = d, d = c, c = rotated(b, 30), b = a, a = next;
        }
        sum = {sum[0] + a, sum[1] + b, sum[2] + c, sum[3] + d, sum[4] + e};
    }
    std::string digest;
    for (const auto word : sum)
        for (int shift = 24; shift >= 0; shift -= 8) digest += static_cast<char>(word >> shift);
    return digest;
}

inline std::string base64(std::string_view bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        for (std::size_t j = 0; j < 3; ++j)
            group = (group << 8) | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
        for (std::size_t j = 0; j < 4; ++j) text += i + j <= bytes.size() ? digits[(group >> (18 - 6 * j)) & 63] : '=';
    }
    return text;
}

} // namespace rlway::wire

#endif
