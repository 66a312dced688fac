"""Requests over gRPC as calls, and what the handlers of a server share.

In:      a call's metadata, peer and deadline.
Out:     `GrpcCall` and `StreamCall`, whose answers go to the handler that waits.
Refuses: nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import grpc
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from rlway_client.contract.errors import RlwayError
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.route import Headers
from rlway_serve.gateway.rpc import TIMEOUT, RpcCall, write_timeout
from rlway_serve.messages.call import TraceHeaders
from rlway_serve.messages.response import GrpcRefusal, Response, new_internal_error, read_request_id
from rlway_serve.settings import Settings
from rlway_serve.telemetry.access_log import AccessLog
from rlway_serve.telemetry.tracing import TRACE_HEADERS

Metadata = tuple[tuple[str, str | bytes], ...]

NO_HEADERS: dict[bytes, bytes] = {}
log = logging.getLogger(__name__)

CODES = {code.name: code for code in grpc.StatusCode}


class GrpcCounts:
    """The streams that are open now, and the calls that were refused unread; a Prometheus collector."""

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()  # by method
        self.refused: Counter[tuple[str, str]] = Counter()  # by method and the error's name

    def collect(self) -> Iterator[Any]:
        """Called at each scrape."""
        streams = GaugeMetricFamily("rlway_grpc_streams", "Open streams of gRPC", labels=["method"])
        refused = CounterMetricFamily(
            "rlway_grpc_refusals", "Calls over gRPC that were refused unread", labels=["method", "reason"]
        )
        for method, count in self.open.items():
            streams.add_metric([method], count)
        for labels, count in self.refused.items():
            refused.add_metric([*labels], count)
        yield from (streams, refused)


class SharedByCalls:
    """What the handlers of one server share."""

    def __init__(self, endpoint: Endpoint, settings: Settings, access_log: AccessLog | None) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.access_log = access_log
        self.counts = GrpcCounts()
        # Whether the metadata of a call matter: reading them costs as much as reading a small message.
        asks = endpoint.keys.needed or endpoint.sees_every_request
        self.reads_metadata = asks or access_log is not None

    def check_key(self, path: str, facts: CallerFacts) -> GrpcRefusal | None:
        """The refusal of a call without an accepted key; None if it may go on.

        It comes before the message is read, so that nobody without a key fills the server's memory.
        """
        try:
            self.endpoint.keys.check(facts.authorization)
        except RlwayError as error:
            self.counts.refused[path.removeprefix("/"), type(error).__name__] += 1
            return GrpcRefusal(error)
        return None

    def told(self, error: Exception, facts: CallerFacts) -> RlwayError:
        """What the caller is told of a request that could not be read: without a key, only that it needs one."""
        try:
            self.endpoint.keys.check(facts.authorization)
        except RlwayError as refused:
            return refused
        return as_told(error)

    def caller_of(self, context: Any) -> CallerFacts:
        """What the call's metadata say."""
        return CallerFacts(context.invocation_metadata()) if self.reads_metadata else NO_FACTS

    def log(
        self, path: str, peer: str, facts: CallerFacts, response: Response, request_bytes: int, began_s: float
    ) -> None:
        """Writes to the access log, if there is one."""
        if self.access_log is not None:
            host, port = split_peer(peer)
            client = (host, port) if host is not None else None
            asked = (client, "GRPC", path.encode(), response.status, request_bytes, len(response.body), began_s)
            self.access_log.write(*asked, facts.request_id)


class CallerFacts:
    """What the metadata of a call say of its caller."""

    __slots__ = ("authorization", "request_id", "trace_headers")

    def __init__(self, metadata: Metadata) -> None:
        self.authorization: bytes | None = None
        self.request_id = b""
        trace: list[tuple[bytes, bytes]] = []
        for key, value in metadata:
            name, content = key.encode(), value.encode() if isinstance(value, str) else value
            if name == b"authorization":
                self.authorization = content
            elif name == b"x-request-id":
                self.request_id = read_request_id(content)
            elif name in TRACE_HEADERS:
                trace.append((name, content))
        self.trace_headers: TraceHeaders = tuple(trace)


NO_FACTS = CallerFacts(())


class GrpcCall(RpcCall, gc=False, eq=False):
    """One call with one request. `connection` is the peer as gRPC names it: `ipv4:127.0.0.1:50051`."""

    waiter: asyncio.Future[Response] | None = None
    facts: CallerFacts = NO_FACTS
    gone: bool = False  # whether the client has cancelled the call

    @property
    def abandoned(self) -> bool:
        return self.gone

    @property
    def peer(self) -> str | None:
        return split_peer(self.connection)[0]

    @property
    def trace_headers(self) -> TraceHeaders:
        return self.facts.trace_headers

    def answer(self, response: Response) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(response)


class StreamCall(GrpcCall, gc=False, eq=False):
    """The place of one request among the answers of its stream."""

    stream: Any = None  # the `GrpcStream`
    response: Response | None = None
    request_bytes: int = 0
    held: int = 0  # bytes of the body budget

    @property
    def trace_headers(self) -> TraceHeaders:
        headers: TraceHeaders = self.stream.facts.trace_headers
        return headers

    def answer(self, response: Response) -> None:
        self.response = response
        self.stream.answered(self)


def split_peer(peer: str) -> tuple[str | None, int]:
    """Address and port of a peer as gRPC names it; (None, 0) for a peer without them."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None, 0
    host, _, port = unquote(rest).rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else 0


def deadline_headers(context: Any, call: GrpcCall) -> Headers:
    """Sets the call's deadline if gRPC's call has one, and returns the header for its route."""
    remaining_s = context.time_remaining()
    if remaining_s is None:
        return NO_HEADERS
    call.deadline_s = call.arrived_s + remaining_s
    return {TIMEOUT: write_timeout(remaining_s)}


def status_of(response: Response) -> tuple[grpc.StatusCode, str, Metadata]:
    """The status, sentence and trailing metadata of a refusal."""
    code = response.code if isinstance(response, GrpcRefusal) else "INTERNAL"
    trailing = tuple((name.decode(), value.decode()) for name, value in response.headers)
    return CODES[code], response.body.decode("utf-8", "replace"), trailing


def as_told(error: Exception) -> RlwayError:
    """The error for the caller. The cause of one that is the server's own goes to the log."""
    if isinstance(error, RlwayError):
        return error
    internal = new_internal_error()
    log.error("a gRPC request failed (request id %s)", internal.request_id, exc_info=error)
    return internal
