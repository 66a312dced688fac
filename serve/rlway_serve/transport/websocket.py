"""A WebSocket on which a policy is asked again and again: `/v1/policies/{policy}/stream`.

In:      text frames, each the JSON body of an act request; binary frames, each of raw rows.
Out:     a frame for each, in their order: JSON or raw actions; a refusal is a text frame with its problem.
Refuses: a handshake without a key, or from another origin's page; messages over `max_body_bytes` (close code 1009).

A refused frame does not end the connection. Once `max_in_flight` frames wait for their answers, or the peer does not
read its answers, nothing more is read from it. A stop closes it with 1001, after the frames that it has been asked.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from rlway_client.contract.errors import KeyRefused, RlwayError
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.episodes import OwnEpisode
from rlway_serve.messages.call import OwnCall, PlainCall
from rlway_serve.messages.response import OCTETS, Response, problem_response, read_request_id, response_headers
from rlway_serve.scheduling.batcher import Batcher
from rlway_serve.settings import Settings
from rlway_serve.telemetry.access_log import AccessLog
from rlway_serve.telemetry.tracing import TRACE_HEADERS
from rlway_serve.transport.lingering import linger
from rlway_serve.transport.timeouts import GRACE_S
from rlway_serve.transport.websocket_frames import MESSAGES, FrameReader, write_frame

PING_S = 20.0  # a peer that has not been heard of for so long is asked whether it lives, and given as long to answer
CLOSE_S = 5.0  # for the peer to close, once it is asked to
OPEN, BINARY = State.OPEN, Opcode.BINARY  # members of enumerations are slow to look up, and to hash


class StreamCounts:
    """How many streams there are, and what was asked on them; a Prometheus collector."""

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()  # by policy
        self.frames: Counter[tuple[str, str]] = Counter()  # by policy and kind

    def collect(self) -> Iterator[Any]:
        """Called at each scrape."""
        streams = GaugeMetricFamily("rlway_streams", "WebSocket connections", labels=["policy"])
        frames = CounterMetricFamily("rlway_stream_frames", "Frames received on them", labels=["policy", "kind"])
        for policy, count in self.open.items():
            streams.add_metric([policy], count)
        for labels, count in self.frames.items():
            frames.add_metric([*labels], count)
        yield from (streams, frames)


class Frames:
    """What the streams of a server share."""

    def __init__(self, endpoint: Endpoint, settings: Settings, access_log: AccessLog | None = None) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.access_log = access_log
        self.counts = StreamCounts()


class FrameCall(PlainCall, gc=False, eq=False):
    """The place of one frame among its stream's answers."""

    response: Response | None = None

    @property
    def trace_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        headers: tuple[tuple[bytes, bytes], ...] = self.connection.trace_headers
        return headers

    def answer(self, response: Response) -> None:
        self.response = response
        self.connection.send_ready()


class LoggedFrameCall(FrameCall, gc=False, eq=False):
    """The same where there is an access log."""

    method: str = ""
    asked_bytes: int = 0

    def answer(self, response: Response) -> None:
        self.connection.log(self.method, response.status, self.asked_bytes, len(response.body), self.arrived_s)
        super().answer(response)


