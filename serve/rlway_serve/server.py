"""A running server: a bound socket, one event loop, and an orderly end.

In:      settings.
Out:     an exit when SIGTERM or SIGINT comes, after the requests in flight are answered.
Refuses: a port in use (UsageError), models that cannot be served (BundleInvalid), before anything listens.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from rlway_client.errors import UsageError
from rlway_serve.app import create_app
from rlway_serve.endpoint import Endpoint
from rlway_serve.hotlane import HotLane
from rlway_serve.keys import Keys
from rlway_serve.metrics import Metrics
from rlway_serve.repository import Repository
from rlway_serve.routes import HotRoutes
from rlway_serve.settings import Settings


def serve(settings: Settings, on_ready: Callable[[Repository, str], None]) -> None:
    """Serves until told to stop; `on_ready` gets the policies and the base URL once requests are answered."""
    metrics = Metrics()
    repository = Repository(settings, metrics)
    repository.load()
    endpoint = Endpoint(repository, Keys.read(settings.api_keys))
    # Only now: a client that connects before there is anything to answer with is better refused than kept waiting.
    with bind(settings.host, settings.port) as listener:
        routes = HotRoutes(endpoint, settings.max_body_bytes)
        config = uvicorn.Config(
            create_app(endpoint, metrics, settings),
            http=type("BoundHotLane", (HotLane,), {"routes": routes}),
            ws="none",
            loop="uvloop",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]  # typed int, used in call_later
            timeout_graceful_shutdown=settings.drain_s,  # type: ignore[arg-type]  # typed int, used in wait_for
        )
        host, port = listener.getsockname()[:2]
        address = f"[{host}]" if ":" in host else host
        server = Server(config, endpoint, lambda: on_ready(repository, f"http://{address}:{port}"))
        server.run(sockets=[listener])
        repository.close()


def bind(host: str, port: int) -> socket.socket:
    """A socket that owns the port, or a UsageError that says who does not."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(f"--host {host}: not an address of this machine: {error.strerror}.") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"--port {port}: in use on {host}; choose another, or 0 for any free one.") from None
        raise UsageError(f"--host {host} --port {port}: cannot be bound: {error.strerror}.") from None
    return listener


class Server(uvicorn.Server):
    """uvicorn's server, but it says when it is ready and when it stops, and an orderly stop is a success."""

    def __init__(self, config: uvicorn.Config, endpoint: Endpoint, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._endpoint = endpoint
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._endpoint.repository.watch(asyncio.get_running_loop())
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._endpoint.draining = True
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """uvicorn would raise the signal again at the end, and so exit with its number."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
