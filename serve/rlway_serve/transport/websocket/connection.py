"""A WebSocket that carries act requests to one policy: `/v1/policies/{policy}/stream`.

In:      text frames, each the JSON body of an act request; binary frames, each of raw rows.
Out:     a frame for each, in their order: JSON, or raw actions with details if the handshake says so. A refusal is a
         text frame with its problem.
Refuses: what the handshake refuses; messages over `max_body_bytes` (close code 1009).

A refused frame does not end the connection. Reading pauses once `max_in_flight` frames wait for their answers, or the
peer does not read its answers. When the server stops, it answers all frames that have arrived, then closes with 1001.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from rlway_client.contract.errors import RlwayError
from rlway_serve.gateway.episodes import ConnectionEpisode
from rlway_serve.messages.call import PlainCall
from rlway_serve.messages.response import OCTETS, Response, problem_response
from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.telemetry.tracing import TRACE_HEADERS
from rlway_serve.transport._uvicorn import ServerState
from rlway_serve.transport.lingering import linger
from rlway_serve.transport.repeat import Repeating
from rlway_serve.transport.websocket.answers import DETAILS, choose_subprotocol, detailed_frame, plain_frame
from rlway_serve.transport.websocket.calls import FrameCall, LoggedFrameCall, SharedByStreams, find_request_id
from rlway_serve.transport.websocket.frames import MESSAGES, Fragments, FrameReader
from rlway_serve.transport.websocket.handshake import answer_handshake
from rlway_serve.transport.websocket.pings import PingTimer

CLOSE_S = 5.0  # how long to wait for the peer to close
OPEN, BINARY = State.OPEN, Opcode.BINARY  # members of enumerations are slow to look up, and to hash


class WebSocket(Repeating, asyncio.Protocol):
    """One connection. It takes over from an HTTP connection, which has read the handshake."""

    choose: Any = staticmethod(choose_subprotocol)
    frame_of: Any = staticmethod(plain_frame)

    def __init__(
        self,
        shared: SharedByStreams,
        policy: str,
        transport: asyncio.Transport,
        server_state: ServerState,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        super().__init__()
        self.transport = transport
        address = transport.get_extra_info("peername")
        self.client = address[:2] if isinstance(address, tuple) else None
        self.trace_headers = tuple(header for header in headers if header[0] in TRACE_HEADERS)
        self._url = b""
        self._shared = shared
        self._policy = policy
        self._headers = headers
        self._authorization = next((value for name, value in headers if name == b"authorization"), None)
        self._server_state = server_state
        self._loop = asyncio.get_running_loop()
        self._protocol = ServerProtocol(max_size=shared.settings.max_body_bytes, select_subprotocol=self.choose)
        self._reader = FrameReader(shared.settings.max_body_bytes)
        self._episode = ConnectionEpisode()
        self._fragments = Fragments()
        self._text_label, self._binary_label = (policy, "text"), (policy, "binary")
        self._waiting: deque[tuple[Opcode, bytes]] = deque()  # messages beyond `max_in_flight`
        self._due: deque[FrameCall] = deque()  # calls whose answers are not sent yet, in order
        self._may_be_express = shared.may_be_express
        self._pings = PingTimer(self._loop, self._ping, transport.abort)
        self._closing = False  # whether the connection closes once no answer is due
        self._open = False  # between the handshake and the close: messages may be sent and received
        self._close_timer: asyncio.TimerHandle | None = None

    def open(self, url: bytes) -> None:
        """Answers the handshake."""
        began_s = time.perf_counter()
        self._url = url
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # uvicorn calls its `shutdown`
        self._shared.counts.open[self._policy] += 1
        self.transport.set_protocol(self)
        keys, origins = self._shared.endpoint.keys, self._shared.settings.cors_origins
        default_headers = self._server_state.default_headers
        answer = answer_handshake(self._protocol, url, self._headers, keys, origins, default_headers, self.prepare)
        if answer is None:
            self.transport.close()
            return
        self._flush()
        self.log("GET", answer.status_code, None, len(answer.body), began_s)
        if answer.status_code != 101:
            return  # `_flush` has ended it
        self.frame_of = detailed_frame if self._protocol.subprotocol == DETAILS else self.frame_of
        self.transport.resume_reading()
        self._pings.start()
        self.greet()

    def prepare(self) -> None:
        """Called before the handshake is accepted; what it raises refuses the handshake."""

    def greet(self) -> None:
        """Called when the connection is open, before anything is read from it."""

    def log(self, method: str, status: int, request_bytes: int | None, sent_bytes: int, began_s: float) -> None:
        """Writes to the access log, if there is one. A frame has the request id of its connection's handshake."""
        if self._shared.access_log is not None:
            asked = (self.client, method, self._url, status, request_bytes, sent_bytes, began_s)
            self._shared.access_log.write(*asked, find_request_id(self._headers))

    # Frames.

    def data_received(self, data: bytes) -> None:
        self._pings.heard = True
        if self.awaits_express:
            self.end_express()
        if self._open and not (self._due or self._waiting or self._closing):
            whole = self._reader.read_whole(data)
            if whole is not None:
                opcode = MESSAGES[data[0]]
                if not (self._may_be_express and self.submit_if_plain(opcode, whole)):
                    self._ask(opcode, whole)
                return
        for kind, message in self._reader.read(data):
            if kind is None:
                self._take_in(message)
            elif self._open and not self._closing:
                self._waiting.append((kind, message))
        self._ask_waiting()

    def _take_in(self, frame: bytes) -> None:
        """Gives the protocol all other frames: parts of messages, pings, the close, and invalid ones."""
        self._protocol.receive_data(frame)
        for event in self._protocol.events_received():
            assert isinstance(event, Frame)
            message = self._fragments.add(event)  # none for pings and a close, which the protocol has answered itself
            if message is not None and not self._closing:
                self._waiting.append(message)
        self._reader.within_message = self._fragments.unfinished
        self._flush()

    def _ask_waiting(self) -> None:
        """Submits waiting messages while few enough answers are due; pauses reading while any are left."""
        limit = self._shared.settings.max_in_flight
        while self._waiting and not self._pings.write_paused and len(self._due) < limit:
            kind, message = self._waiting.popleft()
            self._ask(kind, message)
        pause = bool(self._waiting) or self._pings.write_paused
        if pause != self._pings.read_paused and not self.transport.is_closing():
            self._pings.read_paused = pause
            (self.transport.pause_reading if pause else self.transport.resume_reading)()

    def _ask(self, kind: Opcode, message: bytes) -> None:
        self._count(kind)
        arrived_s = time.perf_counter()
        if self._shared.access_log is None:
            call = FrameCall(self, arrived_s)
        else:
            call = LoggedFrameCall(self, arrived_s, method=kind.name, request_bytes=len(message))
        self._due.append(call)
        self.submit(kind, message, call)

    def submit(self, kind: Opcode, message: bytes, call: FrameCall) -> None:
        """Gives a message to the endpoint."""
        if (policy := self._find_policy(call)) is not None:
            endpoint, media_type = self._shared.endpoint, OCTETS if kind is BINARY else b""
            endpoint.act_plain(policy, media_type, self._authorization, message, call, self._episode)

    def _find_policy(self, call: PlainCall) -> ServedPolicy | None:
        """The policy of this connection; None if it has been removed: then the call is refused."""
        try:
            return self._shared.endpoint.repository[self._policy]
        except RlwayError as error:
            call.answer(problem_response(error))
            return None

    def _count(self, kind: Opcode) -> None:
        self._shared.counts.frames[self._binary_label if kind is BINARY else self._text_label] += 1

    # Express calls.

    def submit_if_plain(self, kind: Opcode, message: bytes) -> bool:
        """Submits an express call if the message may be plain; returns whether it did."""
        endpoint = self._shared.endpoint
        policy = endpoint.repository.find(self._policy)
        if policy is None or policy.active is None or endpoint.draining or self._episode.episode is not None:
            return False
        asked = self.submit_express(policy.active.batcher.express, message, time.perf_counter(), raw=kind is BINARY)
        if asked:
            self._count(kind)
        return asked

    def submit_in_turn(self, body: Any) -> None:
        call = self.new_place()
        if (policy := self._find_policy(call)) is not None:
            media_type = OCTETS if self.raw else b""
            self._shared.endpoint.act_admitted(policy, media_type, body, call, self._episode)

    def new_place(self) -> PlainCall:
        call = FrameCall(self, self.arrived_s)
        self._due.append(call)
        return call

    # Answers.

    def send_ready(self) -> None:
        """Sends the answers whose turn it is."""
        due = self._due
        while due and (response := due[0].response) is not None:
            due.popleft()
            self.send_at_once(response)
        if self._waiting and not self._pings.write_paused and len(due) <= self._shared.settings.max_in_flight // 2:
            self._loop.call_soon(self._ask_waiting)
        if self._closing and not due and not self._waiting:
            self._close()

    def send_at_once(self, response: Response) -> None:
        if self._open and not self.transport.is_closing():
            self.transport.write(self.frame_of(response))

    def _flush(self) -> None:
        """Sends what the protocol has to send; called after every event given to it."""
        self._open = self._protocol.state is OPEN
        for data in self._protocol.data_to_send():
            if self.transport.is_closing():
                return
            if data:
                self.transport.write(data)
            else:
                self._end()
                return
        if self._protocol.close_expected():
            self._wait_for_end()

    # The connection.

    def shutdown(self) -> None:
        """The server stops: answers all frames that have arrived, then closes with 1001."""
        self.end_express()
        self._closing = True
        if not self._due and not self._waiting:
            self._close()

    def _close(self) -> None:
        if self.transport.is_closing():
            return
        try:
            self._protocol.send_close(CloseCode.GOING_AWAY, "the server is stopping")
        except InvalidState:
            self.transport.close()
            return
        self._flush()

    def _end(self) -> None:
        """Ends the connection after the last answer. It lingers if the peer may still be sending."""
        self._stop_timers()
        if self._protocol.close_rcvd is not None:
            self.transport.close()
            return
        live, limit_s = self._server_state.connections, self._shared.settings.body_timeout_s
        linger(self, self.transport, live, limit_s, self._shared.endpoint.draining)

    def _wait_for_end(self) -> None:
        self._stop_timers()
        self._close_timer = self._loop.call_later(CLOSE_S, self.transport.close)

    def _stop_timers(self) -> None:
        self._pings.stop()
        if self._close_timer is not None:
            self._close_timer.cancel()

    def _ping(self) -> None:
        self._protocol.send_ping(b"")
        self._flush()

    def pause_writing(self) -> None:
        self._pings.write_paused = True
        self._ask_waiting()

    def resume_writing(self) -> None:
        self._pings.write_paused = False
        self._ask_waiting()

    def eof_received(self) -> bool:
        self._protocol.receive_eof()
        self._flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._stop_timers()
        self._waiting.clear()
        self._fragments.clear()
        self._reader.clear()
        self._server_state.connections.discard(self)
        self._shared.counts.open[self._policy] -= 1
