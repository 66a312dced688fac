"""The answers that are due on one HTTP connection, in the order of its requests.

In:      a `Slot` for each act request, in the order of the requests; their responses, in any order.
Out:     bytes on the transport. A finished answer waits for those before it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from rlway_serve.messages.call import PlainCall, TraceHeaders
from rlway_serve.messages.response import Response
from rlway_serve.transport._uvicorn import ServerState
from rlway_serve.transport.http_writer import write_response
from rlway_serve.transport.request_heads import Head, HotRoutes


class RequestDetails:
    """Data of a request with an id, a large body or trace headers; of every request if there is an access log."""

    __slots__ = ("began_s", "body_bytes", "head", "reserved_bytes")

    def __init__(self, head: Head, body_bytes: int, reserved_bytes: int) -> None:
        self.head = head
        self.body_bytes = body_bytes
        self.reserved_bytes = reserved_bytes  # of the body budget; released with the answer
        self.began_s = time.perf_counter()


class Slot(PlainCall, gc=False, eq=False):
    """The place of one act request among its connection's answers. `connection` is an `HttpConnection`."""

    keep_alive: bool = True
    details: RequestDetails | None = None
    response: Response | None = None

    @property
    def trace_headers(self) -> TraceHeaders:
        return self.details.head.trace_headers if self.details else ()

    def answer(self, response: Response) -> None:
        connection = self.connection
        answers: AnswerQueue = connection.answers
        slots, transport = answers.slots, answers.transport
        if (
            connection.repeated is not None
            and len(slots) == 1
            and response.written_with is answers.server_state.default_headers
            and not transport.is_closing()
        ):
            # The only answer that is due, and its bytes are cached: this saves the calls below.
            slots.clear()
            transport.write(response.written)
        else:
            self.response = response
            answers.send_ready()


class AnswerQueue:
    """The answers that are due on one connection."""

    __slots__ = ("_on_ready", "_routes", "client", "server_state", "slots", "transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        client: tuple[str, int] | None,
        routes: HotRoutes,
        server_state: ServerState,
        on_ready: Callable[[], None],
    ) -> None:
        self.slots: deque[Slot] = deque()
        self.transport = transport
        self.client = client
        self.server_state = server_state
        self._routes = routes
        self._on_ready = on_ready  # called when an answer is ready, after those whose turn it is were sent

    def send_ready(self) -> None:
        """Sends the answers whose turn it is."""
        slots, default_headers = self.slots, self.server_state.default_headers
        while slots and (response := slots[0].response) is not None:
            slot = slots.popleft()
            if slot.details is not None:
                self._close_details(slot.details, response)
                self.send(response, slot.keep_alive, slot.details.head.request_id)
            elif slot.keep_alive and response.written_with is default_headers and not self.transport.is_closing():
                # What `send` does with cached bytes. Written here, it saves a call for nearly every request.
                self.transport.write(response.written)
            else:
                self.send(response, slot.keep_alive)
        self._on_ready()

    def send(self, response: Response, keep_alive: bool, request_id: bytes = b"") -> None:
        """Writes one answer; without `keep_alive`, its headers say that the connection closes."""
        transport, default_headers = self.transport, self.server_state.default_headers
        if transport.is_closing():
            return
        if request_id or not keep_alive:
            transport.write(write_response(response, default_headers, keep_alive, request_id))
            return
        # The bytes are cached in the response until uvicorn renews the `date` header, once a second.
        if response.written_with is not default_headers:
            response.written = write_response(response, default_headers, keep_alive)
            response.written_with = default_headers
        transport.write(response.written)

    def send_last(self, response: Response) -> None:
        """Writes the refusal that ends the connection; it has no request, so the access log shows no method or path."""
        if self._routes.access_log is not None:
            sizes = (response.status, None, len(response.body))
            self._routes.access_log.write(self.client, "-", b"", *sizes, time.perf_counter(), b"")
        self.transport.write(write_response(response, self.server_state.default_headers, keep_alive=False))

    def _close_details(self, details: RequestDetails, response: Response) -> None:
        self._routes.endpoint.bodies.release(details.reserved_bytes)
        if self._routes.access_log is not None:
            head = details.head
            asked = (self.client, "POST", head.path, response.status, details.body_bytes, len(response.body))
            self._routes.access_log.write(*asked, details.began_s, head.request_id)
