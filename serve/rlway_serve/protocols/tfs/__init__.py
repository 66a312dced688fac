"""TensorFlow Serving's API: `/v1/models/{model}:predict`, the status and the metadata of models."""

from __future__ import annotations

from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.protocol import OpenProtocol
from rlway_serve.gateway.rpc import Service
from rlway_serve.protocols.tfs.rest.route import TfsRoutes
from rlway_serve.protocols.tfs.rest.routes import make_router
from rlway_serve.settings import Settings


def open_protocol(endpoint: Endpoint, settings: Settings) -> OpenProtocol:
    """The protocol for one server."""
    routes = TfsRoutes(endpoint, settings)

    def services() -> list[Service]:
        from rlway_serve.protocols.tfs.grpc.service import prediction_services

        return prediction_services(endpoint, settings)

    return OpenProtocol(posts=routes, router=make_router(endpoint, routes, settings), services=services)
