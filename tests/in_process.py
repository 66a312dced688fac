"""A server's HTTP and WebSocket connections in this process, over socket pairs on a real event loop.

In:      the packets that a client sends on each connection.
Out:     the bytes that it gets back, without dates and request ids.
Refuses: an exchange after which an error was logged or a connection or a call is left: AssertionError.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

import uvicorn
import uvloop
from uvicorn.server import ServerState

from rlway_serve.api.app import create_app
from rlway_serve.api.middleware import Middleware
from rlway_serve.gateway.api_keys import Keys
from rlway_serve.gateway.body_budget import BodyBudget
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.episodes import Episodes
from rlway_serve.protocols.openpi import open_protocol as open_openpi
from rlway_serve.registry.repository import Repository
from rlway_serve.settings import Settings
from rlway_serve.telemetry.metrics import Metrics
from rlway_serve.telemetry.multiprocess import MultiprocessMetrics
from rlway_serve.transport.http_connection import HttpConnection
from rlway_serve.transport.request_heads import HotRoutes
from rlway_serve.transport.websocket.calls import SharedByStreams
from tests.bundles import linear_policy, summing_policy

TURNS = 8  # of the event loop, which are enough for every answer
PATIENCE_S = 60.0  # an exchange that takes longer hangs
HANDSHAKE = (
    b"GET /v1/policies/%s/stream HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
TIMES = re.compile(rb"(?i:(?<=\r\n)date: )[^\r]*\r\n|(?<=\"request_id\":\")[0-9a-f]+")


class ErrorLog(logging.Handler):
    """The errors that were logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter().format(record))


class InProcessServer:
    """The policies `linear` and `summing` behind the server's connections.

    `app` takes the place of the server's own application. Without `express` every request takes the ordinary way.
    """

    def __init__(self, folder: Path, app: Any = None, express: bool = True) -> None:
        linear_policy(folder / "models")
        summing_policy(folder / "models")
        self._loop = uvloop.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self._failures.append(str(context)))
        self._failures: list[str] = []
        self._errors = ErrorLog()
        logging.getLogger().addHandler(self._errors)
        settings = Settings(models=folder / "models", default_policy="linear", express=express)
        self._loop.run_until_complete(self._start(settings, app))

    async def _start(self, settings: Settings, app: Any) -> None:
        self._settings = settings
        metrics = Metrics()
        repository = Repository(settings, metrics)
        repository.load()
        budget = BodyBudget(settings.max_buffered_bytes)
        self._endpoint = Endpoint(
            repository, Keys(settings), budget, self._new_episodes(), None, settings.max_json_bytes
        )
        protocols = [open_openpi(self._endpoint, settings)]
        self._routes = HotRoutes(self._endpoint, settings, None, SharedByStreams(self._endpoint, settings), protocols)
        app = app or Middleware(create_app(self._endpoint, MultiprocessMetrics(metrics), settings), None)
        self._config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None)
        self._config.load()
        self._state = ServerState()

    def _new_connection(self) -> HttpConnection:
        connection = HttpConnection(self._routes, self._config, self._state, {})
        self._made.add(connection)
        return connection

    def count_living(self) -> int:
        """How many connection objects of the last exchange are still in memory; all are closed."""
        gc.collect()
        return len(self._made)

    def _new_episodes(self) -> Episodes:
        return Episodes(600.0, 1000)

    def exchange(self, packets: list[bytes]) -> bytes:
        """The bytes that a client gets which sends these packets and then ends sending."""
        return self.exchange_all([[(packet, TURNS) for packet in packets]])[0]

    def exchange_all(self, conversations: Sequence[Sequence[tuple[bytes | None, int]]]) -> list[bytes]:
        """The same for several clients at once. With each packet comes how many turns of the loop pass until the next.

        None instead of a packet: the client closes its connection without reading what was sent to it.
        """
        self._endpoint.episodes = self._new_episodes()
        self._made: WeakSet[HttpConnection] = WeakSet()
        received = self._loop.run_until_complete(asyncio.wait_for(self._exchange_all(conversations), PATIENCE_S))
        assert not self._failures, self._failures
        assert not self._errors.lines, self._errors.lines
        assert not self._state.connections, "a connection was left behind"
        active = [policy.active for policy in self._endpoint.repository if policy.active]
        assert not any(version.batcher.queued_rows for version in active), "calls wait for ever"
        return [TIMES.sub(b"", stream) for stream in received]

    def reset(self, data: bytes) -> None:
        """A client sends this over TCP, and resets its connection once the server has had time to begin with it."""
        self._made = WeakSet()
        self._loop.run_until_complete(asyncio.wait_for(self._reset(data), PATIENCE_S))
        assert not self._failures, self._failures
        assert not self._errors.lines, self._errors.lines

    async def _reset(self, data: bytes) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
        with ours:
            theirs.setblocking(False)
            await self._loop.connect_accepted_socket(self._new_connection, theirs)
            ours.sendall(data)
            for _ in range(TURNS):
                await asyncio.sleep(0)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        while self._state.connections or self._state.tasks:
            await asyncio.sleep(0.001)

    async def _exchange_all(self, conversations: Sequence[Sequence[tuple[bytes | None, int]]]) -> list[bytes]:
        received = await asyncio.gather(*map(self._exchange, conversations))
        for _ in range(TURNS):
            await asyncio.sleep(0)
        while self._state.connections:
            await asyncio.sleep(0.001)
        return received

    async def _exchange(self, packets: Sequence[tuple[bytes | None, int]]) -> bytes:
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            theirs.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            await self._loop.connect_accepted_socket(self._new_connection, theirs)
            for packet, turns in packets:
                if packet is None:
                    return b""
                try:
                    await self._loop.sock_sendall(ours, packet)
                except OSError:
                    break  # the server has closed the connection
                for _ in range(turns):
                    await asyncio.sleep(0)
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_WR)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while data := await self._loop.sock_recv(ours, 65536):
                    received += data
        return received


def masked_frame(first_byte: int, payload: bytes) -> bytes:
    """A client's WebSocket frame, masked with zeros."""
    length = len(payload)
    if length < 126:
        size = bytes([128 | length])
    else:
        size = bytes([254]) + length.to_bytes(2, "big") if length < 65536 else bytes([255]) + length.to_bytes(8, "big")
    return bytes([first_byte]) + size + bytes(4) + payload
