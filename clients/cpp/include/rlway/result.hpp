/* A value, or the error in its place: no function of this library throws.
 *
 * In:      what went well, or an `Error` of one sentence, which is the server's own where the server refused.
 * Out:     `Result<T>`; `Failure`, which is empty where all went well.
 */
#ifndef RLWAY_RESULT_HPP
#define RLWAY_RESULT_HPP

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace rlway {

enum class Kind {
    server_unreachable,     // nothing answered
    timed_out,              // no answer in time
    usage,                  // what the caller passed cannot be used
    request_malformed,      // 400
    key_missing,            // 401
    key_refused,            // 403
    not_found,              // 404
    request_timeout,        // 408
    body_too_large,         // 413
    media_type_unsupported, // 415
    spec_violated,          // 422, or found here before anything was sent
    queue_full,             // 429
    headers_too_large,      // 431
    internal_error,         // 500
    unimplemented,          // 501
    not_ready,              // 503
    deadline_exceeded,      // 504
    other,                  // an answer that no policy server gives
};

/* One sentence for the person who can mend it. */
struct Error {
    Kind kind = Kind::other;
    std::string sentence;
    int retry_after_s = 0; // where the server was busy
};

using Failure = std::optional<Error>;

template <class T> class [[nodiscard]] Result {
  public:
    Result(T value) : held_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : held_(std::in_place_index<1>, std::move(error)) {}

    explicit operator bool() const { return held_.index() == 0; }
    T &operator*() { return *std::get_if<0>(&held_); }
    const T &operator*() const { return *std::get_if<0>(&held_); }
    T *operator->() { return std::get_if<0>(&held_); }
    const T *operator->() const { return std::get_if<0>(&held_); }

    /* Only where there is no value. */
    const Error &error() const { return *std::get_if<1>(&held_); }

  private:
    std::variant<T, Error> held_;
};

/* The kind of error that a status of HTTP stands for. */
inline Kind kind_of_status(int status)
{
    switch (status) {
    case 400: return Kind::request_malformed;
    case 401: return Kind::key_missing;
    case 403: return Kind::key_refused;
    case 404: return Kind::not_found;
    case 408: return Kind::request_timeout;
    case 413: return Kind::body_too_large;
    case 415: return Kind::media_type_unsupported;
    case 422: return Kind::spec_violated;
    case 429: return Kind::queue_full;
    case 431: return Kind::headers_too_large;
    case 501: return Kind::unimplemented;
    case 503: return Kind::not_ready;
    case 504: return Kind::deadline_exceeded;
    default: return Kind::other;
    }
}

} // namespace rlway

#endif
