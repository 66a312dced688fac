"""Bytes to requests, on one HTTP/1.1 connection.

In:      what the connection receives.
Out:     act requests whose first line and headers have come before, asked at the endpoint; all else, for the parser.
Refuses: what its parser refuses.

A plain `POST` with a content-length to an act route takes the hot lane; whatever else comes goes to FastAPI. Answers
have the order of the requests, also when a client pipelines and mixes both lanes:
  - hot after hot: each request has a `Slot`, and finished answers wait for those before them;
  - FastAPI after hot: the application starts once the slots are empty;
  - hot after FastAPI: while the application has a request, every further one goes there, too.

Once `max_in_flight` requests wait for their answers, what comes behind them is held as bytes, and reading pauses.
"""

from __future__ import annotations

import asyncio

from rlway_serve.transport.answer_queue import Extras, Slot
from rlway_serve.transport.request_heads import HotRoutes
from rlway_serve.transport.request_parser import Connection, RequestParser

PIECE_BYTES = 4096  # given to the parser at once: what it has begun cannot be held back any more


class HttpReader:
    """One connection's."""

    __slots__ = ("_connection", "_going_on", "_parser", "_routes", "held")

    def __init__(self, connection: Connection, parser: RequestParser, routes: HotRoutes) -> None:
        self._connection = connection
        self._parser = parser
        self._routes = routes
        self.held = b""  # what came while as many answers were due as may be
        self._going_on = False  # with what is held, in the loop's next turn

    def receive(self, data: bytes) -> None:
        """Reads what came; keeps it where as many answers are due as may be."""
        if self.held:
            self.held += data
            self._connection.flow.pause_reading()
            return
        data = self._ask_known(data)
        if data:
            self._take_in(data)

    def _take_in(self, data: bytes) -> None:
        """Reads requests until the data ends or as many answers are due as may be."""
        connection, parser = self._connection, self._parser
        connection.end_repeating()
        while data and not parser.last:
            if self._due >= self._routes.max_in_flight:
                self.held = data
                connection.flow.holds = True
                connection.flow.pause_reading()
                break
            piece_bytes = max(PIECE_BYTES, parser.body_left)
            data = parser.feed(data[:piece_bytes], data[piece_bytes:])
            if data:
                data = self._ask_known(data)
        if parser.last:
            connection.pass_on(data)
        if parser.reading and not self.held:
            connection.timeouts.wait_for(parser.number, parser.in_headers)
        else:
            connection.timeouts.wait_no_more()

    def _ask_known(self, data: bytes) -> bytes:
        """Asks for the whole requests at the start of `data` whose headers have been read before; returns the rest."""
        connection, parser, routes = self._connection, self._parser, self._routes
        if parser.reading or parser.last or (connection.app is not None and connection.app.open):
            return data
        slots, arrived_s = connection.answers.slots, connection.timeouts.active_s
        head, slot, begin, size = None, None, 0, len(data)
        while begin < size and len(slots) < routes.max_in_flight:
            start = data.find(b"\r\n\r\n", begin) + 4
            head = routes.known_heads.get(data[begin:start])
            if head is None:
                # For the parser, which begins with a request here: what it will make of these bytes is remembered.
                parser.raw_head = data[begin:start] if data.startswith(b"POST ", begin) else b""
                break
            end = start + head.body_bytes
            if size < end:
                break
            slots.append(slot := Slot(connection, arrived_s))
            if routes.access_log is not None:
                slot.extras = Extras(head, head.body_bytes, 0)
            routes.endpoint.act_plain(head.policy, head.media_type, head.authorization, data[start:end], slot)
            begin = end
        plain = slot is not None and slot.observations is not None
        if begin == size and plain and routes.access_log is None:
            connection.repeated = head
        return data[begin:]

    @property
    def _due(self) -> int:
        """How many answers are due to whole requests."""
        app, due = self._connection.app, len(self._connection.answers.slots)
        return due if app is None else due + app.open - (app.reading and not app.answered_early)

    def go_on_soon(self) -> None:
        """Reads what is held in the loop's next turn, if few enough answers are due."""
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
            self.go_on_soon()
        else:
            connection.on_held_read()
