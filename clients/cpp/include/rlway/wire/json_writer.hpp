/* Numbers and strings as JSON. */
#ifndef RLWAY_WIRE_JSON_WRITER_HPP
#define RLWAY_WIRE_JSON_WRITER_HPP

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#if !defined(__cpp_lib_to_chars)
#error "expected a standard library with std::to_chars and std::from_chars for double: GCC 11's, or LLVM 20's"
#endif

namespace rlway::wire {

/* Floats are written as the double of the same value, because the shortest digits of a float, read as a double and then
 * rounded, may be another float. False where the number is not finite; nothing is written then. */
template <class T> bool append_number(std::string &text, T value)
{
    char digits[32];
    if constexpr (std::is_same_v<T, bool>) {
        text += value ? "true" : "false";
    } else if constexpr (std::is_integral_v<T>) {
        text.append(digits, std::to_chars(digits, digits + sizeof digits, +value).ptr);
    } else {
        if (!std::isfinite(value)) return false;
        text.append(digits, std::to_chars(digits, digits + sizeof digits, static_cast<double>(value)).ptr);
    }
    return true;
}

inline void append_string(std::string &text, std::string_view value)
{
    static const char digits[] = "0123456789abcdef";
    text += '"';
    for (const char c : value) {
        if (c == '"' || c == '\\')
            text += {'\\', c};
        else if (static_cast<unsigned char>(c) < 0x20)
            text += {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
        else
            text += c;
    }
    text += '"';
}

} // namespace rlway::wire

#endif
