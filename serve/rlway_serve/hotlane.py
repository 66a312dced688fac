"""The fast way in: act requests answered on the connection's own protocol, without ASGI.

In:      bytes from a socket.
Out:     bytes to it, the same as the FastAPI route would have sent.
Refuses: what neither lane can answer: bytes that are no HTTP (RequestMalformed), HeadersTooLarge, RequestTimeout for
         those who send too slowly, TooManyConnections. Whatever is not a plain `POST` with a content-length to an act
         route goes to FastAPI.

A connection answers in the order it was asked, also when a client pipelines and mixes both lanes:
  - hot after hot: each request holds a `Slot`; finished answers wait for those before them;
  - ASGI after hot: the application starts once the slots are empty;
  - hot after ASGI: while an ASGI request runs, everything takes that lane, and uvicorn keeps the order.
Once `max_in_flight` requests of a connection wait for their answers, what it sent after them is held as bytes, and
nothing more is read from it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from rlway_client.errors import HeadersTooLarge, QueueFull, RequestMalformed, RlwayError, TooManyConnections
from rlway_serve.patience import Patience
from rlway_serve.response import Response, problem_response, write_response
from rlway_serve.routes import Head, HotRoutes

PIECE_BYTES = 4096  # given to the parser at once: what it has begun cannot be held back any more


class Slot:
    """The place of one hot request among its connection's answers; calling it gives the answer."""

    __slots__ = ("began_s", "body_bytes", "connection", "head", "keep_alive", "reserved_bytes", "response")

    def __init__(self, connection: HotLane, head: Head, keep_alive: bool) -> None:
        self.connection = connection  # requests are taken from connections in turn
        self.head = head
        self.keep_alive = keep_alive
        self.response: Response | None = None
        self.reserved_bytes = 0
        self.began_s: float  # these two only for the access log
        self.body_bytes: int

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.connection.transport.is_closing()

    def __call__(self, response: Response) -> None:
        self.response = response
        self.connection.send_ready_slots()