class Stream(asyncio.Protocol, OwnCall):
    """One WebSocket. It takes over a connection whose handshake has been read."""

    def __init__(
        self,
        shared: Frames,
        policy: str,
        transport: asyncio.Transport,
        server_state: ServerState,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
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
        self._protocol = ServerProtocol(origins=None, max_size=shared.settings.max_body_bytes)
        self._reader = FrameReader(shared.settings.max_body_bytes)
        self._episode = OwnEpisode()
        self._pieces: list[bytes] = []  # of the message being read
        self._kind = Opcode.TEXT  # of it
        self._text_label, self._binary_label = (policy, "text"), (policy, "binary")
        self._waiting: deque[tuple[Opcode, bytes]] = deque()  # messages that came while as many as may be were due
        self._due: deque[FrameCall] = deque()
        endpoint = shared.endpoint
        looked_at = endpoint.sees_all or endpoint.keys.needed or endpoint.rates is not None
        self._quick = not looked_at and shared.access_log is None  # whether messages may be its own calls
        self._waits = False  # for the answer to its own call, which is not among those that are due
        self._batcher: Batcher | None = None  # in which that is
        self._own: FrameCall | None = None  # the same call, once the batcher has read it and it is due
        self._write_paused = False
        self._read_paused = False
        self._closing = False  # once nothing is due
        self._open = False  # whether messages may be sent, and are expected
        self._heard = True  # since the last look
        self._pinged = False
        self._timer: asyncio.TimerHandle | None = None

    def open(self, url: bytes) -> None:
        """Answers the handshake."""
        began_s = time.perf_counter()
        self._url = url
        server_state = self._server_state
        server_state.connections.add(self)  # type: ignore[arg-type]  # uvicorn calls its `shutdown`
        self._shared.counts.open[self._policy] += 1
        self.transport.set_protocol(self)
        lines = [b"GET " + url + b" HTTP/1.1", *(name + b": " + value for name, value in self._headers), b"", b""]
        self._protocol.receive_data(b"\r\n".join(lines))
        request = next(iter(self._protocol.events_received()), None)
        if not isinstance(request, Request):
            self.transport.close()
            return
        try:
            self._shared.endpoint.keys.check(self._authorization)
            check_origin(request.headers, self._shared.settings.cors_origins)
            answer = self._protocol.accept(request)
        except RlwayError as error:
            answer = self._refuse(problem_response(error))
        for name, value in server_state.default_headers:
            name_text = name.decode("latin-1")
            if name_text not in answer.headers:
                answer.headers[name_text] = value.decode("latin-1")
        self._protocol.send_response(answer)
        self._flush()
        self.log("GET", answer.status_code, None, len(answer.body), began_s)
        if answer.status_code != 101:
            return  # `_flush` has seen to its end
        self.transport.resume_reading()
        self._timer = self._loop.call_later(PING_S, self._look)

    def _refuse(self, response: Response) -> Any:
        answer = self._protocol.reject(response.status, response.body.decode())
        for name, value in response_headers(response):
            name_text = name.decode("latin-1")
            if name_text in answer.headers:
                del answer.headers[name_text]
            answer.headers[name_text] = value.decode("latin-1")
        return answer

    def log(self, method: str, status: int, asked_bytes: int | None, sent_bytes: int, began_s: float) -> None:
        """A line in the access log, if there is one. A frame has the request id of its stream's handshake."""
        if self._shared.access_log is not None:
            found = (value for name, value in self._headers if name == b"x-request-id")
            asked = (self.client, method, self._url, status, asked_bytes, sent_bytes, began_s)
            self._shared.access_log.write(*asked, read_request_id(next(found, b"")))

    # Frames.

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._waits:
            self._end_wait()
        if self._open and not (self._due or self._waiting or self._closing):
            short = self._reader.read_short(data)
            if short is not None:
                opcode = MESSAGES[data[0]]
                if not (self._quick and self._ask_own(opcode, short)):
                    self._ask(opcode, short)
                return
        for kind, message in self._reader.read(data):
            if kind is None:
                self._take_in(message)
            elif self._may_ask:
                self._waiting.append((kind, message))
        self._ask_waiting()

    @property
    def _may_ask(self) -> bool:
        return self._open and not self._closing

    def _take_in(self, frame: bytes) -> None:
        """Gives the protocol what it has to know of: parts of messages, pings, the close, and mistakes."""
        self._protocol.receive_data(frame)
        for event in self._protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY):
                self._kind = event.opcode
            elif event.opcode != Opcode.CONT:
                continue  # the protocol has answered pings and a close itself
            self._pieces.append(bytes(event.data))
            if event.fin:
                message = b"".join(self._pieces)
                self._pieces.clear()
                if not self._closing:
                    self._waiting.append((self._kind, message))
        self._reader.within_message = bool(self._pieces)
        self._flush()

    def _ask_waiting(self) -> None:
        """Asks what may be asked now; stops reading while more is there."""
        limit = self._shared.settings.max_in_flight
        while self._waiting and not self._write_paused and len(self._due) < limit:
            kind, message = self._waiting.popleft()
            self._ask(kind, message)
        pause = bool(self._waiting) or self._write_paused
        if pause != self._read_paused and not self.transport.is_closing():
            self._read_paused = pause
            if pause:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def _ask(self, kind: Opcode, message: bytes) -> None:
        self._count(kind)
        self._put(kind, message)

    def _put(self, kind: Opcode, message: bytes, admitted: bool = False) -> None:
        """Asks, once the message is counted; `admitted` is what its own call asked."""
        arrived_s = self.arrived_s if admitted else time.perf_counter()
        if self._shared.access_log is None:
            call = FrameCall(self, arrived_s)
        else:
            call = LoggedFrameCall(self, arrived_s, method=kind.name, asked_bytes=len(message))
        self._due.append(call)
        endpoint = self._shared.endpoint
        try:
            policy = endpoint.repository[self._policy]
        except RlwayError as error:  # its folder has gone meanwhile
            call(problem_response(error))
            return
        media_type = OCTETS if kind is BINARY else b""
        if admitted:
            endpoint.act_admitted(policy, media_type, message, call, self._episode)
        else:
            endpoint.act_plain(policy, media_type, self._authorization, message, call, self._episode)

    def _count(self, kind: Opcode) -> None:
        self._shared.counts.frames[self._binary_label if kind is BINARY else self._text_label] += 1

    # Its own call.

    def _ask_own(self, kind: Opcode, message: bytes) -> bool:
        """Asks what nothing need be made for, if the message may be plain. Whether it did."""
        endpoint = self._shared.endpoint
        policy = endpoint.repository.find(self._policy)
        if policy is None or policy.active is None or endpoint.draining or self._episode.episode is not None:
            return False
        self.raw = kind is BINARY
        self.arrived_s = time.perf_counter()
        batcher = policy.active.batcher
        self._waits = (batcher.submit_own_octets if self.raw else batcher.submit_own)(self, len(message))
        if self._waits:
            self.observations = message
            self._batcher = batcher
            self._count(kind)
        return self._waits

    def answer(self, response: Response) -> None:
        self.observations = self._batcher = None
        if self._waits:
            self._waits = False
            self._send(response)
        elif self._own is not None:
            call, self._own = self._own, None
            call.answer(response)

    def ask_again(self) -> None:
        body, self.observations = self.observations, None
        self._waits, self._batcher = False, None
        self._put(BINARY if self.raw else Opcode.TEXT, body, admitted=True)

    def _end_wait(self) -> None:
        """Its own call is due among others from now on: they may follow, or it may be the last."""
        if not self._waits:
            return
        if self._batcher is not None and self._batcher.withdraw(self):
            self.ask_again()  # what it asks may matter to what comes now, and nobody has read it
        else:
            self._waits, self._batcher = False, None
            self._own = FrameCall(self, self.arrived_s)
            self._due.append(self._own)

    # Answers.

    def send_ready(self) -> None:
        """Sends the answers whose turn it is."""
        due = self._due
        while due and (response := due[0].response) is not None:
            due.popleft()
            self._send(response)
        if self._waiting and not self._write_paused and len(due) <= self._shared.settings.max_in_flight // 2:
            self._loop.call_soon(self._ask_waiting)
        if self._closing and not due and not self._waiting:
            self._close()

    def _send(self, response: Response) -> None:
        if not response.framed:
            kind = BINARY if response.media_type == OCTETS else Opcode.TEXT
            response.framed = write_frame(kind, response.body)
        if self._open and not self.transport.is_closing():
            self.transport.write(response.framed)

    def _flush(self) -> None:
        """Sends what the protocol has to say; called whenever it was told something."""
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
        """The server stops: answers what was asked, then says that it goes away."""
        self._end_wait()
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
        """Nothing more is sent. A peer that has not closed may be sending still, and is to see why this is the end."""
        if self._timer is not None:
            self._timer.cancel()
        if self._protocol.close_rcvd is not None:
            self.transport.close()
            return
        live, limit_s = self._server_state.connections, self._shared.settings.body_timeout_s
        linger(self, self.transport, live, limit_s, self._shared.endpoint.draining)

    def _wait_for_end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(CLOSE_S, self.transport.close)

    def _look(self, waited: bool = False) -> None:
        """Whether the peer still lives."""
        if not self._heard and (self._pinged or self._write_paused):
            if waited:
                self.transport.abort()
            else:  # in a process that stood still, what came meanwhile is read before this is asked again
                self._timer = self._loop.call_later(GRACE_S, self._look, True)
            return
        self._pinged = not self._heard and not self._read_paused
        if self._pinged:
            self._protocol.send_ping(b"")
            self._flush()
        self._heard = self._read_paused and not self._write_paused
        self._timer = self._loop.call_later(PING_S, self._look)

    def pause_writing(self) -> None:
        self._write_paused = True
        self._ask_waiting()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._ask_waiting()

    def eof_received(self) -> bool:
        self._protocol.receive_eof()
        self._flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
        self._server_state.connections.discard(self)
        self._shared.counts.open[self._policy] -= 1


def check_origin(headers: Headers, allowed: tuple[str, ...]) -> None:
    """Raises on a page of another origin that is not allowed: browsers let any page ask, and only say which."""
    origins = headers.get_all("origin")
    host = headers.get("host", "")
    own = {f"http://{host}", f"https://{host}"}
    if origins and "*" not in allowed and not all(origin in own or origin in allowed for origin in origins):
        raise KeyRefused(f"origin: pages of {origins[0][:100]} may not ask here; --cors-origin names those that may.")
