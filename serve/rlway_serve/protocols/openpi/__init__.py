"""openpi's WebSocket protocol, which the clients of robots speak: MessagePack maps of arrays, one action for each."""

from __future__ import annotations

from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.protocol import OpenProtocol
from rlway_serve.protocols.openpi.route import OpenpiRoutes
from rlway_serve.settings import Settings


def open_protocol(endpoint: Endpoint, settings: Settings) -> OpenProtocol:  # noqa: ARG001
    """The routes of all policies."""
    return OpenProtocol(streams=OpenpiRoutes(endpoint.repository))
