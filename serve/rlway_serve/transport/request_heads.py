"""Which requests the hot lane answers, and what their headers say.

In:      a request's URL and headers, as the parser read them; or header bytes that have been parsed before.
Out:     `Head`; None for a request that FastAPI has to answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rlway_client.contract.errors import RlwayError
from rlway_serve.gateway.body_budget import SMALL_BYTES
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.protocol import OpenProtocol
from rlway_serve.gateway.route import Route, StreamRoute
from rlway_serve.messages.response import JSON, read_request_id
from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.settings import Settings
from rlway_serve.telemetry.access_log import AccessLog
from rlway_serve.telemetry.tracing import TRACE_HEADERS
from rlway_serve.transport.websocket.calls import SharedByStreams

SLOW_HEADERS = frozenset((b"transfer-encoding", b"expect", b"content-encoding"))  # FastAPI answers requests with these
MAX_KNOWN_HEADS = 1024
MAX_KNOWN_HEAD_BYTES = 2048


class Head(msgspec.Struct):
    """What the headers of an act request say."""

    policy: ServedPolicy
    body_bytes: int
    media_type: bytes
    authorization: bytes | None
    keep_alive: bool
    path: bytes
    request_id: bytes
    trace_headers: tuple[tuple[bytes, bytes], ...] = ()
    route: Route | None = None  # of another protocol; None: an act request
    further: dict[bytes, bytes] = {}  # the headers that the route reads
    raw: bytes = b""  # the first line and headers as received; this and the next three only of a remembered head
    body_start: int = 0  # the length of `raw`
    request_bytes: int = 0  # the length of `raw` and the body
    may_be_express: bool = False  # whether a request with it may be an express call


class HotRoutes:
    """What all HTTP connections of a server share: the hot lane's routes, and the heads that it remembers."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        access_log: AccessLog | None,
        streams: SharedByStreams,
        protocols: Sequence[OpenProtocol] = (),
    ) -> None:
        self.endpoint = endpoint
        self.streams = streams
        self.settings = settings
        self.max_in_flight = settings.max_in_flight
        self.access_log = access_log
        self._posts = [protocol.posts for protocol in protocols if protocol.posts is not None]
        self._streams = [protocol.streams for protocol in protocols if protocol.streams is not None]
        self._slow_headers = SLOW_HEADERS | ({b"origin"} if settings.cors_origins else set())
        self.by_url: dict[bytes, ServedPolicy] = {}
        self.streams_by_url: dict[bytes, str] = {}
        self.stream_routes_by_url: dict[bytes, StreamRoute] = {}
        self.known_heads: dict[bytes, Head] = {}
        self.find_policies()
        endpoint.repository.on_change(self.find_policies)
        endpoint.keys.on_change(self.forget_heads)

    def find_policies(self) -> None:
        """Called when policies have come or gone."""
        repository = self.endpoint.repository
        self.by_url = {f"/v1/policies/{policy.name}/act".encode(): policy for policy in repository}
        self.streams_by_url = {f"/v1/policies/{policy.name}/stream".encode(): policy.name for policy in repository}
        if repository.default:
            self.by_url[b"/act"] = repository.default
        self.stream_routes_by_url = {url: route for routes in self._streams for url, route in routes.by_url().items()}
        self.forget_heads()

    def is_stream(self, url: bytes) -> bool:
        """Whether an offer of WebSocket is accepted there."""
        return url in self.streams_by_url or self.find_stream_route(url) is not None

    def why_no_stream(self, url: bytes, headers: list[tuple[bytes, bytes]]) -> RlwayError | None:
        """Why a protocol's WebSocket URL leads to no policy; None for a URL that is no protocol's, or that has one."""
        missing = (error for routes in self._streams if (error := routes.missing(url.partition(b"?")[0])) is not None)
        error = next(missing, None)
        if error is None:
            return None
        try:  # first: the sentence names what is served
            self.endpoint.keys.check(next((value for name, value in headers if name == b"authorization"), None))
        except RlwayError as refused:
            return refused
        return error

    def find_stream_route(self, url: bytes) -> StreamRoute | None:
        """The route of another protocol that a WebSocket takes there, whatever the query."""
        return self.stream_routes_by_url.get(url.partition(b"?")[0])

    def find_route(self, url: bytes) -> Route | None:
        """The route of another protocol that a POST to this URL takes."""
        return next((route for routes in self._posts if (route := routes.find(url)) is not None), None)

    def forget_heads(self) -> None:
        """From now on every head is parsed and checked anew."""
        for head in self.known_heads.values():
            head.may_be_express = False  # connections that repeat this head still hold it
        self.known_heads.clear()

    def remember(self, raw: bytes, head: Head) -> None:
        """Remembers what parsed header bytes say, since a client sends the same ones with every request."""
        small = len(raw) <= MAX_KNOWN_HEAD_BYTES and head.body_bytes <= SMALL_BYTES  # larger bodies need a reservation
        known = raw in self.known_heads  # the known object stays: `forget_heads` has to reach it
        if small and not known and head.keep_alive and not (head.request_id or head.trace_headers):
            if len(self.known_heads) == MAX_KNOWN_HEADS:
                self.forget_heads()
            endpoint = self.endpoint
            admits_all = not (endpoint.sees_every_request or endpoint.keys.needed or endpoint.rates is not None)
            head.may_be_express = admits_all and head.media_type in (JSON, b"") and head.route is None
            head.raw, head.body_start, head.request_bytes = raw, len(raw), len(raw) + head.body_bytes
            self.known_heads[raw] = head

    def read_head(
        self,
        policy: ServedPolicy,
        url: bytes,
        headers: list[tuple[bytes, bytes]],
        parser: Any,
        route: Route | None = None,
    ) -> Head | None:
        """What parsed headers say; the first of repeated ones counts. None for what the hot lane does not read."""
        body_bytes, media_type, authorization, request_id = -1, b"", None, b""
        trace_headers: tuple[tuple[bytes, bytes], ...] = ()
        further: dict[bytes, bytes] = {}
        for name, value in headers:
            if name == b"content-length":
                body_bytes = int(value)
            elif name == b"content-type":
                media_type = media_type or value
            elif name == b"authorization":
                authorization = value if authorization is None else authorization
            elif name == b"x-request-id":
                request_id = request_id or read_request_id(value)
            elif name in TRACE_HEADERS:
                trace_headers += ((name, value),)
            elif name in self._slow_headers:
                return None
            if route is not None and name in route.headers:
                further.setdefault(name, value)
        plain = parser.get_method() == b"POST" and parser.get_http_version() == "1.1"
        if not plain or not 0 <= body_bytes <= self.settings.max_body_bytes:
            return None
        keep_alive = parser.should_keep_alive()
        known = (policy, body_bytes, media_type, authorization, keep_alive, url, request_id, trace_headers)
        return Head(*known, route, further)
