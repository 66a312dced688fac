"""The gRPC server of a process: it answers on the same event loop as HTTP.

In:      the services of the open protocols; settings.
Out:     a port on which they, health and reflection answer.
Refuses: a port that cannot be opened (UsageError); connections, calls, metadata and messages beyond the limits.

gRPC itself refuses a message above `--max-body-bytes` and a call above `MAX_CALLS` with RESOURCE_EXHAUSTED. Calls of
one connection above `MAX_STREAMS` wait at the client until another ends, as HTTP/2 has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import grpc

from rlway_client.contract.errors import UsageError
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.rpc import Service
from rlway_serve.settings import Settings
from rlway_serve.telemetry.access_log import AccessLog
from rlway_serve.transport.grpc.calls import SharedByCalls
from rlway_serve.transport.grpc.gather import Gatherer
from rlway_serve.transport.grpc.health import HEALTH, REFLECTION, FewOpen, Health, reflection
from rlway_serve.transport.grpc.requests import RequestHandlers
from rlway_serve.transport.grpc.stream import StreamHandlers
from rlway_serve.transport.grpc.tls import GrpcCertificate

MAX_STREAMS = 256  # of one connection: all channels of a Python process to one server share it
# Of all connections; an open stream is one. Each may hold a message that has not arrived whole, of up to
# `--max-body-bytes`: gRPC shows nothing of it before its end, so `--max-buffered-bytes` cannot count it.
MAX_CALLS = 1024
KEEPALIVE_S, KEEPALIVE_TIMEOUT_S = 60.0, 20.0  # between the server's pings, and how long it waits for their answers
MIN_PING_S = 5.0  # a client that pings more often, without sending anything else, is disconnected
IDLE_POLL_S = 0.01  # between two looks at whether all calls are answered
OWN_GRACE_S = 3600.0  # gRPC's own, beyond ours: it crashes if that ends while the calls are being cancelled
CLOSING_S = 0.1  # in which calls that were on their way when the server stopped are refused


class GrpcServer:
    """Made and started on the event loop."""

    def __init__(
        self,
        host: str,
        port: int,
        endpoint: Endpoint,
        services: Sequence[Service],
        settings: Settings,
        access_log: AccessLog | None,
        certificate: GrpcCertificate | None,
        *,
        shares_port: bool,
    ) -> None:
        self._host = f"[{host}]" if ":" in host else host
        self._port = port
        self._endpoint = endpoint
        self._services = services
        self._certificate = certificate
        self._settings = settings
        self._shares_port = shares_port
        self._shared = SharedByCalls(endpoint, settings, access_log)
        self.counts = self._shared.counts

    async def start(self) -> str:
        """Answers on the port, or on any free one for 0, and returns the address. Raises UsageError."""
        self._gatherer = Gatherer(self._endpoint)
        self._requests = RequestHandlers(self._shared, self._gatherer)
        self._streams = StreamHandlers(self._shared, self._gatherer)
        self._health = Health(self._endpoint, [service.name for service in self._services])
        handlers = Handlers(self._handlers())
        self._server = grpc.aio.server(handlers=(handlers,), options=self._options(), maximum_concurrent_rpcs=MAX_CALLS)
        address = f"{self._host}:{self._port}"
        try:
            if self._certificate is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._certificate.credentials())
        except RuntimeError:
            raise UsageError(f"--grpc-port: {address} cannot be bound; gRPC's log above says why.") from None
        await self._server.start()
        self._requests.start()
        return f"{self._host}:{port}"

    async def abort(self) -> None:
        """Ends all calls now."""
        await self._server.stop(None)

    async def stop(self, grace_s: float) -> None:
        """Refuses further calls, answers those in flight, and ends all that is left after `grace_s`."""
        self._health.stop()
        self._streams.stop()
        await asyncio.sleep(0)  # so that those who watch the server's health are told first
        stopping = asyncio.ensure_future(self._server.stop(grace_s + OWN_GRACE_S))
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._gatherer.in_flight:
                    await asyncio.sleep(IDLE_POLL_S)
                await asyncio.sleep(CLOSING_S)
        await self._server.stop(None)  # what is left are watchers, and calls beyond the time
        await stopping
        self._requests.close()

    def _handlers(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        requests, streams = self._requests, self._streams
        told, staying = FewOpen("health and server information"), FewOpen("Watch, reflection")
        for service in self._services:
            for method, ask in service.asks.items():
                path = f"/{service.name}/{method}"
                found[path] = grpc.stream_unary_rpc_method_handler(requests.asking(path, ask))
            for method, asked in service.streams.items():
                path = f"/{service.name}/{method}"
                found[path] = grpc.stream_stream_rpc_method_handler(streams.streaming(path, asked))
            for method, tell in service.tells.items():
                path, needs_key = f"/{service.name}/{method}", method not in service.open_tells
                handler = requests.telling(path, tell, needs_key)
                found[path] = grpc.stream_unary_rpc_method_handler(handler if needs_key else told.limit(handler))
        path = f"/{HEALTH}/Check"
        check = told.limit(requests.telling(path, self._health.check, needs_key=False))
        found[path] = grpc.stream_unary_rpc_method_handler(check)
        path = f"/{HEALTH}/Watch"
        watch = staying.limit(requests.opening(path, self._health.watch))
        found[path] = grpc.stream_stream_rpc_method_handler(watch)
        reflect = staying.limit(reflection(self._services))
        found[f"/{REFLECTION}/ServerReflectionInfo"] = grpc.stream_stream_rpc_method_handler(reflect)
        return found

    def _options(self) -> list[tuple[str, int]]:
        settings = self._settings
        return [
            ("grpc.so_reuseport", int(self._shares_port)),
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.max_metadata_size", settings.max_header_bytes),
            ("grpc.absolute_max_metadata_size", settings.max_header_bytes),
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            # It refuses calls at random once more than that are not freed yet, though the client kept to the limit.
            ("grpc.http.overload_protection", 0),
            ("grpc.max_allowed_incoming_connections", settings.max_connections),
            ("grpc.server_handshake_timeout_ms", round(settings.header_timeout_s * 1000)),
            ("grpc.max_connection_idle_ms", round(settings.keep_alive_s * 1000)),
            ("grpc.keepalive_time_ms", round(KEEPALIVE_S * 1000)),
            ("grpc.keepalive_timeout_ms", round(KEEPALIVE_TIMEOUT_S * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", round(MIN_PING_S * 1000)),
        ]


class Handlers:
    """Finds the handler of a method, as a `grpc.GenericRpcHandler`; gRPC answers others with UNIMPLEMENTED."""

    def __init__(self, by_path: dict[str, Any]) -> None:
        self._by_path = by_path

    def service(self, handler_call_details: Any) -> Any:
        return self._by_path.get(handler_call_details.method)
