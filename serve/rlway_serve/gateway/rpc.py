"""What a protocol gives to the gRPC transport.

In:      the octets of messages.
Out:     `Service`: which of its methods ask a policy, and which are answered at once.
Refuses: nothing; its functions raise RlwayError.

The transport knows neither the messages nor the words of a protocol, and a protocol knows nothing of gRPC's calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rlway_client.contract.errors import RlwayError
from rlway_serve.gateway.route import Headers, Route
from rlway_serve.messages.call import PlainCall
from rlway_serve.messages.response import Response

TIMEOUT = b"grpc-timeout"  # the header of routes whose requests may have a deadline; here always in microseconds

Ask = Callable[[bytes], tuple[Route, Any]]  # a message's octets → the route that it takes, and what the route reads
Tell = Callable[[bytes], bytes]  # a message's octets → those of the answer


class RpcCall(PlainCall, gc=False, eq=False):
    """A plain call over gRPC. Its route may set `tail`: what follows the answer, which many calls share."""

    tail: bytes = b""  # fields of a message may come in any order, and one that comes twice is merged


class StreamedAsk(NamedTuple):
    """A method with a stream of requests and one of answers, whose errors are answers as well."""

    ask: Ask
    refuse: Callable[[RlwayError], Response]


class Service(NamedTuple):
    """One gRPC service."""

    name: str  # in full, with its package
    file: Any  # the descriptor of its .proto file, for reflection
    asks: Mapping[str, Ask]  # by method: one request, one answer
    streams: Mapping[str, StreamedAsk]  # by method
    tells: Mapping[str, Tell]  # by method: what does not ask for actions
    open_tells: frozenset[str] = frozenset()  # the methods among them that need no key


def write_timeout(seconds: float) -> bytes:
    """The time that remains, as a value of `TIMEOUT`."""
    return b"%du" % max(0, round(seconds * 1e6))


def earliest_ms(deadline_ms: float | None, headers: Headers) -> float | None:
    """The earlier of a request's own deadline and that of its call, if there is any."""
    timeout = headers.get(TIMEOUT)
    if timeout is None:
        return deadline_ms
    remaining_ms = int(timeout[:-1]) / 1000
    return remaining_ms if deadline_ms is None else min(deadline_ms, remaining_ms)
