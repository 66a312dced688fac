/* Where a server is.
 *
 * In:      http://HOST[:PORT][/PREFIX].
 * Out:     its parts, and the addresses that its name stands for.
 * Refuses: any other URL (usage), a name that is not known (server_unreachable).
 *
 * `look_up` may take long, and no deadline ends it: call it outside of the control loop.
 */
#ifndef RLWAY_WIRE_ADDRESS_HPP
#define RLWAY_WIRE_ADDRESS_HPP

#include "../result.hpp"

#include <cstring>
#include <netdb.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <vector>

namespace rlway::wire {

struct Peer {
    sockaddr_storage address{};
    socklen_t length = 0;
    int family = AF_UNSPEC;
};

struct Address {
    std::string host;
    std::string port = "80";
    std::string authority; // both, as they are written in a header
    std::string prefix;    // a path in front of all routes, for a server behind a proxy

    static Result<Address> parse(std::string_view url)
    {
        const std::string_view scheme = "http://";
        const Error refused{Kind::usage, "URL '" + std::string(url) +
                                             "': expected http://HOST:PORT; for https, put a proxy in between."};
        for (const char c : url)
            if (c <= ' ' || c > '~' || c == '@' || c == '?' || c == '#') return refused;
        if (url.substr(0, scheme.size()) != scheme) return refused;
        url.remove_prefix(scheme.size());
        Address found;
        const auto slash = url.find('/');
        if (slash != url.npos) found.prefix = url.substr(slash);
        while (!found.prefix.empty() && found.prefix.back() == '/') found.prefix.pop_back();
        url = url.substr(0, slash);
        auto colon = url.rfind(':');
        if (!url.empty() && url.front() == '[') {
            const auto end = url.find(']');
            if (end == url.npos || (end + 1 != url.size() && url[end + 1] != ':')) return refused;
            found.host = url.substr(1, end - 1);
            colon = end + 1 < url.size() ? end + 1 : url.npos;
        } else {
            found.host = url.substr(0, colon);
            if (found.host.find(':') != found.host.npos) return refused;
        }
        if (colon != url.npos) found.port = url.substr(colon + 1);
        if (found.host.empty() || !is_port(found.port)) return refused;
        const bool is_ipv6 = found.host.find(':') != found.host.npos;
        found.authority = (is_ipv6 ? "[" + found.host + "]" : found.host) + ":" + found.port;
        return found;
    }

    std::string text() const { return "http://" + authority + prefix; }

    Result<std::vector<Peer>> look_up() const
    {
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        addrinfo *first = nullptr;
        const int fault = getaddrinfo(host.c_str(), port.c_str(), &hints, &first);
        if (fault != 0)
            return Error{Kind::server_unreachable, text() + ": no policy server answers there: " + gai_strerror(fault) + "."};
        std::vector<Peer> peers;
        for (const addrinfo *one = first; one != nullptr; one = one->ai_next) {
            if (one->ai_addrlen > sizeof(sockaddr_storage)) continue;
            Peer peer;
            std::memcpy(&peer.address, one->ai_addr, one->ai_addrlen);
            peer.length = one->ai_addrlen;
            peer.family = one->ai_family;
            peers.push_back(peer);
        }
        freeaddrinfo(first);
        return peers;
    }

  private:
    static bool is_port(std::string_view digits)
    {
        int number = 0;
        if (digits.empty() || digits.size() > 5) return false;
        for (const char c : digits) {
            if (c < '0' || c > '9') return false;
            number = number * 10 + (c - '0');
        }
        return number > 0 && number < 65536;
    }
};

/* A name as a part of a URL's path. */
inline std::string quoted(std::string_view name)
{
    static const char digits[] = "0123456789ABCDEF";
    std::string text;
    for (const char c : name) {
        const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                              c == '.' || c == '_' || c == '~';
        if (is_plain) {
            text += c;
        } else {
            const auto byte = static_cast<unsigned char>(c);
            text += {'%', digits[byte >> 4], digits[byte & 15]};
        }
    }
    return text;
}

} // namespace rlway::wire

#endif
