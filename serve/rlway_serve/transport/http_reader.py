"""Bytes to requests, on one HTTP/1.1 connection.

In:      the bytes that the connection receives.
Out:     act requests with a known head (first line and headers), submitted to the endpoint; all other bytes, for the
         parser.
Refuses: what its parser refuses.

A plain `POST` with a content-length to an act route takes the hot lane, past FastAPI; every other request goes to
FastAPI. Answers leave in the order of the requests, also when a client pipelines requests of both kinds:
  - hot after hot: each request has a `Slot`, and finished answers wait for those before them;
  - FastAPI after hot: the application starts once the slots are empty;
  - hot after FastAPI: while the application has a request, every further one goes there, too.

Once `max_in_flight` requests wait for their answers, further bytes are held, and reading pauses.
"""

from __future__ import annotations

import asyncio

from rlway_serve.transport.answer_queue import RequestDetails, Slot
from rlway_serve.transport.request_heads import HotRoutes
from rlway_serve.transport.request_parser import ReaderHost, RequestParser

PIECE_BYTES = 4096  # given to the parser at once: a request that it has begun to read cannot be held back


class HttpReader:
    """The reader of one connection."""

    __slots__ = ("_connection", "_going_on", "_parser", "_routes", "held")

    def __init__(self, connection: ReaderHost, parser: RequestParser, routes: HotRoutes) -> None:
        self._connection = connection
        self._parser = parser
        self._routes = routes
        self.held = b""  # bytes that arrived while `max_in_flight` answers were due
        self._going_on = False  # whether `_go_on` will run in the loop's next turn

    def receive(self, data: bytes) -> None:
        """Reads new bytes; holds them while `max_in_flight` answers are due."""
        if self.held:
            self.held += data
            self._connection.flow.pause_reading()
            return
        data = self._ask_known(data)
        if data:
            self._take_in(data)

    def _take_in(self, data: bytes) -> None:
        """Gives the data to the parser, until it ends or `max_in_flight` answers are due."""
        connection, parser = self._connection, self._parser
        connection.end_repeating()
        while data and not parser.takes_no_more:
            if self._due >= self._routes.max_in_flight:
                self.held = data
                connection.flow.holds = True
                connection.flow.pause_reading()
                break
            piece_bytes = max(PIECE_BYTES, parser.body_left)
            data = parser.feed(data[:piece_bytes], data[piece_bytes:])
            if data:
                data = self._ask_known(data)
        if parser.takes_no_more:
            connection.pass_on(data)
        if parser.reading and not self.held:
            connection.timeouts.wait_for(parser.number, parser.in_headers)
        else:
            connection.timeouts.cancel_slow_timer()

    def _ask_known(self, data: bytes) -> bytes:
        """Submits the whole requests with known heads at the start of `data`; returns the rest."""
        connection, parser, routes = self._connection, self._parser, self._routes
        if parser.reading or parser.takes_no_more or (connection.app is not None and connection.app.unanswered):
            return data
        slots, arrived_s = connection.answers.slots, connection.timeouts.active_s
        head, slot, begin, size = None, None, 0, len(data)
        while begin < size and len(slots) < routes.max_in_flight:
            start = data.find(b"\r\n\r\n", begin) + 4
            head = routes.known_heads.get(data[begin:start])
            if head is None:
                # The parser reads this head next, and remembers what it says under these bytes.
                parser.raw_head = data[begin:start] if data.startswith(b"POST ", begin) else b""
                break
            end = start + head.body_bytes
            if size < end:
                break
            slots.append(slot := Slot(connection, arrived_s))
            if routes.access_log is not None:
                slot.details = RequestDetails(head, head.body_bytes, 0)
            if head.route is None:
                routes.endpoint.act_plain(head.policy, head.media_type, head.authorization, data[start:end], slot)
            else:
                routes.endpoint.ask(head.route, head.authorization, head.further, data[start:end], slot)
            begin = end
        plain = slot is not None and slot.observations is not None and slot.wire is None
        if begin == size and plain and routes.access_log is None:
            connection.repeated = head
        return data[begin:]

    @property
    def _due(self) -> int:
        """How many whole requests have no answer yet."""
        app, due = self._connection.app, len(self._connection.answers.slots)
        return due if app is None else due + app.unanswered - (app.reading and not app.answered_early)

    def resume_soon(self) -> None:
        """Reads the held bytes in the loop's next turn, if at most half of `max_in_flight` answers are due."""
        flow = self._connection.flow
        if not self._going_on and not flow.write_paused and self._due <= self._routes.max_in_flight // 2:
            self._going_on = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        connection = self._connection
        held, self.held = self.held, b""
        connection.flow.holds = False
        if not held or connection.answers.transport.is_closing():
            return
        held = self._ask_known(held)
        if held:
            self._take_in(held)
        if self.held:
            self.resume_soon()
        else:
            connection.on_held_bytes_read()
