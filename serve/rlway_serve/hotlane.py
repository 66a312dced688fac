"""The fast way in: act requests answered on the connection's own protocol, without ASGI.

In:      bytes from a socket.
Out:     bytes to it, the same as the FastAPI route would have sent.
Refuses: nothing by itself. Whatever is not a plain `POST` with a content-length to an act route goes to FastAPI.

A connection answers in the order it was asked, also when a client pipelines and mixes both lanes:
  - hot after hot: each request holds a `Slot`; finished answers wait for those before them;
  - ASGI after hot: the application starts once the slots are empty;
  - hot after ASGI: while an ASGI request runs, everything takes that lane, and uvicorn keeps the order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from rlway_client.errors import RequestMalformed
from rlway_serve.response import Response, problem_response, write_response
from rlway_serve.routes import Head, HotRoutes

MAX_HEADERS_BYTES = 65536


class Slot:
    """The place of one hot request among its connection's answers; calling it gives the answer."""

    __slots__ = ("keep_alive", "protocol", "response")

    def __init__(self, protocol: HotLane, keep_alive: bool) -> None:
        self.protocol = protocol
        self.keep_alive = keep_alive
        self.response: Response | None = None

    def __call__(self, response: Response) -> None:
        self.response = response
        self.protocol.send_ready_slots()


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
        self._head: Head | None = None  # when it is hot
        self._raw_head = b""  # its bytes, when they came in one piece
        self._chunks: list[bytes] = []
        self._in_headers = False
        self._headers_bytes = 0
        # The answers that are due.
        self._slots: deque[Slot] = deque()
        self._slots_empty: asyncio.Future[None] | None = None
        self._asgi_open = 0  # requests that took the other lane and are not answered yet
        self._parting: Response | None = None  # sent after them, before the connection closes
        # The connection.
        self._last = False  # no request is taken any more
        self._closing = False  # closes once nothing is due
        self._active_s = 0.0
        self._idle_check: asyncio.TimerHandle | None = None

    # What the parser calls, in this order, for every request.

    def on_message_begin(self) -> None:
        self._reading = not self._last
        self._in_headers = True
        self._head = None
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        raw, self._raw_head = self._raw_head, b""
        self._in_headers = False
        # What follows a `connection: close` is not a request any more; an offer to upgrade will be read again.
        if self._last or self.parser.should_upgrade():
            return
        policy = self.routes.by_url.get(self.url)
        self._head = (
            None if policy is None or self._asgi_open else self.routes.read_head(policy, self.headers, self.parser)
        )
        if self._head is None:
            self._enter_asgi()
            return
        self._chunks.clear()
        # Only where every line was one header: a folded one would make the count differ.
        if raw.count(b"\r\n") == len(self.headers) + 2:
            self.routes.remember(raw, self._head)

    def on_body(self, body: bytes) -> None:
        if self._head is not None:
            self._chunks.append(body)
        elif not self._last:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._reading = False
        if self._last:
            return
        if self._head is not None:
            self._ask(self._head, b"".join(self._chunks))
        else:
            super().on_message_complete()
            self._last = self._closing or not self.cycle.keep_alive

    def _ask(self, head: Head, body: bytes) -> None:
        keep_alive = head.keep_alive and not self._closing
        slot = Slot(self, keep_alive)
        self._slots.append(slot)
        self._last = not keep_alive  # a stop that began while the request was read still answers it
        self.routes.endpoint.act(head.policy, head.media_type, head.authorization, body, slot)

    def _ask_known(self, data: bytes) -> bytes:
        """Asks for the whole requests at the start of `data` whose headers have been read before; returns the rest."""
        known_heads = self.routes.known_heads
        while not (self._reading or self._asgi_open or self._last):
            start = data.find(b"\r\n\r\n") + 4
            head = known_heads.get(data[:start])
            if head is None:
                # For the parser, which begins with a request here: what it will make of these bytes is remembered.
                self._raw_head = data[:start] if data.startswith(b"POST ") else b""
                return data
            end = start + head.body_bytes
            if len(data) < end:
                return data
            self._ask(head, data[start:end])
            if len(data) == end:
                return b""
            data = data[end:]
        return data

    def _decline_upgrade(self, rest: bytes) -> None:
        """Reads a request that offers HTTP/2 or WebSocket as if it did not: the parser stops at its headers."""
        method = self.parser.get_method()
        if method == b"CONNECT" or self._last:
            self.send_400_response("a proxy's request")
            return
        kept = [header for header in self.headers if header[0] not in (b"connection", b"upgrade")]
        lines = [method + b" " + self.url + b" HTTP/1.1", *(b"%s: %s" % header for header in kept), b"", b""]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._reading = False
        self.data_received(b"\r\n".join(lines) + rest)

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
            self._write(response, slots.popleft().keep_alive)
        if not slots and self._slots_empty is not None:
            empty, self._slots_empty = self._slots_empty, None
            if not empty.done():
                empty.set_result(None)
        if self._closing:
            self._close_if_done()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._asgi_open -= 1
        if self._closing:
            self._close_if_done()

    def send_400_response(self, msg: str) -> None:
        """Answers bytes that are not HTTP, after the answers that are due, and closes."""
        self.logger.debug("%s: %s", self.client, msg)
        if self._last:
            return
        self._give_up_reading()
        self._last = self._closing = True
        self._parting = problem_response(RequestMalformed("the request is not valid HTTP/1.1."))
        self._close_if_done()

    def _write(self, response: Response, keep_alive: bool) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        default_headers = self.server_state.default_headers
        if not keep_alive:
            self.transport.write(write_response(response, default_headers, keep_alive))
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
        if self._reading and self._head is None and self._asgi_open and broken.more_body:
            broken.disconnected = True
            broken.message_event.set()
            self.pipeline = deque(waiting for waiting in self.pipeline if waiting[0] is not broken)
            self._asgi_open -= 1
        self._reading = False
        self._head = None

    # The connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._active_s = self.loop.time()
        self._idle_check = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def data_received(self, data: bytes) -> None:
        if self._last:
            return
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._active_s = self.loop.time()
        data = self._ask_known(data)
        if not data:
            return
        headers = self.headers
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError as error:
            self.send_400_response(str(error))
        else:
            # Neither the parser nor uvicorn has a limit for headers.
            unfinished = self._in_headers and self.headers is headers  # of one request, before and after these bytes
            self._headers_bytes = self._headers_bytes + len(data) if unfinished else 0
            if self._headers_bytes > MAX_HEADERS_BYTES:
                self.send_400_response("headers too large")

    def eof_received(self) -> bool:  # type: ignore[override]
        """The peer has said all that it will: it gets the answers that are due, then the connection closes."""
        self._give_up_reading()
        self._last = self._closing = True
        # Closing half of a TLS connection is not possible; and what nobody waits for needs no answer.
        return bool(self.scheme == "http" and (self._slots or self._asgi_open))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.flow.read_paused = False  # a pipelined application would resume reading from what has gone
        if self._idle_check is not None:
            self._idle_check.cancel()
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
        self.flow.resume_reading()

    def _close_if_idle(self) -> None:
        idle_s = self.loop.time() - self._active_s
        busy = bool(self._slots or self._asgi_open)
        if not busy and idle_s >= self.timeout_keep_alive:
            self.transport.close()
        else:
            wait_s = self.timeout_keep_alive if busy else self.timeout_keep_alive - idle_s
            self._idle_check = self.loop.call_later(wait_s, self._close_if_idle)
