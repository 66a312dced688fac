"""The handlers of methods with one request and one answer.

In:      the message of a call.
Out:     the message that answers it.
Refuses: with the gRPC status of the error; a call without a message, and one whose message does not arrive within
         `--body-timeout-s`; large messages beyond `--max-buffered-bytes` (QueueFull).

To gRPC the requests are streams of one message. Only so may a handler give up a message that does not arrive; on the
wire there is no difference.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import grpc

from rlway_client.contract.errors import RequestMalformed, RequestTimeout
from rlway_serve.gateway.body_budget import SMALL_BYTES
from rlway_serve.gateway.rpc import Ask, Tell
from rlway_serve.messages.response import GrpcRefusal, Response
from rlway_serve.transport.grpc.calls import CallerFacts, GrpcCall, SharedByCalls, as_told, deadline_headers, status_of
from rlway_serve.transport.grpc.gather import Gatherer

Handler = Callable[[Any, Any], Awaitable[bytes]]

EOF = grpc.aio.EOF
NO_MESSAGE = GrpcRefusal(RequestMalformed("message: expected one, got the end of the call."))
SWEEPS = 8  # looks for late messages within `--body-timeout-s`


class Arriving(NamedTuple):
    """A call whose message is awaited."""

    since_s: float
    path: str
    facts: CallerFacts


class RequestHandlers:
    """Makes the handlers of one server."""

    def __init__(self, shared: SharedByCalls, gatherer: Gatherer) -> None:
        self._shared = shared
        self._gatherer = gatherer
        self._timeout_s = shared.settings.body_timeout_s
        self._arriving: dict[Any, Arriving] = {}  # by the context of the call
        self._aborts: set[asyncio.Task[None]] = set()  # of messages that came too late
        self._sweep: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to look for messages that do not arrive."""
        self._schedule_sweep()

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()

    def asking(self, path: str, ask: Ask) -> Handler:
        """The handler of a method that asks a policy."""
        shared, arriving, clock_s = self._shared, self._arriving, time.perf_counter
        gatherer, bodies = self._gatherer, shared.endpoint.bodies
        keys, loop = shared.endpoint.keys, asyncio.get_running_loop()

        async def handle(_: Any, context: Any) -> bytes:
            gatherer.in_flight += 1
            held = 0
            try:
                facts = shared.caller_of(context)
                if keys.needed and (refusal := shared.check_key(path, facts)) is not None:
                    shared.log(path, context.peer(), facts, refusal, 0, clock_s())
                    return await refuse(context, refusal)
                began = arriving[context] = Arriving(clock_s(), path, facts)
                try:
                    octets = await context.read()
                finally:
                    given_up = arriving.pop(context, None) is None
                if given_up:
                    return b""
                if octets is EOF:
                    return await self._refuse_unread(context, began, NO_MESSAGE)
                call = GrpcCall(context.peer(), clock_s())
                call.facts = facts
                waiter = call.waiter = loop.create_future()
                try:
                    if len(octets) > SMALL_BYTES:
                        held = bodies.reserve(len(octets))
                    route, message = ask(octets)
                except Exception as error:
                    response: Response = GrpcRefusal(shared.told(error, facts))
                else:
                    gatherer.ask(route, facts.authorization, deadline_headers(context, call), message, call)
                    try:
                        response = await waiter
                    except asyncio.CancelledError:
                        call.gone = True
                        raise
                shared.log(path, call.connection, facts, response, len(octets), call.arrived_s)
                if response.status != 200:
                    return await refuse(context, response)
                return response.body + call.tail if call.tail else response.body
            finally:
                if held:
                    bodies.release(held)
                gatherer.in_flight -= 1

        return handle

    def telling(self, path: str, tell: Tell, needs_key: bool) -> Handler:
        """The handler of a method that is answered at once."""
        shared = self._shared

        async def handle(_: Any, context: Any) -> bytes:
            began_s = time.perf_counter()
            facts = shared.caller_of(context)
            if needs_key and (refusal := shared.check_key(path, facts)) is not None:
                shared.log(path, context.peer(), facts, refusal, 0, began_s)
                return await refuse(context, refusal)
            octets = await self._read(path, facts, context)
            if octets is None:
                return b""
            try:
                response = Response(200, b"", tell(octets))
            except Exception as error:
                response = GrpcRefusal(as_told(error))
            shared.log(path, context.peer(), facts, response, len(octets), began_s)
            return response.body if response.status == 200 else await refuse(context, response)

        return handle

    def opening(self, path: str, answer: Callable[[bytes, Any], Awaitable[None]]) -> Callable[[Any, Any], Any]:
        """The handler of a method with one request, whose call then stays open for many answers."""

        async def handle(_: Any, context: Any) -> None:
            octets = await self._read(path, self._shared.caller_of(context), context)
            if octets is not None:
                await answer(octets, context)

        return handle

    async def _read(self, path: str, facts: CallerFacts, context: Any) -> bytes | None:
        """The message of a call; None if it did not arrive, and the call is refused."""
        began = self._arriving[context] = Arriving(time.perf_counter(), path, facts)
        try:
            octets = await context.read()
        finally:
            given_up = self._arriving.pop(context, None) is None
        if given_up:
            return None
        if octets is EOF:
            await self._refuse_unread(context, began, NO_MESSAGE)
            return None
        message: bytes = octets
        return message

    def _schedule_sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(min(1.0, self._timeout_s / SWEEPS), self._sweep_late)

    def _sweep_late(self) -> None:
        """Ends calls whose message has not arrived in time. The oldest come first."""
        now_s = time.perf_counter()
        for context, began in list(self._arriving.items()):
            if now_s - began.since_s < self._timeout_s:
                break
            del self._arriving[context]
            task = asyncio.get_running_loop().create_task(self._give_up(context, began))
            self._aborts.add(task)
            task.add_done_callback(self._aborts.discard)
        self._schedule_sweep()

    async def _give_up(self, context: Any, began: Arriving) -> None:
        error = RequestTimeout(f"message: expected its end within {self._timeout_s:g} s of the call's beginning.")
        with suppress(Exception):  # the call may have ended meanwhile; the abort itself raises, too
            await self._refuse_unread(context, began, GrpcRefusal(error))

    async def _refuse_unread(self, context: Any, began: Arriving, refusal: GrpcRefusal) -> bytes:
        self._shared.log(began.path, context.peer(), began.facts, refusal, 0, began.since_s)
        return await refuse(context, refusal)


async def refuse(context: Any, response: Response) -> bytes:
    """Ends the call with the status of a refusal. What the handler returns then no longer matters."""
    with suppress(grpc.aio.InternalError):  # the call has ended, such as one whose message is too large
        await context.abort(*status_of(response))
    return b""
