"""A load test in a closed loop: many connections, each of which sends its next request upon an answer.

In:      an address, request bytes, a number of connections, seconds.
Out:     `Load`: throughput and latency percentiles.
Refuses: a server that takes no connection, or answers no request with 200 (ServerUnreachable).
"""

from __future__ import annotations

import asyncio
import time

import httptools
import msgspec
import numpy as np

from rlway_client.contract.errors import ServerUnreachable
from rlway_client.remote.http import Address

PERCENTILES = {"p50": 50, "p90": 90, "p99": 99, "p999": 99.9, "max": 100}


class Load(msgspec.Struct, frozen=True):
    """What a load test measured. `errors` counts answers other than 200, and connections that broke."""

    connections: int
    duration_s: float
    offered_rps: float  # requests sent per second
    achieved_rps: float  # requests answered with 200 per second
    latency_ms: dict[str, float]
    errors: int


class LoadConnection(asyncio.Protocol):
    """Sends the next request upon each answer, until `until_s`."""

    def __init__(self, requests: list[bytes], first: int, until_s: float) -> None:
        self._requests = requests
        self._next = first
        self._until_s = until_s
        self._sent_s = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self.latencies_s: list[float] = []
        self.sent = 0
        self.errors = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._give_up()

    def on_message_complete(self) -> None:
        now_s = time.perf_counter()
        if self._parser.get_status_code() == 200:
            self.latencies_s.append(now_s - self._sent_s)
        else:
            self.errors += 1
        if now_s < self._until_s and self._parser.should_keep_alive():
            self._send()
        else:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.done.done():
            self._give_up()

    def _send(self) -> None:
        assert self._transport is not None
        self._next = (self._next + 1) % len(self._requests)
        self.sent += 1
        self._sent_s = time.perf_counter()
        self._transport.write(self._requests[self._next])

    def _give_up(self) -> None:
        self.errors += 1
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        if self._transport is not None:
            self._transport.close()


async def run_load(
    address: Address, requests: list[bytes], connections: int, duration_s: float, grace_s: float = 5.0
) -> Load:
    """Loads the server for `duration_s`; the last answers may take `grace_s` longer before they count as errors."""
    loop = asyncio.get_running_loop()
    started_s = time.perf_counter()
    until_s = started_s + duration_s
    protocols = []
    try:
        for i in range(connections):
            async with asyncio.timeout(grace_s):
                _, protocol = await loop.create_connection(
                    lambda i=i: LoadConnection(requests, i, until_s), address.host, address.port, ssl=address.tls
                )
            protocols.append(protocol)
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or f"no answer within {grace_s:g} s"
        raise ServerUnreachable(f"{address}: no policy server answers there: {reason}.") from None
    _, late = await asyncio.wait([p.done for p in protocols], timeout=duration_s + grace_s)
    wall_s = min(time.perf_counter() - started_s, duration_s + grace_s)
    latencies_ms = np.array([s * 1e3 for p in protocols for s in p.latencies_s])
    if not len(latencies_ms):
        raise ServerUnreachable(
            f"{address}: answered none of {sum(p.sent for p in protocols)} requests with status 200."
        )
    return Load(
        connections=connections,
        duration_s=wall_s,
        offered_rps=sum(p.sent for p in protocols) / wall_s,
        achieved_rps=len(latencies_ms) / wall_s,
        latency_ms={name: float(np.percentile(latencies_ms, q)) for name, q in PERCENTILES.items()},
        errors=sum(p.errors for p in protocols) + len(late),
    )
