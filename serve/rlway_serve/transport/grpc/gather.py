"""Gathers the calls that are on their way through gRPC, so that they reach the policy together.

In:      calls whose messages have arrived.
Out:     the same calls, given to the endpoint one after the other in one turn of the event loop.

gRPC brings at most one new call in a turn of the loop, and takes several turns for each. The batcher would run each of
them alone. So calls are kept while the loop is busy, and go on once it has been quiet for `QUIET_TURNS`: about 20 µs,
beside 150 µs that gRPC takes for a call. The wait ends after `MOST_S` in any case. A call that comes alone does not
wait: one without others in flight, and one that none came before for `ALONE_S`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.route import Headers, Route
from rlway_serve.transport.grpc.calls import GrpcCall

QUIET_TURNS = 12
QUIET_S = 8e-6  # a turn that takes longer has done something
MOST_S = 2e-3
ALONE_S = 1e-3
MOST_CALLS = 512  # kept at once

Kept = tuple[Route, bytes | None, Headers, Any, GrpcCall]


class Gatherer:
    """Of one server. `in_flight` counts the calls in all handlers; the handlers keep it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._loop = asyncio.get_running_loop()
        self._ask = endpoint.ask
        self._kept: list[Kept] = []
        self._at_last = 1  # how many calls came together last
        self._arrived_s = 0.0  # when the last call came
        self._began_s = 0.0  # when the first of them was kept
        self._turned_s = 0.0  # when the last turn was
        self._quiet = 0  # quiet turns since the last call
        self.in_flight = 0

    def ask(self, route: Route, authorization: bytes | None, headers: Headers, message: Any, call: GrpcCall) -> None:
        """Gives the call to the endpoint, now or after a few turns of the loop."""
        kept = self._kept
        since_last_s = call.arrived_s - self._arrived_s
        self._arrived_s = call.arrived_s
        if not kept:
            if since_last_s > ALONE_S or (self.in_flight <= 1 and self._at_last <= 1):
                self._ask(route, authorization, headers, message, call)
                return
            self._began_s = self._turned_s = time.perf_counter()
            self._loop.call_soon(self._turn)
        kept.append((route, authorization, headers, message, call))
        self._quiet = 0

    def _turn(self) -> None:
        now_s = time.perf_counter()
        self._quiet = self._quiet + 1 if now_s - self._turned_s < QUIET_S else 0
        self._turned_s = now_s
        if self._quiet < QUIET_TURNS and len(self._kept) < MOST_CALLS and now_s - self._began_s < MOST_S:
            self._loop.call_soon(self._turn)
            return
        calls, self._kept = self._kept, []
        self._at_last = len(calls)
        for each in calls:
            self._ask(*each)
