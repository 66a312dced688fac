"""Starts the server: in this process, or in several workers that share one port.

In:      settings.
Out:     returns after SIGTERM or SIGINT, once the requests in flight are answered.
Refuses: the same as `server`, with one process or several.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import msgspec

from rlway_client.contract.errors import UsageError
from rlway_serve.process.supervisor import Link, Supervisor
from rlway_serve.settings import Settings
from rlway_serve.sync.copier import Copier, copied
from rlway_serve.system.open_files import allow_connections
from rlway_serve.system.ports import reserved_port

KILL_AFTER_S = 5.0  # a worker that is still alive this long after `--drain-s` is killed


class ServerReady(msgspec.Struct):
    """What the ready line shows. Its JSON is the output of `--json`."""

    url: str
    grpc: str | None  # host and port, as clients take them; None without `--grpc-port`
    policies: list[dict[str, Any]]


def launch(settings: Settings, on_ready: Callable[[ServerReady], None]) -> None:
    """Serves until a signal stops it. `on_ready` is called once, when every process answers requests."""
    _ignore_hangups()
    ports = 1 if settings.grpc_port is None else 2
    settings = msgspec.structs.replace(settings, max_connections=allow_connections(settings.max_connections, ports))
    if settings.store is None:
        _launch(settings, on_ready)
        return
    with copied(settings) as (local, copier):
        _launch(local, on_ready, copier)


def _launch(settings: Settings, on_ready: Callable[[ServerReady], None], copier: Copier | None = None) -> None:
    if settings.workers == 1:
        from rlway_serve.server import serve

        if copier is not None:
            copier.stand_by()
        serve(settings, lambda *ready: on_ready(_ready(*ready)))
        return
    with (
        reserved_port(settings.host, settings.port) as port,
        _reserved_grpc_port(settings) as grpc_port,
        _shared_folder() as folder,
    ):
        shared = msgspec.structs.replace(settings, port=port, grpc_port=grpc_port)

        def run(link: Link) -> None:
            from rlway_serve.server import serve

            if copier is not None:
                copier.stand_by()
            serve(shared, lambda *ready: link.report_ready(_ready(*ready)), Path(folder), link.socket)

        _preload()
        supervisor = Supervisor(
            settings.workers,
            run,
            lambda ready: on_ready(msgspec.json.decode(ready, type=ServerReady)),
            stop_within_s=settings.drain_s + KILL_AFTER_S,
        )
        supervisor.supervise()


def _ignore_hangups() -> None:
    """Ignores SIGHUP, which would end the process, until the server handles it."""
    with suppress(ValueError):  # only the main thread can set handlers
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _reserved_grpc_port(settings: Settings) -> AbstractContextManager[int | None]:
    if settings.grpc_port is None:
        return nullcontext()
    return reserved_port(settings.host, settings.grpc_port, "--grpc-port")


def _shared_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="rlway-workers-")
    except OSError as error:
        raise UsageError(f"--workers: the workers meet in the folder for temporary files: {error.strerror}.") from None


def _preload() -> None:
    """Imports what every worker needs and what starts no thread, so that a worker starts in half the time."""
    import fastapi  # noqa: F401
    import prometheus_client  # noqa: F401
    import uvicorn  # noqa: F401
    import uvloop  # noqa: F401


def _ready(repository: Any, url: str, grpc: str | None) -> ServerReady:
    policies = [{"name": policy.name, "version": policy.version} for policy in repository if policy.ready]
    return ServerReady(url, grpc, policies)
