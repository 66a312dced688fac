"""The standard services besides those of the protocols: health and reflection.

In:      the names and descriptors of all services; whether the server is ready.
Out:     `grpc.health.v1.Health`: SERVING where `/readyz` answers 200, for the whole server ("") and each service;
         `grpc.reflection.v1alpha.ServerReflection`.
Refuses: the health of a service that is not there (NotFound); calls that need no key beyond `MOST_OPEN` of those that
         stay open, and of the others (QueueFull).

The servicer of grpcio-health-checking forgets all watchers of a service when one leaves, so only its messages are used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from rlway_client.common.quote import clipped, named
from rlway_client.contract.errors import NotFound, QueueFull, RequestMalformed
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.rpc import Service
from rlway_serve.gateway.rpc_messages import parse
from rlway_serve.messages.response import GrpcRefusal
from rlway_serve.transport.grpc.requests import refuse

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
MOST_OPEN = 256  # calls of one kind that need no key: each has one of the server's `MAX_CALLS` places
POLL_S = 1.0  # between two looks at whether the server is ready, for those who watch

Status = health_pb2.HealthCheckResponse
Handler = Callable[[Any, Any], Awaitable[Any]]


class FewOpen:
    """Keeps places for calls that ask policies: only so many others, which need no key, may be open at once."""

    def __init__(self, what: str) -> None:
        self._too_many = QueueFull(f"{what}: expected at most {MOST_OPEN} open calls, got one more; end one first.")
        self._open = 0

    def limit(self, handler: Handler) -> Handler:
        """The handler, for as long as few calls are open."""

        async def handle(request: Any, context: Any) -> Any:
            if self._open >= MOST_OPEN:
                return await refuse(context, GrpcRefusal(self._too_many))
            self._open += 1
            try:
                return await handler(request, context)
            except grpc.aio.InternalError:  # the client left with answers on their way
                return b""
            finally:
                self._open -= 1

        return handle


class Health:
    """The health of one server and its services."""

    def __init__(self, endpoint: Endpoint, services: Sequence[str]) -> None:
        self._endpoint = endpoint
        self._known = frozenset(("", *services))
        self._stopping = asyncio.Event()

    def check(self, octets: bytes) -> bytes:
        """Answers `Check`."""
        name = str(parse(health_pb2.HealthCheckRequest, octets).service)
        if name not in self._known:
            there = named(sorted(filter(None, self._known)))
            raise NotFound(f"service: expected one of {there}, or an empty text, got {clipped(name)}.")
        return Status(status=self._status(name)).SerializeToString()  # type: ignore[no-any-return]  # bytes

    async def watch(self, octets: bytes, context: Any) -> None:
        """Answers `Watch`: a message now and at each change, until the client goes or the server stops."""
        try:
            name = str(parse(health_pb2.HealthCheckRequest, octets).service)
        except RequestMalformed as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            return
        said = None
        while True:
            status = self._status(name)
            if status != said:
                await context.write(Status(status=status).SerializeToString())
                said = status
            if self._stopping.is_set():
                await asyncio.get_running_loop().create_future()  # until the server ends the call
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._stopping.wait()

    def stop(self) -> None:
        """Tells those who watch that the server stops."""
        self._stopping.set()

    def _status(self, name: str) -> int:
        if name not in self._known:
            return int(Status.SERVICE_UNKNOWN)
        return int(Status.SERVING if self._endpoint.ready else Status.NOT_SERVING)


def reflection(services: Sequence[Service]) -> Handler:
    """Answers `ServerReflectionInfo`: each request by a message, also what is no request."""
    pool = DescriptorPool()  # of its own: the messages of the services are not in the default one
    added: set[str] = set()
    for file in (*(service.file for service in services), health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        _add(pool, file, added)
    servicer = aio.ReflectionServicer([*(s.name for s in services), HEALTH, REFLECTION], pool)

    async def reflect(messages: AsyncIterator[bytes], context: Any) -> None:
        requests = (_reflection_request(octets) async for octets in messages)
        async for answer in servicer.ServerReflectionInfo(requests, context):
            await context.write(answer.SerializeToString())

    return reflect


def _reflection_request(octets: bytes) -> Any:
    """The request; an empty one for other bytes, which the servicer refuses."""
    try:
        return parse(reflection_pb2.ServerReflectionRequest, octets)
    except RequestMalformed:
        return reflection_pb2.ServerReflectionRequest()


def _add(pool: DescriptorPool, file: Any, added: set[str]) -> None:
    """Adds a file's descriptor, after those of the files that it imports."""
    if file.name not in added:
        added.add(file.name)
        for imported in file.dependencies:
            _add(pool, imported, added)
        pool.AddSerializedFile(file.serialized_pb)