class HotLane(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a shortcut for act requests. `routes` is set on a subclass made per server."""

    routes: HotRoutes

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # The request being read.
        self._reading = False
        self._number = 0  # of it, on this connection
        self._for_asgi = False  # the application has begun with it
        self._head: Head | None = None  # when it is hot
        self._raw_head = b""  # its bytes, when they came in one piece
        self._chunks: list[bytes] = []
        self._body_left = 0  # of a hot one
        self._reserved_bytes = 0
        self._refusal: RlwayError | None = None  # its answer, once its body has passed by
        self._in_headers = False
        self._headers_bytes = 0
        self._body_began = False
        # The answers that are due.
        self._slots: deque[Slot] = deque()
        self._slots_empty: asyncio.Future[None] | None = None
        self._asgi_open = 0  # requests that took the other lane and are not answered yet
        self._parting: Response | None = None  # sent after them, before the connection closes
        # The connection.
        self._held = b""  # what came while as many answers were due as may be
        self._going_on = False  # with what is held, in the loop's next turn
        self._half_closed = False  # by the peer, behind what is held
        self._last = False  # no request is taken any more
        self._closing = False  # closes once nothing is due
        self._patience: Patience  # from the first moment of the connection

    # What the parser calls, in this order, for every request.

    def on_message_begin(self) -> None:
        self._reading = not self._last
        self._number += 1
        self._in_headers = True
        self._for_asgi = False
        self._head = None
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        raw, self._raw_head = self._raw_head, b""
        self._in_headers = self._body_began = False
        # What follows a `connection: close` is not a request any more; an offer to upgrade will be read again.
        if self._last or self.parser.should_upgrade():
            return
        policy = self.routes.by_url.get(self.url)
        self._head = (
            None
            if policy is None or self._asgi_open
            else self.routes.read_head(policy, self.url, self.headers, self.parser)
        )
        if self._head is None:
            self._enter_asgi()
            return
        self._chunks.clear()
        self._body_left = self._head.body_bytes
        try:
            self._reserved_bytes = self.routes.endpoint.bodies.reserve(self._head.body_bytes)
        except QueueFull as error:
            self._refusal = error
        # Only where every line was one header: a folded one would make the count differ.
        if raw.count(b"\r\n") == len(self.headers) + 2:
            self.routes.remember(raw, self._head)

    def on_body(self, body: bytes) -> None:
        if self._head is None:
            self._body_began = True
            if not self._last:
                super().on_body(body)
        else:
            self._body_left -= len(body)
            if self._refusal is None:
                self._chunks.append(body)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # and not behind a chunked body, where nobody counts them
            super().on_header(name, value)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._reading = self._for_asgi = False
        if self._last:
            return
        if self._head is not None:
            self._ask(self._head, b"".join(self._chunks))
        else:
            super().on_message_complete()
            self._last = self._closing or not self.cycle.keep_alive

    def _ask(self, head: Head, body: bytes) -> None:
        keep_alive = head.keep_alive and not self._closing
        slot = Slot(self, head, keep_alive)
        self._slots.append(slot)
        self._last = not keep_alive  # a stop that began while the request was read still answers it
        routes = self.routes
        if routes.access_log is not None:
            slot.began_s, slot.body_bytes = time.perf_counter(), len(body)
        if self._reserved_bytes:
            slot.reserved_bytes, self._reserved_bytes = self._reserved_bytes, 0
        refusal = self._refusal
        if refusal is None:
            routes.endpoint.act(head.policy, head.media_type, head.authorization, body, slot)
        else:
            self._refusal = None
            head.policy.metrics.count_refusal(refusal)
            slot(problem_response(refusal))

    def _ask_known(self, data: bytes) -> bytes:
        """Asks for the whole requests at the start of `data` whose headers have been read before; returns the rest."""
        if self._reading or self._asgi_open:
            return data
        routes = self.routes
        known_heads, max_in_flight, slots = routes.known_heads, routes.settings.max_in_flight, self._slots
        begin = 0
        while not self._last and len(slots) < max_in_flight:
            start = data.find(b"\r\n\r\n", begin) + 4
            head = known_heads.get(data[begin:start])
            if head is None:
                # For the parser, which begins with a request here: what it will make of these bytes is remembered.
                self._raw_head = data[begin:start] if data.startswith(b"POST ", begin) else b""
                break
            end = start + head.body_bytes
            if len(data) < end:
                break
            self._ask(head, data[start:end])
            if len(data) == end:
                return b""
            begin = end
        return data[begin:]

    def _decline_upgrade(self, rest: bytes) -> bytes:
        """What to read instead of a request that offers HTTP/2 or WebSocket: the same without the offer, and `rest`."""
        method = self.parser.get_method()
        if method == b"CONNECT" or self._last:
            self.send_400_response("a proxy's request")
            return b""
        kept = [header for header in self.headers if header[0] not in (b"connection", b"upgrade")]
        lines = [method + b" " + self.url + b" HTTP/1.1", *(b"%s: %s" % header for header in kept), b"", b""]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._reading = False
        return b"\r\n".join(lines) + rest

    def _enter_asgi(self) -> None:
        headers = self.headers
        url, expect = self.url, self.expect_100_continue
        super().on_message_begin()  # makes the scope, which the hot lane does without
        self.headers.extend(headers)
        self.url, self.expect_100_continue = url, expect
        if self._slots:
            self.app, app = self._after_slots(self.app), self.app
            try:
                super().on_headers_complete()
            finally:
                self.app = app
        else:
            super().on_headers_complete()
        self._for_asgi = True
        self._asgi_open += 1  # last: a URL that cannot be parsed raises, and nothing is owed but a 400

    def _after_slots(self, app: Any) -> Any:
        """The application, begun once every hot request before it is answered."""
        if self._slots_empty is None:
            self._slots_empty = self.loop.create_future()
        empty = self._slots_empty

        async def wait_then_run(scope: Any, receive: Any, send: Any) -> None:
            await empty
            await app(scope, receive, send)

        return wait_then_run

    # Answers.

    def send_ready_slots(self) -> None:
        """Writes the answers whose turn it is."""
        slots = self._slots
        while slots and (response := slots[0].response) is not None:
            slot = slots.popleft()
            if slot.reserved_bytes:
                self.routes.endpoint.bodies.release(slot.reserved_bytes)
            if self.routes.access_log is not None:
                head = slot.head
                asked = (self.client, "POST", head.path, response.status, slot.body_bytes, len(response.body))
                self.routes.access_log.write(*asked, slot.began_s, head.request_id)
            self._write(response, slot.keep_alive, slot.head.request_id)
        if not slots and self._slots_empty is not None:
            empty, self._slots_empty = self._slots_empty, None
            if not empty.done():
                empty.set_result(None)
        if self._held:
            self._go_on_soon()
        if self._closing:
            self._close_if_done()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._asgi_open -= 1
        if self._held:
            self._go_on_soon()
        if self._for_asgi and self.cycle.response_complete and self.expect_100_continue and not self._body_began:
            # Refused before its body was asked for: what comes next may be the body or not.
            self._reading = self._for_asgi = False
            self._last = self._closing = True
        if self._closing:
            self._close_if_done()

    def send_400_response(self, msg: str) -> None:
        """Answers bytes that are not HTTP, after the answers that are due, and closes."""
        self.logger.debug("%s: %s", self.client, msg)
        self._part(RequestMalformed("the request is not valid HTTP/1.1."))

    def _part(self, error: RlwayError) -> None:
        """Answers the request being read with `error`, after the answers that are due, and closes."""
        if self._last and not self._reading:
            return
        answered = self._for_asgi and self.cycle.response_complete  # before it was whole
        self._give_up_reading()
        self._last = self._closing = True
        self._parting = None if answered else problem_response(error)
        self._close_if_done()

    def _write(self, response: Response, keep_alive: bool, request_id: bytes = b"") -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        default_headers = self.server_state.default_headers
        if not keep_alive or request_id:
            self.transport.write(write_response(response, default_headers, keep_alive, request_id))
            if not keep_alive:
                self.transport.close()
            return
        # An answer that is given again and again is written once, until uvicorn renews its `date`, once a second.
        if response.written_with is not default_headers:
            response.written = write_response(response, default_headers, keep_alive)
            response.written_with = default_headers
        self.transport.write(response.written)

    def _close_if_done(self) -> None:
        if self._slots or self._asgi_open or self._reading:
            return
        parting, self._parting = self._parting, None
        if parting is not None:
            self._write(parting, keep_alive=False)
        self.transport.close()

    def _give_up_reading(self) -> None:
        """The request being read will never be whole."""
        broken = self.cycle
        if self._for_asgi and not broken.response_complete:
            broken.disconnected = True
            broken.message_event.set()
            self.pipeline = deque(waiting for waiting in self.pipeline if waiting[0] is not broken)
            self._asgi_open -= 1
        self._reading = self._for_asgi = False
        self._head = None
        self._body_left = 0
        self._chunks.clear()
        self.routes.endpoint.bodies.release(self._reserved_bytes)
        self._reserved_bytes = 0

    # The connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        settings = self.routes.settings
        self._patience = Patience(self.loop, settings, self._close_if_idle, self._part)
        if len(self.connections) > settings.max_connections:
            limit = settings.max_connections
            self._part(TooManyConnections(f"the server holds {limit} connections already; try again in a second."))

    def data_received(self, data: bytes) -> None:
        if self._last:
            return
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._patience.active_s = self.loop.time()
        if self._held:
            self._held += data
            self.flow.pause_reading()
            return
        data = self._ask_known(data)
        if data:
            self._take_in(data)

    def _take_in(self, data: bytes) -> None:
        """Reads requests until the data ends or as many answers are due as may be."""
        while data and not self._last:
            if self._due >= self.routes.settings.max_in_flight:
                self._held = data
                self.flow.pause_reading()
                break
            piece_bytes = max(PIECE_BYTES, self._body_left)
            data = self._parse(data[:piece_bytes]) + data[piece_bytes:]
            if data:
                data = self._ask_known(data)
        if self._reading and not self._held:
            self._patience.wait_for(self._number, self._in_headers)
        else:
            self._patience.wait_no_more()

    def _parse(self, piece: bytes) -> bytes:
        """Gives bytes to the parser; returns those that it has to read once more."""
        headers = self.headers
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as offer:
            return self._decline_upgrade(piece[offer.args[0] :])
        except httptools.HttpParserError as error:
            self.send_400_response(str(error))
        else:
            # Neither the parser nor uvicorn has a limit for headers.
            unfinished = self._in_headers and self.headers is headers  # of one request, before and after these bytes
            self._headers_bytes = self._headers_bytes + len(piece) if unfinished else 0
            limit = self.routes.settings.max_header_bytes
            if self._headers_bytes > limit:
                self._part(HeadersTooLarge(f"headers: expected at most {limit} bytes, got more."))
        return b""

    @property
    def _due(self) -> int:
        """The answers that are due to whole requests."""
        return len(self._slots) + self._asgi_open - (self._for_asgi and not self.cycle.response_complete)

    def _go_on_soon(self) -> None:
        if not self._going_on and not self.flow.write_paused and self._due <= self.routes.settings.max_in_flight // 2:
            self._going_on = True
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Reads what was held."""
        self._going_on = False
        held, self._held = self._held, b""
        if not held or self.transport.is_closing():
            return
        held = self._ask_known(held)
        if held:
            self._take_in(held)
        if self._held:
            self._go_on_soon()
        elif self._half_closed:
            self._end_reading()
            if self._closing:
                self._close_if_done()
        else:
            self.flow.resume_reading()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The peer has said all that it will: it gets the answers that are due, then the connection closes."""
        # Closing half of a TLS connection is not possible; and what nobody waits for needs no answer.
        if self.scheme != "http":
            return False
        if self._held:
            self._half_closed = True
            return True
        self._end_reading()
        return bool(self._slots or self._asgi_open)

    def _end_reading(self) -> None:
        self._give_up_reading()
        self._last = self._closing = True
        self._patience.wait_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.flow.read_paused = False  # a pipelined application would resume reading from what has gone
        self._give_up_reading()
        self._held = b""
        self._patience.end()
        if self._slots_empty is not None and not self._slots_empty.done():
            self._slots_empty.set_result(None)

    def shutdown(self) -> None:
        """The server stops: answers what was asked, and what is being asked at this moment, then closes."""
        self._closing = True
        self._last = not self._reading
        if self._slots and not self._asgi_open and not self._reading:
            self._slots[-1].keep_alive = False
        elif self._asgi_open:
            self.cycle.keep_alive = False
        self._close_if_done()

    def pause_writing(self) -> None:
        """The peer does not read its answers: take no more requests from it until it does."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._held:
            self._go_on_soon()
        else:
            self.flow.resume_reading()

    def _close_if_idle(self) -> bool:
        """Closes unless answers are due; returns whether this has to be asked again."""
        if self._slots or self._asgi_open:
            return True
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            self.transport.abort()  # the peer does not read
            return False
        self.transport.close()
        return True
