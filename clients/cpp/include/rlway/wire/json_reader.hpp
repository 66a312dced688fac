/* Reads JSON from front to back, without a tree of values and without an allocation, except for strings.
 *
 * In:      text, whole and in memory.
 * Out:     values in the order of the text: each call takes one, and is false where there is none of that kind.
 * Refuses: whatever RFC 8259 does not allow, text that is not UTF-8, numbers beyond a double, nesting over 64 levels.
 *
 *     reader.object([&](std::string_view key) { return key == "version" ? reader.integer(version) : reader.skip(); });
 *
 * After a false the reader stands anywhere: nothing more can be read.
 */
#ifndef RLWAY_WIRE_JSON_READER_HPP
#define RLWAY_WIRE_JSON_READER_HPP

#include "json_writer.hpp" // for its requirement

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace rlway::wire {

class JsonReader {
  public:
    explicit JsonReader(std::string_view text) : text_(text) {}

    /* The first character of the next value; 0 at the end. */
    char next()
    {
        while (at_ < text_.size() && is_space(text_[at_])) ++at_;
        return at_ < text_.size() ? text_[at_] : '\0';
    }

    bool is_at_end() { return next() == '\0' && at_ == text_.size(); }

    /* `on_member(key)` has to read the member's value. The key is valid until then. */
    template <class OnMember> bool object(OnMember on_member)
    {
        std::string key;
        return items('{', '}', [&] {
            key.clear();
            return string(key) && take(':') && on_member(std::string_view(key));
        });
    }

    /* `on_element()` has to read the element. */
    template <class OnElement> bool array(OnElement on_element) { return items('[', ']', on_element); }

    /* Appends the string's characters. */
    bool string(std::string &value)
    {
        if (!take('"')) return false;
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (c == '"') {
                ++at_;
                return true;
            }
            const bool is_read = c == '\\' ? escape(value) : character(value);
            if (!is_read) return false;
        }
        return false;
    }

    /* A number without fraction and exponent. */
    bool integer(std::int64_t &value)
    {
        const auto digits = number_text();
        const auto end = digits.data() + digits.size();
        const auto read = std::from_chars(digits.data(), end, value);
        return !digits.empty() && read.ec == std::errc() && read.ptr == end;
    }

    bool number(double &value)
    {
        const auto digits = number_text();
        const auto end = digits.data() + digits.size();
        const auto read = std::from_chars(digits.data(), end, value);
        return !digits.empty() && read.ec == std::errc() && read.ptr == end;
    }

    bool boolean(bool &value)
    {
        value = next() == 't';
        return word(value ? "true" : "false");
    }

    bool null() { return next() == 'n' && word("null"); }

    /* Reads one value of any kind. */
    bool skip()
    {
        std::string text;
        double number_value = 0;
        bool boolean_value = false;
        switch (next()) {
        case '{': return object([&](std::string_view) { return skip(); });
        case '[': return array([&] { return skip(); });
        case '"': return string(text);
        case 't':
        case 'f': return boolean(boolean_value);
        case 'n': return null();
        default: return number(number_value);
        }
    }

  private:
    static constexpr int deepest = 64;

    static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
    static bool is_digit(char c) { return c >= '0' && c <= '9'; }

    char at(std::size_t place) const { return place < text_.size() ? text_[place] : '\0'; }

    bool take(char expected)
    {
        if (next() != expected || at_ == text_.size()) return false;
        ++at_;
        return true;
    }

    bool word(std::string_view expected)
    {
        if (text_.substr(at_, expected.size()) != expected) return false;
        at_ += expected.size();
        return true;
    }

    template <class OnItem> bool items(char first, char last, OnItem on_item)
    {
        if (depth_ == deepest || !take(first)) return false;
        if (take(last)) return true;
        ++depth_;
        do {
            if (!on_item()) return false;
        } while (take(','));
        --depth_;
        return take(last);
    }

    /* The next number as it is written; empty if there is none. */
    std::string_view number_text()
    {
        next();
        auto end = at_ + (at(at_) == '-');
        const auto digits = [&] {
            const auto first = end;
            while (is_digit(at(end))) ++end;
            return end > first;
        };
        const bool is_zero = at(end) == '0';
        const auto whole = end;
        if (!digits() || (is_zero && end - whole > 1)) return {};
        if (at(end) == '.') {
            ++end;
            if (!digits()) return {};
        }
        if (at(end) == 'e' || at(end) == 'E') {
            ++end;
            if (at(end) == '+' || at(end) == '-') ++end;
            if (!digits()) return {};
        }
        const auto found = text_.substr(at_, end - at_);
        at_ = end;
        return found;
    }

    bool escape(std::string &value)
    {
        const char c = at(at_ + 1);
        const std::string_view names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
        const auto place = c == '\0' ? names.npos : names.find(c);
        if (place != names.npos) {
            value += meanings[place];
            at_ += 2;
            return true;
        }
        std::uint32_t code = 0;
        if (c != 'u' || !hexadecimal(at_ + 2, code)) return false;
        at_ += 6;
        if (code >= 0xDC00 && code < 0xE000) return false;
        if (code >= 0xD800 && code < 0xDC00) {
            std::uint32_t low = 0;
            if (at(at_) != '\\' || at(at_ + 1) != 'u' || !hexadecimal(at_ + 2, low)) return false;
            if (low < 0xDC00 || low >= 0xE000) return false;
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            at_ += 6;
        }
        append_utf8(value, code);
        return true;
    }

    bool hexadecimal(std::size_t place, std::uint32_t &code) const
    {
        const auto digits = place < text_.size() ? text_.substr(place, 4) : std::string_view();
        const auto end = digits.data() + digits.size();
        return digits.size() == 4 && std::from_chars(digits.data(), end, code, 16).ptr == end;
    }

    static void append_utf8(std::string &value, std::uint32_t code)
    {
        const auto byte = [&](std::uint32_t bits) { value += static_cast<char>(bits); };
        if (code < 0x80) {
            byte(code);
            return;
        }
        if (code < 0x800) {
            byte(0xC0 | (code >> 6));
        } else {
            if (code < 0x10000) {
                byte(0xE0 | (code >> 12));
            } else {
                byte(0xF0 | (code >> 18));
                byte(0x80 | ((code >> 12) & 0x3F));
            }
            byte(0x80 | ((code >> 6) & 0x3F));
        }
        byte(0x80 | (code & 0x3F));
    }

    /* One character of UTF-8 as it is. */
    bool character(std::string &value)
    {
        const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(at(at_ + i)); };
        const auto first = byte(0);
        std::size_t length = 1;
        unsigned char low = 0x80, high = 0xBF; // of the second byte
        if (first >= 0x80) {
            if (first < 0xC2 || first > 0xF4) return false;
            length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
            if (first == 0xE0) low = 0xA0;
            if (first == 0xED) high = 0x9F;
            if (first == 0xF0) low = 0x90;
            if (first == 0xF4) high = 0x8F;
            for (std::size_t i = 1; i < length; ++i) {
                if (byte(i) < low || byte(i) > high) return false;
                low = 0x80, high = 0xBF;
            }
        } else if (first < 0x20) {
            return false;
        }
        value += text_.substr(at_, length);
        at_ += length;
        return true;
    }

    std::string_view text_;
    std::size_t at_ = 0;
    int depth_ = 0;
};

} // namespace rlway::wire

#endif
