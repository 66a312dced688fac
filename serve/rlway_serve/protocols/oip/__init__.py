"""The Open Inference Protocol (KServe V2), as Triton and KServe speak it."""

from __future__ import annotations

from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.protocol import OpenProtocol
from rlway_serve.gateway.rpc import Service
from rlway_serve.protocols.oip.rest.route import OipRoutes
from rlway_serve.protocols.oip.rest.routes import make_router
from rlway_serve.settings import Settings


def open_protocol(endpoint: Endpoint, settings: Settings) -> OpenProtocol:
    """The protocol for one server."""
    routes = OipRoutes(endpoint, settings)

    def services() -> list[Service]:
        from rlway_serve.protocols.oip.grpc.service import inference_service

        return [inference_service(endpoint, settings)]

    return OpenProtocol(posts=routes, router=make_router(endpoint, routes, settings), services=services)
