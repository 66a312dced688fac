"""An endpoint that records a span for each request: it replaces `Endpoint` if the server sends traces."""

from __future__ import annotations

from typing import Any

from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.episodes import ConnectionEpisode
from rlway_serve.gateway.route import Headers, Route
from rlway_serve.messages.call import Caller, PlainCall
from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.telemetry.tracing import TracedCaller, Tracing


class TracedEndpoint(Endpoint):
    """Wraps every caller, so that the answer ends the request's span."""

    sees_every_request = True

    def __init__(self, tracing: Tracing, *parts: Any) -> None:
        super().__init__(*parts)
        self._tracing = tracing

    def act(
        self,
        policy: ServedPolicy,
        media_type: bytes,
        authorization: bytes | None,
        body: bytes,
        caller: Caller,
        stream_episode: ConnectionEpisode | None = None,
    ) -> None:
        traced = TracedCaller(self._tracing, policy.name, "http" if stream_episode is None else "websocket", caller)
        super().act(policy, media_type, authorization, body, traced, stream_episode)

    def act_plain(
        self,
        policy: ServedPolicy,
        media_type: bytes,
        authorization: bytes | None,
        body: bytes,
        call: PlainCall,
        stream_episode: ConnectionEpisode | None = None,
    ) -> None:
        self.act(policy, media_type, authorization, body, call, stream_episode)

    def ask(
        self,
        route: Route,
        authorization: bytes | None,
        headers: Headers,
        body: Any,
        caller: Caller,
        stream_episode: ConnectionEpisode | None = None,
    ) -> None:
        traced = TracedCaller(self._tracing, route.policy.name, route.protocol, caller)
        super().ask(route, authorization, headers, body, traced, stream_episode)
