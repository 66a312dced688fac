"""One HTTP/1.1 connection: the answers that are due on it, how much and how long it may ask, when it ends.

In:      bytes from a socket, given to the lanes piece by piece.
Out:     answers, in the order in which they were asked for.
Refuses: what no lane can answer: bytes that are no HTTP (RequestMalformed), HeadersTooLarge, RequestTimeout for those
         who send too slowly, TooManyConnections.

Once `max_in_flight` requests of a connection wait for their answers, what it sent after them is held as bytes, and
nothing more is read from it.

A request may be answered before its body has come. A body of up to `max_body_bytes` then passes by, and the connection
is kept; from one that sends more, or that may have more to send than it was asked for, the connection lingers.
"""

from __future__ import annotations

import asyncio
import sys
import time
from abc import abstractmethod
from collections import deque
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from rlway_client.contract.errors import (
    HeadersTooLarge,
    RequestMalformed,
    RequestTimeout,
    RlwayError,
    TooManyConnections,
)
from rlway_serve.messages.call import OwnCall, PlainCall
from rlway_serve.messages.response import JSON, Response, problem_response, write_response
from rlway_serve.scheduling.batcher import Batcher
from rlway_serve.transport.lingering import linger
from rlway_serve.transport.request_heads import Head, HotRoutes
from rlway_serve.transport.timeouts import Patience

BRIEFLY_S = 1.0  # longer than the answer is under way
PIECE_BYTES = 4096  # given to the parser at once: what it has begun cannot be held back any more


class Extras:
    """What few requests have: an id, a line in the access log, a large body."""

    __slots__ = ("began_s", "body_bytes", "head", "reserved_bytes")

    def __init__(self, head: Head, body_bytes: int, reserved_bytes: int) -> None:
        self.head = head
        self.body_bytes = body_bytes
        self.reserved_bytes = reserved_bytes
        self.began_s = time.perf_counter()


class Slot(PlainCall, gc=False, eq=False):
    """The place of one hot request among its connection's answers."""

    keep_alive: bool = True
    extras: Extras | None = None
    response: Response | None = None

    @property
    def trace_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return self.extras.head.trace_headers if self.extras else ()

    def answer(self, response: Response) -> None:
        connection = self.connection
        slots, transport = connection.slots, connection.transport
        if (
            connection.calm is not None
            and len(slots) == 1
            and response.written_with is connection.server_state.default_headers
            and not transport.is_closing()
        ):
            slots.clear()
            transport.write(response.written)
        else:
            self.response = response
            connection.send_ready_slots()


class Flow(FlowControl):
    """uvicorn's, but nothing more is read while something is held, whatever the application asks for."""

    holds = False

    def resume_reading(self) -> None:
        if not self.holds:
            super().resume_reading()


class CycleTransport(asyncio.Transport):
    """What uvicorn writes an answer to. Where it would close behind the answer, the connection does, when it may."""

    def __init__(self, connection: Connection, cycle: RequestResponseCycle) -> None:
        self._connection = connection
        self._cycle = cycle

    def write(self, data: Any) -> None:
        self._connection.transport.write(data)

    def is_closing(self) -> bool:
        return self._connection.transport.is_closing()

    def close(self) -> None:
        if self._cycle.response_complete:
            self._connection.close_when_done()
        else:  # the application failed in the middle of its answer
            self._connection.transport.close()


