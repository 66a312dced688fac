"""The fast way in: act requests answered on the connection's own protocol, without ASGI.

In:      what a connection reads.
Out:     answers, the same as the FastAPI route would have sent.
Refuses: nothing by itself. Whatever is not a plain `POST` with a content-length to an act route goes to FastAPI.

A connection answers in the order it was asked, also when a client pipelines and mixes both lanes:
  - hot after hot: each request holds a `Slot`, unless it is the only one; finished answers wait for those before them;
  - ASGI after hot: the application starts once the slots are empty;
  - hot after ASGI: while an ASGI request runs, everything takes that lane, and uvicorn keeps the order.
"""

from __future__ import annotations

import time
from typing import Any

import httptools

from rlway_client.contract.errors import RequestMalformed, RlwayError
from rlway_serve.messages.response import Response, problem_response
from rlway_serve.transport.http_connection import Connection, CycleTransport, Extras, Slot
from rlway_serve.transport.request_heads import Head
from rlway_serve.transport.websocket import Stream


class HotLane(Connection):
    """A connection with a shortcut for act requests."""

    def data_received(self, data: bytes) -> None:
        head = self.calm
        if (
            head is not None
            and not (self.waits or self.slots)
            and len(data) == head.request_bytes
            and data.startswith(head.raw)
            and head.quick
            and (version := head.policy.active) is not None
        ):
            # The same request as before, whole, with another observation: nearly every packet is.
            self._patience.active_s = self.arrived_s = time.perf_counter()
            batcher = version.batcher
            if batcher.submit_own(self, head.body_bytes):
                self.waits = True
                self.observations = data[head.body_start :]
                self._batcher = batcher
                return
        super().data_received(data)

    # Its own call.

    def answer(self, response: Response) -> None:
        self.observations = self._batcher = None
        if self.waits:
            self.waits = False
            transport = self.transport
            if response.written_with is self.server_state.default_headers and not transport.is_closing():
                transport.write(response.written)
            else:
                self._write(response, keep_alive=True)
        elif self._own_slot is not None:
            slot, self._own_slot = self._own_slot, None
            slot.answer(response)

    def ask_again(self) -> None:
        head, self.calm = self.calm, None
        if head is not None:
            self._ask_with_slot(head)

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
        self._head_bytes = len(b"  HTTP/1.1\r\n\r\n")

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        super().on_url(url)

    def on_headers_complete(self) -> None:
        raw, self._raw_head = self._raw_head, b""
        self._in_headers = self._body_began = False
        self._check_head(self._head_bytes + len(self.parser.get_method()))
        # What follows a `connection: close` is not a request any more; an offer to upgrade will be read again.
        if self._last or self.parser.should_upgrade():
            return
        if self.parser.get_http_version() == "1.1" and sum(name == b"host" for name, _ in self.headers) != 1:
            raise RequestMalformed("host: expected once.")  # which the parser makes an error of its own
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
            self.routes.endpoint.keys.check(self._head.authorization)  # first: a stranger's body takes up no room
            self._reserved_bytes = self.routes.endpoint.bodies.reserve(self._head.body_bytes)
        except RlwayError as error:
            self._refusal = error
        # Only where every line was one header: a folded one would make the count differ.
        if raw.count(b"\r\n") == len(self.headers) + 2:
            self.routes.remember(raw, self._head)

    def on_body(self, body: bytes) -> None:
        if self._head is None:
            self._body_began = True
            if not self._last:
                super().on_body(body)
                self._body_bytes += len(body)
                if self._body_bytes > self.routes.settings.max_body_bytes and self.cycle.response_complete:
                    self._leave_the_rest()
                    self._close_if_done()
        else:
            self._body_left -= len(body)
            if self._refusal is None:
                self._chunks.append(body)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # and not behind a chunked body, where nobody counts them
            self._head_bytes += len(name) + len(value) + len(b": \r\n")
            super().on_header(name, value)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._reading = self._for_asgi = False
        if self._last:
            return
        head, self._head = self._head, None
        if head is not None:
            self._ask(head, b"".join(self._chunks))
        else:
            super().on_message_complete()
            self._last = self._closing or not self.cycle.keep_alive
            if self._closing:
                self._close_if_done()

    def _ask(self, head: Head, body: bytes) -> None:
        """Asks for what the parser has read, or refuses it as was decided at its headers."""
        slot = Slot(self, self._patience.active_s)
        if head.request_id or head.trace_headers or self._reserved_bytes or self.routes.access_log is not None:
            slot.extras = Extras(head, len(body), self._reserved_bytes)
            self._reserved_bytes = 0
        refusal, self._refusal = self._refusal, None
        # A stop that began while the request was read still answers it.
        slot.keep_alive = head.keep_alive and not self._closing
        self._last = not slot.keep_alive
        self.slots.append(slot)
        if refusal is None:
            self.routes.endpoint.act_plain(head.policy, head.media_type, head.authorization, body, slot)
        else:
            head.policy.metrics.count_refusal(refusal)
            slot(problem_response(refusal))

    def _ask_known(self, data: bytes) -> bytes:
        """Asks for the whole requests at the start of `data` whose headers have been read before; returns the rest."""
        if self._reading or self._asgi_open or self._last:
            return data
        routes, slots, arrived_s = self.routes, self.slots, self._patience.active_s
        head, slot, begin, size = None, None, 0, len(data)
        while begin < size and len(slots) < routes.max_in_flight:
            start = data.find(b"\r\n\r\n", begin) + 4
            head = routes.known_heads.get(data[begin:start])
            if head is None:
                # For the parser, which begins with a request here: what it will make of these bytes is remembered.
                self._raw_head = data[begin:start] if data.startswith(b"POST ", begin) else b""
                break
            end = start + head.body_bytes
            if size < end:
                break
            slots.append(slot := Slot(self, arrived_s))
            if routes.access_log is not None:
                slot.extras = Extras(head, head.body_bytes, 0)
            routes.endpoint.act_plain(head.policy, head.media_type, head.authorization, data[start:end], slot)
            begin = end
        plain = slot is not None and slot.observations is not None
        if begin == size and plain and routes.access_log is None and self.timeout_keep_alive_task is None:
            self.calm = head
        return data[begin:]

    def _decline_upgrade(self, rest: bytes) -> bytes:
        """What to read instead of a request that offers HTTP/2 or WebSocket: the same without the offer, and `rest`.

        On a stream's route the offer of WebSocket is taken, unless answers are due.
        """
        method = self.parser.get_method()
        policy = self.routes.streams_by_url.get(self.url)
        if policy is not None and method == b"GET" and not (self._last or self.slots or self._asgi_open):
            upgrade = [value.lower() for name, value in self.headers if name == b"upgrade"]
            if upgrade == [b"websocket"]:
                self._become_stream(policy)
                return rest
        if method == b"CONNECT" or self._last:
            self.send_400_response("a proxy's request")
            return b""
        kept = [header for header in self.headers if header[0] not in (b"connection", b"upgrade")]
        lines = [method + b" " + self.url + b" HTTP/1.1", *(b"%s: %s" % header for header in kept), b"", b""]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._reading = False
        return b"\r\n".join(lines) + rest

    def _become_stream(self, policy: str) -> None:
        self._last = True
        self._reading = False
        self._patience.end()
        self.connections.discard(self)
        stream = Stream(self.routes.frames, policy, self.transport, self.server_state, self.headers)
        stream.open(self.url)
        self._successor = stream

    def _enter_asgi(self) -> None:
        headers = self.headers
        url, expect = self.url, self.expect_100_continue
        super().on_message_begin()  # makes the scope, which the hot lane does without
        self.headers.extend(headers)
        self.url, self.expect_100_continue = url, expect
        self.app, app = self._begun_in_turn(self.app), self.app
        try:
            super().on_headers_complete()
        finally:
            self.app = app
        self.cycle.transport = CycleTransport(self, self.cycle)
        self._body_bytes = 0
        self._for_asgi = True
        self._asgi_open += 1  # last: a URL that cannot be parsed raises, and nothing is owed but a 400

    def _begun_in_turn(self, app: Any) -> Any:
        """The application, begun once every hot request before it is answered; its last answer says that it is."""
        if self.slots and self._slots_empty is None:
            self._slots_empty = self.loop.create_future()
        empty = self._slots_empty

        async def run(scope: Any, receive: Any, send: Any) -> None:
            async def send_or_close(message: Any) -> None:
                if message["type"] == "http.response.start" and self._may_have_more(scope):
                    message = message | {"headers": [*message["headers"], (b"connection", b"close")]}
                await send(message)

            if empty is not None:
                await empty
            await app(scope, receive, send_or_close)

        return run
