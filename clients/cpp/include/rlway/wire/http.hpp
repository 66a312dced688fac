/* HTTP/1.1 for a client of a policy server: one request, one answer.
 *
 * In:      bytes as they arrive.
 * Out:     an `Answer`, once its last byte is there.
 * Refuses: what is not HTTP/1.x, has no length, or is larger than a policy server's answer: `Progress::foreign`.
 */
#ifndef RLWAY_WIRE_HTTP_HPP
#define RLWAY_WIRE_HTTP_HPP

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace rlway::wire {

struct Answer {
    int status = 0;
    std::string_view body;       // valid until the next request
    std::int64_t version = 0;    // of the policy, where the body is raw
    int retry_after_s = 1;       // where the server is busy
    std::string_view acceptance; // of a WebSocket's handshake
    bool keep_alive = true;
};

enum class Progress { more, whole, foreign };

inline bool equal_words(std::string_view one, std::string_view lower)
{
    if (one.size() != lower.size()) return false;
    for (std::size_t i = 0; i < one.size(); ++i)
        if ((one[i] >= 'A' && one[i] <= 'Z' ? one[i] + ('a' - 'A') : one[i]) != lower[i]) return false;
    return true;
}

/* Whether all of the text is one number. */
template <class T> bool read_digits(std::string_view text, T &value, int base = 10)
{
    const auto end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, value, base);
    return !text.empty() && text.front() != '-' && read.ec == std::errc() && read.ptr == end;
}

/* Keeps its memory from one answer to the next. */
class AnswerReader {
  public:
    /* Where the bytes that arrive are to be appended; then comes `read`. */
    std::string &received() { return in_; }
    const Answer &answer() const { return answer_; }

    /* What has arrived after the answer, such as a WebSocket's first frames. */
    std::string_view rest() const { return std::string_view(in_).substr(at_); }

    void clear()
    {
        in_.clear();
        joined_.clear();
        at_ = 0;
        state_ = State::head;
    }

    Progress read()
    {
        for (;;) {
            switch (state_) {
            case State::head: {
                const auto end = in_.find("\r\n\r\n", at_);
                if (end == in_.npos) return in_.size() - at_ > longest_head ? Progress::foreign : Progress::more;
                const auto begin = at_;
                at_ = end + 4;
                if (!read_head(begin, end + 2)) return Progress::foreign;
                break;
            }
            case State::sized:
                if (in_.size() - at_ < length_) return Progress::more;
                answer_.body = std::string_view(in_).substr(at_, length_);
                at_ += length_;
                return finish();
            case State::chunk_size: {
                const auto end = in_.find("\r\n", at_);
                if (end == in_.npos) return in_.size() - at_ > longest_line ? Progress::foreign : Progress::more;
                const auto line = std::string_view(in_).substr(at_, end - at_);
                if (!read_digits(line.substr(0, line.find_first_of("; \t")), length_, 16)) return Progress::foreign;
                if (length_ > longest_body - joined_.size()) return Progress::foreign;
                at_ = end + 2;
                state_ = length_ != 0 ? State::chunk : State::trailer;
                break;
            }
            case State::chunk:
                if (in_.size() - at_ < length_ + 2) return Progress::more;
                if (in_.compare(at_ + length_, 2, "\r\n") != 0) return Progress::foreign;
                joined_.append(in_, at_, length_);
                at_ += length_ + 2;
                state_ = State::chunk_size;
                break;
            case State::trailer: {
                const auto end = in_.find("\r\n", at_);
                if (end == in_.npos) return in_.size() - at_ > longest_line ? Progress::foreign : Progress::more;
                const bool is_last = end == at_;
                at_ = end + 2;
                if (!is_last) break;
                answer_.body = joined_;
                return finish();
            }
            case State::bodiless: return finish();
            case State::whole: return Progress::whole;
            }
        }
    }

  private:
    enum class State { head, sized, chunk_size, chunk, trailer, bodiless, whole };

    static constexpr std::size_t longest_head = 1 << 16, longest_line = 1 << 10, longest_body = 1 << 26;

    Progress finish()
    {
        // Nothing was asked yet that more bytes could answer.
        if (at_ != in_.size() && answer_.status != 101) answer_.keep_alive = false;
        state_ = State::whole;
        return Progress::whole;
    }

    /* The status line and the headers, each with its end of line. */
    bool read_head(std::size_t begin, std::size_t end)
    {
        std::string_view head = std::string_view(in_).substr(begin, end - begin);
        answer_ = Answer();
        const auto line = head.substr(0, head.find("\r\n"));
        if (line.size() < 12 || line.substr(0, 7) != "HTTP/1." || line[8] != ' ') return false;
        if ((line[7] != '0' && line[7] != '1') || (line.size() > 12 && line[12] != ' ')) return false;
        if (!read_digits(line.substr(9, 3), answer_.status) || answer_.status < 100) return false;
        answer_.keep_alive = line[7] == '1';
        bool is_sized = false, is_chunked = false;
        length_ = 0;
        head.remove_prefix(line.size() + 2);
        while (!head.empty()) {
            const auto header = head.substr(0, head.find("\r\n"));
            head.remove_prefix(header.size() + 2);
            const auto colon = header.find(':');
            if (colon == header.npos || colon == 0) return false;
            const auto name = header.substr(0, colon), value = trimmed(header.substr(colon + 1));
            if (equal_words(name, "content-length")) {
                if (is_sized || !read_digits(value, length_) || length_ > longest_body) return false;
                is_sized = true;
            } else if (equal_words(name, "transfer-encoding")) {
                if (is_chunked || !equal_words(value, "chunked")) return false;
                is_chunked = true;
            } else if (equal_words(name, "connection")) {
                if (equal_words(value, "close")) answer_.keep_alive = false;
                if (equal_words(value, "keep-alive")) answer_.keep_alive = true;
            } else if (equal_words(name, "rlway-version")) {
                if (!read_digits(value, answer_.version)) return false;
            } else if (equal_words(name, "retry-after")) {
                if (!read_digits(value, answer_.retry_after_s)) answer_.retry_after_s = 1;
            } else if (equal_words(name, "sec-websocket-accept")) {
                answer_.acceptance = value;
            }
        }
        if (is_sized && is_chunked) return false; // they contradict each other
        if (answer_.status == 101 || answer_.status == 204 || answer_.status == 304)
            state_ = State::bodiless;
        else if (answer_.status >= 200) {
            if (!is_sized && !is_chunked) return false;
            state_ = is_chunked ? State::chunk_size : State::sized;
        } // else an interim answer, such as `100 Continue`: the next head follows
        return true;
    }

    static std::string_view trimmed(std::string_view text)
    {
        const auto first = text.find_first_not_of(" \t");
        if (first == text.npos) return {};
        return text.substr(first, text.find_last_not_of(" \t") - first + 1);
    }

    std::string in_, joined_;
    std::size_t at_ = 0, length_ = 0;
    State state_ = State::head;
    Answer answer_;
};

} // namespace rlway::wire

#endif
