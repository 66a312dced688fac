/* RLway's client for C++17: a policy on a server, asked over HTTP or a stream, with a local policy in its place.
 *
 *     auto client = rlway::Client::open({"http://10.0.0.5:8080", "cartpole"});
 *     if (!client) return fail(client.error().sentence);
 *     auto reply = client->ask<std::int64_t>(rlway::Observation(sensors, 4));
 *
 * Needs POSIX sockets and threads, nothing else; no exceptions, no RTTI. Errors are values: see result.hpp.
 */
#ifndef RLWAY_RLWAY_HPP
#define RLWAY_RLWAY_HPP

#include "client.hpp"
#include "fallback/fallback.hpp"
#include "stream.hpp"

#endif
