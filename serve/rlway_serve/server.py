"""One server process: puts all parts together, listens on the port, and stops in order.

In:      settings; for one worker among several also the folder that workers share, and a socket that closes when the
         parent process is gone.
Out:     returns after SIGTERM or SIGINT, once the requests in flight are answered.
Refuses: before it listens, a port in use (UsageError) and models that cannot be served (BundleInvalid).
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from rlway_serve.api.app import create_app
from rlway_serve.api.middleware import Middleware
from rlway_serve.gateway.api_keys import Keys
from rlway_serve.gateway.body_budget import BodyBudget
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.episodes import Episodes
from rlway_serve.gateway.protocol import OpenProtocol
from rlway_serve.gateway.rate_limit import RateLimit
from rlway_serve.gateway.traced import TracedEndpoint
from rlway_serve.registry.repository import Repository
from rlway_serve.settings import PROTOCOLS, Settings
from rlway_serve.system.ports import bind
from rlway_serve.system.reload import Reloader, Watched
from rlway_serve.system.tls import tls_context, watched_tls
from rlway_serve.telemetry.access_log import AccessLog
from rlway_serve.telemetry.metrics import Metrics
from rlway_serve.telemetry.multiprocess import MultiprocessMetrics
from rlway_serve.telemetry.tracing import TracedPolicyMetrics, open_tracing
from rlway_serve.transport.grpc.port import GrpcPort
from rlway_serve.transport.http_connection import HttpConnection
from rlway_serve.transport.listener import Listener
from rlway_serve.transport.request_heads import HotRoutes
from rlway_serve.transport.websocket.calls import SharedByStreams
from rlway_serve.ui.routes import open_pages

if TYPE_CHECKING:
    from rlway_serve.transport.grpc.server import GrpcServer

FORCED_EXIT_POLL_S = 0.1  # between two looks at whether a second Ctrl-C has come


def serve(
    settings: Settings,
    on_ready: Callable[[Repository, str, str | None], None],
    shared: Path | None = None,
    parent: socket.socket | None = None,
) -> None:
    """Serves until a signal stops it.

    `on_ready` gets the policies, the base URL and gRPC's address, once requests are answered.
    """
    names = [name for name in PROTOCOLS if name in settings.open_protocols]
    keys = Keys(settings)
    tls = tls_context(settings)
    access_log = AccessLog(settings.access_log) if settings.access_log else None
    grpc_port = None if settings.grpc_port is None else GrpcPort(settings, settings.grpc_port, shared is not None)
    watched = [Watched(keys.files, keys.reload), watched_tls(settings, tls), *(grpc_port.watched if grpc_port else ())]
    # Before the models are loaded, which may take long: files that change meanwhile are then read again.
    reloader = Reloader(watched, on_hangup=[access_log.reopen] if access_log else [])
    tracing = open_tracing(settings.otel)
    metrics = Metrics() if tracing is None else Metrics(TracedPolicyMetrics)
    shown_metrics = MultiprocessMetrics(metrics, shared)
    repository = Repository(settings, metrics)
    repository.load()
    rate_limit = RateLimit(settings.max_rate) if settings.max_rate else None
    episodes = Episodes(settings.episode_ttl_s, settings.max_episodes)
    metrics.watch(episodes)
    make_endpoint = Endpoint if tracing is None else partial(TracedEndpoint, tracing)
    endpoint = make_endpoint(
        repository, keys, BodyBudget(settings.max_buffered_bytes), episodes, rate_limit, settings.max_json_bytes
    )
    metrics.watch(endpoint.protocols)
    protocols = [_open_protocol(name, endpoint, settings) for name in names]
    # After the models are loaded: a client that connects earlier should be refused rather than kept waiting.
    with bind(settings.host, settings.port, shared=shared is not None) as listener:
        streams = SharedByStreams(endpoint, settings, access_log)
        metrics.watch(streams.counts)
        routes = HotRoutes(endpoint, settings, access_log, streams, protocols)
        routers = [protocol.router for protocol in protocols if protocol.router is not None]
        routers.append(open_pages(settings))
        config = uvicorn.Config(
            Middleware(create_app(endpoint, shown_metrics, settings, routers), access_log),
            http="httptools",
            ws="none",
            loop="uvloop",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_context_factory=(lambda *_: tls) if tls else None,
            proxy_headers=False,  # clients can forge the headers of proxies
            timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]  # typed int, used in call_later
            timeout_graceful_shutdown=settings.drain_s,  # type: ignore[arg-type]  # typed int, used in wait_for
        )
        host, port = listener.getsockname()[:2]
        address = f"[{host}]" if ":" in host else host
        url = f"{'https' if tls else 'http'}://{address}:{port}"
        rpcs = grpc_port.make_server(endpoint, protocols, access_log) if grpc_port else None
        if rpcs is not None:
            metrics.watch(rpcs.counts)

        def announce(grpc_address: str | None) -> None:
            on_ready(repository, url, grpc_address)

        server = Server(config, routes, endpoint, shown_metrics, reloader, parent, rpcs, announce)
        server.run(sockets=[listener])
        repository.close()
        if tracing is not None:
            tracing.close()


def _open_protocol(name: str, endpoint: Endpoint, settings: Settings) -> OpenProtocol:
    opened: OpenProtocol = import_module(f"rlway_serve.protocols.{name}").open_protocol(endpoint, settings)
    return opened


class Server(uvicorn.Server):
    """uvicorn's server with a listener of its own; it reports readiness, and ends with status 0 after a signal."""

    def __init__(
        self,
        config: uvicorn.Config,
        routes: HotRoutes,
        endpoint: Endpoint,
        shown_metrics: MultiprocessMetrics,
        reloader: Reloader,
        parent: socket.socket | None,
        rpcs: GrpcServer | None,
        on_ready: Callable[[str | None], None],
    ) -> None:
        super().__init__(config)
        self._routes = routes
        self._endpoint = endpoint
        self._shown_metrics = shown_metrics
        self._reloader = reloader
        self._parent = parent
        self._rpcs = rpcs
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._endpoint.repository.watch(loop)
        self._reloader.start(loop)
        await self._shown_metrics.start()
        if self._parent is not None:
            loop.add_reader(self._parent, self._on_parent_gone)
        await super().startup([])
        grpc_address = await self._rpcs.start() if self._rpcs is not None else None
        self.servers = [self._take_connections(listener) for listener in sockets or []]  # type: ignore[misc]
        gc.collect()
        gc.freeze()  # the garbage collector need not scan the loaded models again, which would delay answers
        self._on_ready(grpc_address)

    def _take_connections(self, listener: socket.socket) -> Listener:
        settings, served = self._routes.settings, self.server_state.connections

        def make_protocol() -> HttpConnection:
            return HttpConnection(self._routes, self.config, self.server_state, self.lifespan.state)

        limits = (settings.max_connections, settings.header_timeout_s, settings.body_timeout_s)
        return Listener(listener, make_protocol, served, self.config.ssl, *limits)

    def _on_parent_gone(self) -> None:
        assert self._parent is not None
        asyncio.get_running_loop().remove_reader(self._parent)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._endpoint.draining = True
        if self._rpcs is None:
            await super().shutdown(sockets)
            return
        stopping = asyncio.ensure_future(self._rpcs.stop(self._routes.settings.drain_s))
        await super().shutdown(sockets)
        while not stopping.done() and not self.force_exit:
            await asyncio.wait({stopping}, timeout=FORCED_EXIT_POLL_S)
        if not stopping.done():
            await self._rpcs.abort()
        await stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stops without keeping the signal: uvicorn would raise it again at the end, which changes the exit status."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
