"""The gRPC port of a server. Without `--grpc-port` neither gRPC nor protobuf is imported.

In:      settings; the protocols that are open.
Out:     a `GrpcServer`, to start on the event loop; files to watch.
Refuses: a port in use, and gRPC's packages missing (UsageError), before the models are loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rlway_client.contract.errors import UsageError
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.protocol import OpenProtocol
from rlway_serve.settings import Settings
from rlway_serve.system.ports import free_port, resolve
from rlway_serve.system.reload import Watched
from rlway_serve.telemetry.access_log import AccessLog

if TYPE_CHECKING:
    from rlway_serve.transport.grpc.server import GrpcServer

OPTION = "--grpc-port"
PACKAGES = "grpcio grpcio-health-checking grpcio-reflection protobuf"


class GrpcPort:
    """The port before the server answers on it. `shared` says whether other workers listen on it, too."""

    def __init__(self, settings: Settings, port: int, shared: bool) -> None:
        try:
            from rlway_serve.transport.grpc.server import GrpcServer
            from rlway_serve.transport.grpc.tls import open_certificate
        except ImportError:
            raise UsageError(f"{OPTION}: gRPC is not installed; pip install {PACKAGES}") from None
        self._make = GrpcServer
        self._settings = settings
        self._shared = shared
        self._port = port
        self._certificate = open_certificate(settings)
        if not shared:  # otherwise the parent holds it
            free_port(settings.host, port, OPTION)  # gRPC itself would not say who is wrong

    @property
    def watched(self) -> list[Watched]:
        """The certificate's files, to be read again when they change."""
        return [self._certificate.watched] if self._certificate is not None else []

    def make_server(
        self, endpoint: Endpoint, protocols: Iterable[OpenProtocol], access_log: AccessLog | None
    ) -> GrpcServer:
        """The server with the services of these protocols."""
        services = [service for protocol in protocols if protocol.services for service in protocol.services()]
        return self._make(
            resolve(self._settings.host),
            self._port,
            endpoint,
            services,
            self._settings,
            access_log,
            self._certificate,
            shares_port=self._shared,
        )
