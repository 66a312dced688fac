"""Parses the requests of one HTTP/1.1 connection with httptools.

In:      the connection's bytes, in pieces; the first piece begins with a request.
Out:     act requests, submitted to the endpoint with a `Slot` for their answer; all others, for the application.
Refuses: bytes that are not HTTP (RequestMalformed), HeadersTooLarge.
"""

from __future__ import annotations

from typing import Protocol

import httptools

from rlway_client.contract.errors import HeadersTooLarge, RequestMalformed, RlwayError
from rlway_serve.messages.response import problem_response
from rlway_serve.transport._uvicorn import AppHead, AppRequests, HoldingFlow
from rlway_serve.transport.answer_queue import AnswerQueue, RequestDetails, Slot
from rlway_serve.transport.request_heads import Head, HotRoutes
from rlway_serve.transport.timeouts import ConnectionTimeouts

FIRST_LINE_BYTES = len(b"  HTTP/1.1\r\n\r\n")  # without method and URL


class ReaderHost(Protocol):
    """What parser and reader need from the connection whose bytes they read."""

    answers: AnswerQueue
    app: AppRequests | None
    flow: HoldingFlow
    timeouts: ConnectionTimeouts
    closing: bool
    repeated: Head | None

    def open_app(self) -> AppRequests:
        """The application's requests; the first call makes the object."""

    def end_repeating(self) -> None:
        """Called before bytes that may be anything else than a repeated request."""

    def refuse(self, error: RlwayError) -> None:
        """Answers the request being read with `error`, after the answers that are due, and closes."""

    def stop_reading(self) -> None:
        """Takes no further bytes of this or a later request; the connection closes once no answer is due."""

    def close_if_done(self) -> None:
        """Closes if the connection is marked to close and no answer is due."""

    def become_stream(self, url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Hands the connection over to a WebSocket, which reads all further bytes."""

    def on_held_bytes_read(self) -> None:
        """Called when all held bytes have been read."""

    def pass_on(self, data: bytes) -> None:
        """Takes bytes after the last accepted request."""


class RequestParser:
    """The parser of one connection. For every request, httptools calls the methods `on_…` in this order."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_expects_continue",
        "_head",
        "_head_bytes",
        "_headers",
        "_parser",
        "_refusal",
        "_reserved_bytes",
        "_routes",
        "_unfinished_bytes",
        "_url",
        "body_left",
        "in_headers",
        "number",
        "raw_head",
        "reading",
        "takes_no_more",
    )

    def __init__(self, connection: ReaderHost, routes: HotRoutes) -> None:
        self._connection = connection
        self._routes = routes
        self.takes_no_more = False  # whether no further request is accepted
        # The request being read.
        self.reading = False
        self.number = 0  # of the request, on this connection
        self.in_headers = False
        self.body_left = 0  # bytes of its body that are still to come; on the hot lane only
        self.raw_head = b""  # the bytes of its first line and headers, when they came in one piece
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False
        self._head_bytes = 0  # the size of its first line and headers, with the usual spaces
        self._unfinished_bytes = 0  # of unfinished headers: the pieces after the one in which they began
        self._head: Head | None = None  # set for a request on the hot lane
        self._chunks: list[bytes] = []
        self._reserved_bytes = 0
        self._refusal: RlwayError | None = None  # its answer, given once its body has been read and discarded
        self._parser = self._new_parser()

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def feed(self, piece: bytes, rest: bytes) -> bytes:
        """Gives a piece to httptools; returns the bytes to read next: `rest`, unless an upgrade is offered."""
        headers = self._headers
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as offer:
            return self._decide_upgrade(piece[offer.args[0] :] + rest)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, HeadersTooLarge):
                self._connection.refuse(error.__context__)
            else:
                self._connection.refuse(RequestMalformed("the request is not valid HTTP/1.1."))
        else:
            unfinished = self.in_headers and self._headers is headers  # the same headers before and after this piece
            self._unfinished_bytes = self._unfinished_bytes + len(piece) if unfinished else 0
            try:
                self._check_head(self._unfinished_bytes)
            except HeadersTooLarge as error:
                self._connection.refuse(error)
        return rest

    def _check_head(self, head_bytes: int) -> None:
        """Raises when headers are larger than they may be; the parser has no limit."""
        limit = self._routes.settings.max_header_bytes
        if head_bytes > limit:
            raise HeadersTooLarge(f"headers: expected at most {limit} bytes, got more.")

    def give_up(self) -> None:
        """Drops the request being read: it will never be whole."""
        if self._connection.app is not None:
            self._connection.app.give_up_reading()
        self.reading = False
        self._head = None
        self.body_left = 0
        self._chunks.clear()
        self._routes.endpoint.bodies.release(self._reserved_bytes)
        self._reserved_bytes = 0

    # What the parser calls.

    def on_message_begin(self) -> None:
        self.reading = not self.takes_no_more
        self.number += 1
        self.in_headers = True
        self._head = None
        self._url = b""
        self._headers = []
        self._expects_continue = False
        self._head_bytes = FIRST_LINE_BYTES

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_headers:
            return  # a trailer behind a chunked body
        self._head_bytes += len(name) + len(value) + len(b": \r\n")
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        raw, self.raw_head = self.raw_head, b""
        parser, routes, app = self._parser, self._routes, self._connection.app
        self.in_headers = False
        self._check_head(self._head_bytes + len(parser.get_method()))
        # Bytes after `connection: close` are no request. `_decide_upgrade` handles a request that offers an upgrade.
        if self.takes_no_more or parser.should_upgrade():
            return
        if parser.get_http_version() == "1.1" and sum(name == b"host" for name, _ in self._headers) != 1:
            raise RequestMalformed("host: expected once.")  # httptools turns it into an error of its own
        policy, route = routes.by_url.get(self._url), None
        if policy is None and parser.get_method() == b"POST" and (route := routes.find_route(self._url)) is not None:
            policy = route.policy
        if policy is not None and (app is None or not app.unanswered):
            self._head = routes.read_head(policy, self._url, self._headers, parser, route)
        if self._head is None:
            self._enter_app()
            return
        self._chunks.clear()
        self.body_left = self._head.body_bytes
        try:
            routes.endpoint.keys.check(self._head.authorization)  # first: nothing is reserved for a wrong key
            self._reserved_bytes = routes.endpoint.bodies.reserve(self._head.body_bytes)
        except RlwayError as error:
            self._refusal = error
        # Only if every line is one header: a folded header would make the counts differ.
        if raw.count(b"\r\n") == len(self._headers) + 2:
            routes.remember(raw, self._head)

    def on_body(self, body: bytes) -> None:
        if self._head is not None:
            self.body_left -= len(body)
            if self._refusal is None:
                self._chunks.append(body)
            return
        connection, app = self._connection, self._connection.app
        if app is not None and app.reading:
            app.add_body(body)
            if app.exceeds_limit:
                connection.stop_reading()
                connection.close_if_done()

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade():
            return
        self.reading = False
        connection, app = self._connection, self._connection.app
        if self.takes_no_more:
            return
        head, self._head = self._head, None
        if head is not None:
            body = b"".join(self._chunks)
            self._chunks.clear()  # an idle connection keeps nothing of a large body
            self._ask(head, body)
        elif app is not None:
            self.takes_no_more = not app.end_body() or connection.closing
            connection.close_if_done()

    def _enter_app(self) -> None:
        parser = self._parser
        version, keep_alive = parser.get_http_version(), parser.should_keep_alive()
        method, expects_continue = parser.get_method(), self._expects_continue
        head = AppHead(method, self._url, version, self._headers, expects_continue, keep_alive)
        self._connection.open_app().enter(head)

    def _ask(self, head: Head, body: bytes) -> None:
        """Submits the whole request, or answers it with the refusal that was decided at its headers."""
        connection = self._connection
        slot = Slot(connection, connection.timeouts.active_s)
        if head.request_id or head.trace_headers or self._reserved_bytes or self._routes.access_log is not None:
            slot.details = RequestDetails(head, len(body), self._reserved_bytes)
            self._reserved_bytes = 0
        refusal, self._refusal = self._refusal, None
        # A request that was being read when the server began to stop is still answered.
        slot.keep_alive = head.keep_alive and not connection.closing
        if not slot.keep_alive:
            self.takes_no_more = connection.closing = True
        connection.answers.slots.append(slot)
        if refusal is not None and head.route is not None:
            self._routes.endpoint.count_unread(head.route.protocol, head.policy, refusal)
            slot.answer(head.route.refuse(refusal))
        elif refusal is not None:
            head.policy.metrics.count_refusal(refusal)
            slot.answer(problem_response(refusal))
        elif head.route is not None:
            self._routes.endpoint.ask(head.route, head.authorization, head.further, body, slot)
        else:
            self._routes.endpoint.act_plain(head.policy, head.media_type, head.authorization, body, slot)

    # Offers of another protocol.

    def _decide_upgrade(self, rest: bytes) -> bytes:
        """The bytes to read instead of a request that offers an upgrade: the same without the offer, and `rest`.

        On a stream's route, an offer of WebSocket is accepted unless answers are due. Then only `rest` is returned.
        """
        connection, method = self._connection, self._parser.get_method()
        is_stream = self._routes.is_stream(self._url)
        due = connection.answers.slots or (connection.app is not None and connection.app.unanswered)
        upgrade = [value.lower() for name, value in self._headers if name == b"upgrade"]
        if method == b"GET" and upgrade == [b"websocket"] and not self.takes_no_more:
            if is_stream and not due:
                self.takes_no_more, self.reading = True, False
                connection.become_stream(self._url, self._headers)
                return rest
            if (missing := self._routes.why_no_stream(self._url, self._headers)) is not None:
                connection.refuse(missing)
                return rest
        if method == b"CONNECT" or self.takes_no_more:
            connection.refuse(RequestMalformed("the request is not valid HTTP/1.1."))
            return rest
        kept = [header for header in self._headers if header[0] not in (b"connection", b"upgrade")]
        lines = [method + b" " + self._url + b" HTTP/1.1", *(b"%s: %s" % header for header in kept), b"", b""]
        self._parser = self._new_parser()
        self.reading = False
        return b"\r\n".join(lines) + rest
