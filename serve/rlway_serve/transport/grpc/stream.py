"""A stream of requests over gRPC, each answered by one message, in their order.

In:      the messages of a stream.
Out:     a message for each, also for one that is refused: the stream goes on.
Refuses: the whole stream without an accepted key, and with NotReady once the server stops and no answer is due.

A client may send further requests before the first is answered. Reading pauses once `max_in_flight` answers are due, or
the client does not read them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import Any

import grpc

from rlway_client.contract.errors import NotReady
from rlway_serve.gateway.body_budget import SMALL_BYTES
from rlway_serve.gateway.rpc import StreamedAsk
from rlway_serve.messages.response import GrpcRefusal
from rlway_serve.transport.grpc.calls import NO_HEADERS, SharedByCalls, StreamCall, deadline_headers
from rlway_serve.transport.grpc.gather import Gatherer
from rlway_serve.transport.grpc.requests import refuse

EOF = grpc.aio.EOF


class GrpcStream:
    """One stream: a task reads and asks, the handler itself writes."""

    def __init__(self, shared: SharedByCalls, gatherer: Gatherer, path: str, asked: StreamedAsk, context: Any) -> None:
        self._shared = shared
        self._gatherer = gatherer
        self._endpoint = shared.endpoint
        self._path = path
        self._asked = asked
        self._context = context
        self._peer: str = context.peer()
        self.facts = shared.caller_of(context)
        self._is_logged = shared.access_log is not None
        self._has_deadline = context.time_remaining() is not None
        self._loop = asyncio.get_running_loop()
        self._due: deque[StreamCall] = deque()  # calls whose answers are not sent yet, in order
        self._ended = False  # whether the client has sent its last message
        self._stopping = False  # whether the server stops
        self._answer: asyncio.Future[None] | None = None  # of the writer, which waits for the next answer
        self._room: asyncio.Future[None] | None = None  # of the reader, which waits until fewer answers are due

    async def run(self) -> None:
        """Serves the stream to its end."""
        if (refusal := self._shared.check_key(self._path, self.facts)) is not None:
            self._shared.log(self._path, self._peer, self.facts, refusal, 0, time.perf_counter())
            await refuse(self._context, refusal)
            return
        # It is not cancelled: gRPC ends a read that waits when the call has ended.
        reader = self._loop.create_task(self._read())
        try:
            await self._write()
            cut_short = not self._ended
        except grpc.aio.InternalError:  # the client left with answers on their way
            cut_short = False
        finally:
            self._leave()
            del reader
        if cut_short:
            await refuse(self._context, GrpcRefusal(NotReady("the server is stopping; ask another.")))

    def stop(self) -> None:
        """Ends the stream once the answers that are due are sent."""
        self._stopping = True
        self._wake()

    def answered(self, call: StreamCall) -> None:
        """Called when a call has its response; its message goes now, however late the client reads the answer."""
        call.observations = None
        self._release(call)
        if self._due and call is self._due[0]:
            self._wake()

    def _wake(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def _leave(self) -> None:
        for call in self._due:
            call.gone = True
            self._release(call)
        self._due.clear()
        self._ended = True
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def _read(self) -> None:
        due, read, most = self._due, self._context.read, self._shared.settings.max_in_flight
        with suppress(Exception):  # the call has ended meanwhile
            while not self._ended:
                octets = await read()
                if octets is EOF:
                    break
                if not self._ended:
                    self._ask(octets)
                if len(due) >= most:
                    self._room = self._loop.create_future()
                    await self._room
        self._ended = True
        self._wake()

    def _ask(self, octets: bytes) -> None:
        call = StreamCall(self._peer, time.perf_counter())
        call.stream = self
        if self._is_logged:
            call.request_bytes = len(octets)
        self._due.append(call)
        try:
            if len(octets) > SMALL_BYTES:
                call.held = self._endpoint.bodies.reserve(len(octets))
            route, message = self._asked.ask(octets)
        except Exception as error:
            call.answer(self._asked.refuse(self._shared.told(error, self.facts)))
        else:
            headers = deadline_headers(self._context, call) if self._has_deadline else NO_HEADERS
            self._gatherer.ask(route, self.facts.authorization, headers, message, call)

    async def _write(self) -> None:
        due, write, is_logged = self._due, self._context.write, self._is_logged
        while True:
            if due and (response := due[0].response) is not None:
                call = due.popleft()
                if self._room is not None and not self._room.done():
                    self._room.set_result(None)
                if is_logged:
                    self._shared.log(self._path, self._peer, self.facts, response, call.request_bytes, call.arrived_s)
                await write(response.body + call.tail if call.tail else response.body)
            elif not due and (self._ended or self._stopping):
                return
            else:
                self._answer = self._loop.create_future()
                await self._answer

    def _release(self, call: StreamCall) -> None:
        if call.held:
            self._endpoint.bodies.release(call.held)
            call.held = 0


class StreamHandlers:
    """The open streams of one server."""

    def __init__(self, shared: SharedByCalls, gatherer: Gatherer) -> None:
        self._shared = shared
        self._gatherer = gatherer
        self._open: set[GrpcStream] = set()

    def streaming(self, path: str, asked: StreamedAsk) -> Any:
        """The handler of a method."""
        shared, gatherer = self._shared, self._gatherer
        method = path.removeprefix("/")

        async def handle(_: Any, context: Any) -> None:
            stream = GrpcStream(shared, gatherer, path, asked, context)
            gatherer.in_flight += 1
            shared.counts.open[method] += 1
            self._open.add(stream)
            if shared.endpoint.draining:
                stream.stop()
            try:
                await stream.run()
            finally:
                self._open.discard(stream)
                shared.counts.open[method] -= 1
                gatherer.in_flight -= 1

        return handle

    def stop(self) -> None:
        """Ends all streams, each once its answers are sent."""
        for stream in self._open:
            stream.stop()