class Connection(HttpToolsProtocol, OwnCall):
    """uvicorn's HTTP protocol with limits. `routes` is set on a subclass made per server."""

    routes: HotRoutes

    # Thousands of connections may be open: what each is made of is kept small, and quickly found.
    __slots__ = (
        "_asgi_open",
        "_batcher",
        "_body_began",
        "_body_bytes",
        "_body_left",
        "_chunks",
        "_closing",
        "_for_asgi",
        "_going_on",
        "_half_closed",
        "_head",
        "_head_bytes",
        "_held",
        "_in_headers",
        "_last",
        "_linger_s",
        "_number",
        "_own_slot",
        "_parting",
        "_patience",
        "_raw_head",
        "_reading",
        "_refusal",
        "_reserved_bytes",
        "_running",
        "_slots_empty",
        "_successor",
        "_unfinished_bytes",
        "_unsent_bytes",
        "arrived_s",
        "calm",
        "deadline_s",
        "observations",
        "slots",
        "waits",
    )

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
        self._head_bytes = 0  # of its first line and headers, as they are usually written
        self._unfinished_bytes = 0  # of headers that are not whole: all behind the piece in which they began
        self._body_began = False
        self._body_bytes = 0  # that came, of the application's
        # The answers that are due.
        self.slots: deque[Slot] = deque()
        # What this connection repeats, while it does nothing else: no request is half read or held, none is the
        # application's, all are answered alike, and none is the last.
        self.calm: Head | None = None
        self.waits = False  # for the answer to its own call, which has no slot
        self._batcher: Batcher | None = None  # in which that is
        self._own_slot: Slot | None = None  # of the same call, once the batcher has read it and there is one
        self._slots_empty: asyncio.Future[None] | None = None
        self._asgi_open = 0  # requests that took the other lane and are not answered yet
        self._running: RequestResponseCycle | None = None  # the one of them whose turn it is
        self._parting: Response | None = None  # sent after them, before the connection closes
        # The connection.
        self.flow: Flow
        self._held = b""  # what came while as many answers were due as may be
        self._going_on = False  # with what is held, in the loop's next turn
        self._half_closed = False  # by the peer, behind what is held
        self._last = False  # no request is taken any more
        self._closing = False  # closes once nothing is due
        self._unsent_bytes = 0  # when it was last looked whether the peer is idle
        self._successor: asyncio.Protocol | None = None  # which reads what follows
        self._linger_s = 0.0  # how long the peer may go on sending at the end; 0 where it has nothing more to send
        self._patience: Patience  # from the first moment of the connection

    # What the lanes do.

    @abstractmethod
    def _ask_known(self, data: bytes) -> bytes:
        """Asks for what can be read without the parser at the start of `data`; returns the rest."""

    @abstractmethod
    def _decline_upgrade(self, rest: bytes) -> bytes:
        """What to read instead of a request that offers another protocol, and `rest`."""

    # Answers.

    def _end_calm(self) -> None:
        """From now on anything may come: its own call takes a slot, if it waits for one."""
        head, self.calm = self.calm, None
        if not self.waits or head is None:
            return
        if self._batcher is not None and self._batcher.withdraw(self):
            self._ask_with_slot(head)  # what it asks may matter to what comes now, and nobody has read it
        else:
            self.waits, self._batcher = False, None
            self._own_slot = Slot(self, self.arrived_s)
            self.slots.append(self._own_slot)

    def _ask_with_slot(self, head: Head) -> None:
        """Asks in the ordinary way for what its own call was to ask."""
        body, self.observations = self.observations, None
        self.waits, self._batcher = False, None
        self.slots.append(slot := Slot(self, self.arrived_s))
        self.routes.endpoint.act_admitted(head.policy, JSON, body, slot)

    def send_ready_slots(self) -> None:
        """Writes the answers whose turn it is."""
        slots, default_headers = self.slots, self.server_state.default_headers
        while slots and (response := slots[0].response) is not None:
            slot = slots.popleft()
            if slot.extras is not None:
                self._close_extras(slot.extras, response)
                self._write(response, slot.keep_alive, slot.extras.head.request_id)
            elif slot.keep_alive and response.written_with is default_headers and not self.transport.is_closing():
                # `_write`, where it need only send what was sent before: a call less for nearly every request.
                self.transport.write(response.written)
            else:
                self._write(response, slot.keep_alive)
        if not slots and self._slots_empty is not None:
            empty, self._slots_empty = self._slots_empty, None
            if not empty.done():
                empty.set_result(None)
        if self._held:
            self._go_on_soon()
        if self._closing:
            self._close_if_done()

    def _close_extras(self, extras: Extras, response: Response) -> None:
        self.routes.endpoint.bodies.release(extras.reserved_bytes)
        if self.routes.access_log is not None:
            head = extras.head
            asked = (self.client, "POST", head.path, response.status, extras.body_bytes, len(response.body))
            self.routes.access_log.write(*asked, extras.began_s, head.request_id)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._asgi_open -= 1
        if self._held:
            self._go_on_soon()
        if self._for_asgi and self.cycle.response_complete and not self.cycle.keep_alive:
            self._leave_the_rest()
        if self._closing:
            self._close_if_done()

    def send_400_response(self, msg: str) -> None:
        """Answers bytes that are not HTTP, after the answers that are due, and closes."""
        self.logger.debug("%s: %s", self.client, msg)
        self._part(RequestMalformed("the request is not valid HTTP/1.1."))

    def _part(self, error: RlwayError) -> None:
        """Answers the request being read with `error`, after the answers that are due, and closes."""
        self._end_calm()
        if self._last and not self._reading:
            return
        answered = self._for_asgi and self.cycle.response_complete  # before it was whole
        self._leave_the_rest()
        if isinstance(error, RequestTimeout | TooManyConnections):  # who has had its time, or has no place
            self._linger_s = BRIEFLY_S
        self._parting = None if answered else problem_response(error)
        self._close_if_done()

    def _leave_the_rest(self) -> None:
        """Nothing more is read: neither the rest of the request being read nor what else the peer may be sending."""
        self._give_up_reading()
        self._last = self._closing = True
        self._linger_s = self.routes.settings.body_timeout_s

    def _may_have_more(self, scope: Any) -> bool:
        """Whether a request of the application is about to be answered while more of its body comes than passes by."""
        if not self._for_asgi or self.cycle.scope is not scope:
            return False  # it is whole
        if self.expect_100_continue and not self._body_began:
            return True  # what comes next may be the body or not
        length = next((value.lstrip(b"0") for name, value in self.headers if name == b"content-length"), b"")
        size = self._body_bytes if not length else int(length) if len(length) < 19 else sys.maxsize
        return size > self.routes.settings.max_body_bytes

    def close_when_done(self) -> None:
        """The answer that has just been written is the last."""
        self._last = self._last or not self._reading
        self._closing = True
        self._close_if_done()

    def _write(self, response: Response, keep_alive: bool, request_id: bytes = b"") -> None:
        transport, default_headers = self.transport, self.server_state.default_headers
        if transport.is_closing():
            return
        if request_id or not keep_alive:
            transport.write(write_response(response, default_headers, keep_alive, request_id))
            if not keep_alive:
                self._end()
            return
        # An answer that is given again and again is written once, until uvicorn renews its `date`, once a second.
        if response.written_with is not default_headers:
            response.written = write_response(response, default_headers, keep_alive)
            response.written_with = default_headers
        transport.write(response.written)

    def _close_if_done(self) -> None:
        if self.slots or self._asgi_open or self._reading:
            return
        parting, self._parting = self._parting, None
        if parting is not None and not self.transport.is_closing():
            if self.routes.access_log is not None:
                sent = (parting.status, None, len(parting.body))
                self.routes.access_log.write(self.client, "-", b"", *sent, time.perf_counter(), b"")
            self.transport.write(write_response(parting, self.server_state.default_headers, keep_alive=False))
        self._end()

    def _end(self) -> None:
        """Closes the connection: everything that was due is written."""
        if self._successor is not None or self.transport.is_closing():
            return
        unread = bool(self._linger_s or self._held or self.flow.read_paused) and not self._half_closed
        if not unread:
            self.transport.close()
            return
        self._patience.end()
        self._unset_keepalive_if_required()
        self._held = b""
        limit_s, stopping = self._linger_s or self.routes.settings.body_timeout_s, self.routes.endpoint.draining
        self._successor = linger(self, self.transport, self.connections, limit_s, stopping)

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
        self.flow = Flow(self.transport)
        settings = self.routes.settings
        self._patience = Patience(self.loop, settings, self._close_if_idle, self._part)
        if len(self.connections) > settings.max_connections:
            limit = settings.max_connections
            self._part(TooManyConnections(f"the server holds {limit} connections already; try again in a second."))

    def data_received(self, data: bytes) -> None:
        if self._last:
            self._linger_s = self._linger_s or self.routes.settings.body_timeout_s
            return
        if self.waits:
            self._end_calm()
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._patience.active_s = time.perf_counter()
        if self._held:
            self._held += data
            self.flow.pause_reading()
            return
        data = self._ask_known(data)
        if data:
            self._take_in(data)

    def _take_in(self, data: bytes) -> None:
        """Reads requests until the data ends or as many answers are due as may be."""
        self._end_calm()
        while data and not self._last:
            if self._due >= self.routes.max_in_flight:
                self._held = data
                self.flow.holds = True
                self.flow.pause_reading()
                break
            piece_bytes = max(PIECE_BYTES, self._body_left)
            data = self._parse(data[:piece_bytes]) + data[piece_bytes:]
            if data:
                data = self._ask_known(data)
        if self._last and data:
            self._linger_s = self._linger_s or self.routes.settings.body_timeout_s
        if self._successor is not None:
            self._successor.data_received(data)
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
            if isinstance(error.__context__, HeadersTooLarge):
                self._part(error.__context__)
            else:
                self.send_400_response(str(error))
        else:
            unfinished = self._in_headers and self.headers is headers  # of one request, before and after these bytes
            self._unfinished_bytes = self._unfinished_bytes + len(piece) if unfinished else 0
            try:
                self._check_head(self._unfinished_bytes)
            except HeadersTooLarge as error:
                self._part(error)
        return b""

    def _check_head(self, head_bytes: int) -> None:
        """Raises when headers have more than they may; neither the parser nor uvicorn has a limit."""
        limit = self.routes.settings.max_header_bytes
        if head_bytes > limit:
            raise HeadersTooLarge(f"headers: expected at most {limit} bytes, got more.")

    @property
    def _due(self) -> int:
        """The answers that are due to whole requests."""
        return len(self.slots) + self._asgi_open - (self._for_asgi and not self.cycle.response_complete)

    def _go_on_soon(self) -> None:
        if not self._going_on and not self.flow.write_paused and self._due <= self.routes.max_in_flight // 2:
            self._going_on = True
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Reads what was held."""
        self._going_on = False
        held, self._held = self._held, b""
        self.flow.holds = False
        if not held or self.transport.is_closing():
            return
        held = self._ask_known(held)
        if held:
            self._take_in(held)
        if self._held:
            self._go_on_soon()
        elif self._half_closed:
            self._end_reading()
            self._close_if_done()
        else:
            self.flow.resume_reading()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The peer has said all that it will: it gets the answers that are due, then the connection closes."""
        self._end_calm()
        # Closing half of a TLS connection is not possible; and what nobody waits for needs no answer.
        if self.scheme != "http":
            return False
        self._half_closed = True
        if self._held:
            return True
        self._end_reading()
        return bool(self.slots or self._asgi_open)

    def _end_reading(self) -> None:
        self._give_up_reading()
        self._last = self._closing = True
        self._end_calm()
        self._patience.wait_no_more()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._running is not None:
            # uvicorn tells the request that came last; the one that is being answered may be another.
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)
        self._end_calm()
        self.flow.read_paused = False  # a pipelined application would resume reading from what has gone
        self._give_up_reading()
        self._held = b""
        self._patience.end()
        if self._slots_empty is not None and not self._slots_empty.done():
            self._slots_empty.set_result(None)

    def shutdown(self) -> None:
        """The server stops: answers what was asked, and what is being asked at this moment, then closes."""
        self._end_calm()
        self._closing = True
        if self._for_asgi and self.cycle.response_complete:
            self._leave_the_rest()  # of a body that passes by
        self._last = not self._reading
        if self.slots and not self._asgi_open and not self._reading:
            self.slots[-1].keep_alive = False
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
        """Closes unless answers are due that the peer takes; returns whether this has to be asked again."""
        self._end_calm()
        unsent_bytes, unsent_before = self.transport.get_write_buffer_size(), self._unsent_bytes
        self._unsent_bytes = unsent_bytes
        takes_none = unsent_bytes > 0 and unsent_bytes == unsent_before
        if (self.slots or self._asgi_open) and not takes_none:
            return True
        if self.transport.is_closing() or unsent_bytes:
            self.transport.abort()  # the peer does not read
            return False
        self.transport.close()
        return True
