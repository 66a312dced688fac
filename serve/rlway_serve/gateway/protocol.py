"""What one protocol gives to the transports; `protocols/<name>/__init__.py` makes it in the function `open_protocol`.

In:      an endpoint and the settings.
Out:     `OpenProtocol`.
Refuses: nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from fastapi import APIRouter

from rlway_client.contract.errors import RlwayError
from rlway_serve.gateway.route import Route, StreamRoute
from rlway_serve.gateway.rpc import Service


class PostRoutes(Protocol):
    """The routes of a protocol that is asked by POST."""

    def find(self, url: bytes) -> Route | None:
        """The route of a URL, if a policy that is served has it. Called once for each new head."""


class StreamRoutes(Protocol):
    """The routes of a protocol that is asked by WebSocket."""

    def by_url(self) -> Mapping[bytes, StreamRoute]:
        """The route of each URL. Called when policies have come or gone."""

    def missing(self, url: bytes) -> RlwayError | None:
        """Why one of the protocol's URLs has no route; None for a URL of another kind, or with a route."""


class OpenProtocol(NamedTuple):
    """A protocol that requests may speak."""

    posts: PostRoutes | None = None
    streams: StreamRoutes | None = None
    router: APIRouter | None = None  # of the application
    services: Callable[[], Sequence[Service]] | None = None  # of gRPC; only this imports protobuf
