"""One HTTP/1.1 connection, from its start to its end: it connects reader, answers and application.

In:      bytes from a socket; time-outs; a stop of the server.
Out:     answers, in the order in which they were asked for.
Refuses: RequestTimeout for a request that arrives too slowly, TooManyConnections, and what its reader refuses.

A request may be answered before its body has arrived. A body of up to `max_body_bytes` is then read and discarded, and
the connection is kept. If the peer sends more than that, or may do so, the connection lingers and closes.

A request goes from the reader to the endpoint, the batcher and the runner. Its answer comes back through `Slot.answer`.
A repeated request goes through `Repeating.submit_express` to the express queue; its answer comes back through
`Repeating.answer`.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from rlway_client.contract.errors import RequestTimeout, RlwayError, TooManyConnections
from rlway_serve.messages.call import PlainCall
from rlway_serve.messages.response import JSON, Response, problem_response
from rlway_serve.transport._uvicorn import AppRequests, Config, HoldingFlow, ServerState, get_remote_addr, is_ssl
from rlway_serve.transport.answer_queue import AnswerQueue, Slot
from rlway_serve.transport.http_reader import HttpReader
from rlway_serve.transport.lingering import linger
from rlway_serve.transport.repeat import Repeating
from rlway_serve.transport.request_heads import Head, HotRoutes
from rlway_serve.transport.request_parser import RequestParser
from rlway_serve.transport.timeouts import ConnectionTimeouts
from rlway_serve.transport.websocket.connection import WebSocket
from rlway_serve.transport.websocket.route import RouteWebSocket

SHORT_LINGER_S = 1.0  # long enough for the answer to reach the peer


class HttpConnection(Repeating, asyncio.Protocol):
    """It has the interface of uvicorn's own protocols. Thousands may be open, so each is kept small.

    It implements `AppHost` for `AppRequests`, and `ReaderHost` for its parser and reader.
    """

    __slots__ = (
        "__weakref__",  # for tests that count living connections
        "_app_state", "_config", "_half_closed", "_linger_s", "_parser", "_parting", "_reader",
        "_routes", "_server_state", "_slots", "_successor", "_unsent_bytes", "answers", "app", "client", "closing",
        "flow", "repeated", "scheme", "timeouts", "transport",
    )  # fmt: skip

    def __init__(self, routes: HotRoutes, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__()
        self._routes = routes
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        # The head of the last request, while the peer repeats it. Then no request is partly read, no bytes are held,
        # the application has no request, and the connection takes further requests.
        self.repeated: Head | None = None
        self.app: AppRequests | None = None  # most connections never need it
        self.closing = False  # whether the connection closes once no answer is due
        self._parting: Response | None = None  # a refusal, sent after all answers, before the connection closes
        self._half_closed = False  # by the peer
        self._linger_s = 0.0  # how long to read on after the last answer; 0 if the peer sends nothing more
        self._successor: asyncio.Protocol | None = None  # reads all further bytes: a WebSocket or a `Lingering`
        self._unsent_bytes = 0  # at the last check for idleness

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # for sockets it is one
        self.transport = transport
        self.client = get_remote_addr(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        self.flow = HoldingFlow(transport)
        self.answers = AnswerQueue(transport, self.client, self._routes, self._server_state, self._on_ready)
        self._slots = self.answers.slots
        self._parser = RequestParser(self, self._routes)
        self._reader = HttpReader(self, self._parser, self._routes)
        settings, connections = self._routes.settings, self._server_state.connections
        self.timeouts = ConnectionTimeouts(asyncio.get_running_loop(), settings, self._close_if_idle, self.refuse)
        connections.add(self)  # type: ignore[arg-type]  # uvicorn calls its `shutdown`
        if len(connections) > settings.max_connections:
            limit = settings.max_connections
            self.refuse(TooManyConnections(f"the server holds {limit} connections already; try again in a second."))

    def data_received(self, data: bytes) -> None:
        head = self.repeated
        if (
            head is not None
            and not (self.awaits_express or self._slots)
            and len(data) == head.request_bytes
            and data.startswith(head.raw)
            and head.may_be_express
            and (version := head.policy.active) is not None
        ):
            # Nearly every packet is one whole request with the same head as before and another observation.
            self.timeouts.active_s = now_s = time.perf_counter()
            if self.submit_express(version.batcher.express, data[head.body_start :], now_s):
                return
        if self._parser.takes_no_more:
            self.pass_on(data)
            return
        if self.awaits_express:
            self.end_repeating()
        self.timeouts.active_s = time.perf_counter()
        self._reader.receive(data)

    # Repeated requests (`Repeating`).

    def send_at_once(self, response: Response) -> None:
        if response.written_with is self._server_state.default_headers and not self.transport.is_closing():
            self.transport.write(response.written)
        else:
            self.answers.send(response, keep_alive=True)

    def submit_in_turn(self, body: Any) -> None:
        head, self.repeated = self.repeated, None
        assert head is not None
        slot = self.new_place()
        self._routes.endpoint.act_admitted(head.policy, JSON, body, slot)

    def new_place(self) -> PlainCall:
        slot = Slot(self, self.arrived_s)
        self._slots.append(slot)
        return slot

    def end_repeating(self) -> None:
        self.end_express()
        self.repeated = None

    # Requests for the application (`AppHost`).

    def open_app(self) -> AppRequests:
        if self.app is None:
            limit = self._routes.settings.max_body_bytes
            self.app = AppRequests(self, self._config, self._server_state, self._app_state, limit)
        return self.app

    def may_start(self) -> bool:
        return not self._slots

    def on_app_answer(self, last: bool) -> None:
        self.timeouts.active_s = time.perf_counter()
        if self._reader.held:
            self._reader.resume_soon()
        if last:
            self.stop_reading()
        self.close_if_done()

    def close_when_done(self) -> None:
        """An answer says that the connection closes: no further request begins, and it closes once nothing is due."""
        self._parser.takes_no_more = self._parser.takes_no_more or not self._parser.reading
        self.closing = True
        self.close_if_done()

    # The end of the connection.

    def _on_ready(self) -> None:
        if self.app is not None and not self._slots:
            self.app.start_next()
        if self._reader.held:
            self._reader.resume_soon()
        self.close_if_done()

    def refuse(self, error: RlwayError) -> None:
        """Answers the request being read with `error`, after the answers that are due, and closes."""
        self.end_repeating()
        if self._parser.takes_no_more and not self._parser.reading:
            return
        answered = self.app is not None and self.app.answered_early
        self.stop_reading()
        if isinstance(error, RequestTimeout | TooManyConnections):  # the peer has used up its time, or gets no place
            self._linger_s = SHORT_LINGER_S
        self._parting = None if answered else problem_response(error)
        self.close_if_done()

    def stop_reading(self) -> None:
        """Takes no further bytes of this or a later request; the connection closes once no answer is due."""
        self._parser.give_up()
        self._parser.takes_no_more = self.closing = True
        self._linger_s = self._routes.settings.body_timeout_s

    def pass_on(self, data: bytes) -> None:
        """Gives bytes after the last accepted request to the protocol that took over, or discards them."""
        if self._successor is not None:
            self._successor.data_received(data)
        elif data:
            self._linger_s = self._linger_s or self._routes.settings.body_timeout_s

    def close_if_done(self) -> None:
        """Closes if the connection is marked to close and no answer is due."""
        if not self.closing or self._slots or self._parser.reading or (self.app is not None and self.app.unanswered):
            return
        parting, self._parting = self._parting, None
        if parting is not None and not self.transport.is_closing():
            self.answers.send_last(parting)
        if self._successor is not None or self.transport.is_closing():
            return
        unread = bool(self._linger_s or self._reader.held or self.flow.read_paused) and not self._half_closed
        if not unread:
            self.transport.close()
            return
        self.timeouts.end()
        self._reader.held = b""
        settings, live = self._routes.settings, self._server_state.connections
        limit_s, stopping = self._linger_s or settings.body_timeout_s, self._routes.endpoint.draining
        self._successor = linger(self, self.transport, live, limit_s, stopping)

    def become_stream(self, url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Hands the connection over to a WebSocket, which reads all further bytes."""
        self.timeouts.end()
        self._server_state.connections.discard(self)
        routes, rest = self._routes, (self.transport, self._server_state, headers)
        route = routes.find_stream_route(url)
        if route is None:
            stream = WebSocket(routes.streams, routes.streams_by_url[url], *rest)
        else:
            stream = RouteWebSocket(routes.streams, route, partial(routes.find_stream_route, url), *rest)
        stream.open(url)
        self._successor = stream

    def eof_received(self) -> bool:
        """The peer sends nothing more: it gets the answers that are due, then the connection closes."""
        self.end_repeating()
        if self.scheme != "http":  # TLS connections cannot be half closed
            return False
        self._half_closed = True
        if self._reader.held:
            return True
        self._end_reading()
        return bool(self._slots or (self.app is not None and self.app.unanswered))  # true keeps the connection open

    def on_held_bytes_read(self) -> None:
        """Called when all held bytes have been read."""
        if self._half_closed:
            self._end_reading()
            self.close_if_done()
        else:
            self.flow.resume_reading()

    def _end_reading(self) -> None:
        self._parser.give_up()
        self._parser.takes_no_more = self.closing = True
        self.end_repeating()
        self.timeouts.cancel_slow_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server_state.connections.discard(self)
        if self.app is not None:
            self.app.disconnect()
        if exc is None:
            self.transport.close()
        self.end_repeating()
        self.flow.read_paused = False  # otherwise a request of the application would resume reading on a lost transport
        self._parser.give_up()
        self._reader.held = b""
        self.timeouts.end()

    def shutdown(self) -> None:
        """The server stops: answers the requests that have arrived and the one being read, then closes."""
        self.end_repeating()
        self.closing = True
        parser, app = self._parser, self.app
        if app is not None and app.answered_early:
            self.stop_reading()  # of a body whose request is answered already
        parser.takes_no_more = not parser.reading
        app_open = app is not None and app.unanswered
        if self._slots and not app_open and not parser.reading and self._parting is None:
            self._slots[-1].keep_alive = False
        elif app is not None and app_open:
            app.close_behind_newest()
        self.close_if_done()

    def pause_writing(self) -> None:
        """The peer does not read its answers: take no more requests from it until it does."""
        self.flow.pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        if self._reader.held:
            self._reader.resume_soon()
        else:
            self.flow.resume_reading()

    def _close_if_idle(self) -> bool:
        """Closes, unless answers are due and the peer reads them; returns whether to check again later."""
        self.end_repeating()
        unsent_bytes, unsent_before = self.transport.get_write_buffer_size(), self._unsent_bytes
        self._unsent_bytes = unsent_bytes
        stuck = unsent_bytes > 0 and unsent_bytes == unsent_before  # the peer has read nothing of its answers
        if (self._slots or (self.app is not None and self.app.unanswered)) and not stuck:
            return True
        if self.transport.is_closing() or unsent_bytes:
            self.transport.abort()
            return False
        self.transport.close()
        return True
