"""A WebSocket that carries the messages of another protocol to its route.

In:      binary frames, each a message of the protocol.
Out:     the route's greeting, before anything is asked; then a frame for each message, in their order: binary if it
         holds an action, text if it is a refusal.
Refuses: what the handshake refuses, among it a greeting that the route refuses; messages over `max_body_bytes` (close
         code 1009); text frames, which the route refuses in its own words.

All else is as on the native stream: its limits, pings, order, episode and end. A connection asks the same policy for as
long as it lives, also where its address has come to stand for another one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from websockets.frames import Opcode

from rlway_client.contract.errors import NotFound
from rlway_serve.gateway.route import Headers, StreamRoute
from rlway_serve.messages.call import PlainCall
from rlway_serve.messages.response import Response
from rlway_serve.transport._uvicorn import ServerState
from rlway_serve.transport.websocket.calls import FrameCall, SharedByStreams
from rlway_serve.transport.websocket.connection import BINARY, WebSocket
from rlway_serve.transport.websocket.frames import write_frame

NO_HEADERS: Headers = {}
TEXT_BODY = ""  # what a route gets for a text frame, whatever it says


def message_frame(response: Response) -> bytes:
    """An action as a binary frame, or a refusal as a text frame."""
    if not response.framed:
        response.framed = write_frame(BINARY if response.status == 200 else Opcode.TEXT, response.body)
    return response.framed


class RouteWebSocket(WebSocket):
    """One connection. `find_route` gives the route of its URL, for every message, since policies come and go."""

    choose = None  # no subprotocol
    frame_of = staticmethod(message_frame)

    def __init__(
        self,
        shared: SharedByStreams,
        route: StreamRoute,
        find_route: Callable[[], StreamRoute | None],
        transport: asyncio.Transport,
        server_state: ServerState,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        super().__init__(shared, route.policy.name, transport, server_state, headers)
        self._route = route  # as it was when the connection opened
        self._find_route = find_route
        self._binary_label = (route.policy.name, route.protocol)
        self._protocol_label = (route.protocol, route.policy.name)
        self._greeting: Response | None = None
        self._message = b""  # of the express call that waits

    def prepare(self) -> None:
        self._greeting = self._route.greet()

    def greet(self) -> None:
        assert self._greeting is not None
        self.send_at_once(self._greeting)
        self._greeting = None

    def submit(self, kind: Opcode, message: bytes, call: FrameCall) -> None:
        route = self._route_now()
        if route is None:
            self._refuse_without_route(call)
            return
        body = message if kind is BINARY else TEXT_BODY
        self._shared.endpoint.ask(route, self._authorization, NO_HEADERS, body, call, self._episode)

    def submit_if_plain(self, kind: Opcode, message: bytes) -> bool:
        endpoint, route = self._shared.endpoint, self._route_now()
        if kind is not BINARY or route is None or endpoint.draining or self._episode.episode is not None:
            return False
        version = route.policy.active
        plain = None if version is None else route.plain_messages(version)
        octets = None if plain is None else plain.read(message)
        if version is None or plain is None or octets is None:
            return False
        self.wire = plain.wire
        asked = self.submit_express(version.batcher.express, octets, time.perf_counter(), raw=True)
        if asked:
            self._message = message
            self._count(kind)
            endpoint.protocols.asked[self._protocol_label] += 1
        return asked

    def submit_in_turn(self, body: Any) -> None:  # noqa: ARG002  # octets that another version might read differently
        call, route = self.new_place(), self._route_now()
        if route is None:
            self._refuse_without_route(call)
        else:
            self._shared.endpoint.ask_admitted(route, NO_HEADERS, self._message, call, self._episode)

    def _route_now(self) -> StreamRoute | None:
        """The route to the policy that this connection asks; None if its URL leads there no more."""
        route = self._find_route()
        return route if route is not None and route.policy.name == self._policy else None

    def _refuse_without_route(self, call: PlainCall) -> None:
        path = self._url.partition(b"?")[0].decode()
        gone = f"policy {self._policy!r}: not served at {path} any more; GET /v1/policies lists what is served."
        call.answer(self._route.refuse(NotFound(gone)))
