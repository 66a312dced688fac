"""Admits act requests, chooses the version that answers, and queues the call: for all transports and protocols.

In:      media type, authorization, a body, the caller; or the route of another protocol, with what it reads.
Out:     a `Response` to the caller: at once for a refusal, else when the policy has run.

Only express calls bypass it. `transport/repeat.py` queues them directly, and only if the server needs no keys, limits
no rate and sends no traces.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from rlway_client.contract.errors import NotReady, RequestMalformed, RlwayError, SpecViolated
from rlway_client.contract.specs import Fault
from rlway_serve.codec.decoder import UNREADABLE, read_pin
from rlway_serve.gateway.api_keys import Keys
from rlway_serve.gateway.body_budget import BodyBudget
from rlway_serve.gateway.episodes import ConnectionEpisode, Episode, Episodes
from rlway_serve.gateway.rate_limit import RateLimit
from rlway_serve.gateway.route import Headers, Question, Route
from rlway_serve.messages.call import Call, Caller, PlainCall
from rlway_serve.messages.request import Pin
from rlway_serve.messages.response import JSON, OCTETS, new_internal_error, problem_response
from rlway_serve.messages.wire import Refusing
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.registry.repository import Repository
from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.telemetry.protocols import ProtocolCounts

log = logging.getLogger(__name__)


class Endpoint:
    """Refuses or queues a request; never raises."""

    sees_every_request: ClassVar[bool] = False  # if so, none is an express call

    def __init__(
        self,
        repository: Repository,
        keys: Keys,
        bodies: BodyBudget,
        episodes: Episodes,
        rates: RateLimit | None,
        max_json_bytes: int,
    ) -> None:
        self.repository = repository
        self.keys = keys
        self.bodies = bodies
        self.episodes = episodes
        self.rates = rates
        self._max_json_bytes = max_json_bytes
        self.draining = False  # whether the server is stopping
        self.protocols = ProtocolCounts()

    @property
    def ready(self) -> bool:
        """Whether `/readyz` answers with 200."""
        return self.repository.ready and not self.draining

    def act(
        self,
        policy: ServedPolicy,
        media_type: bytes,
        authorization: bytes | None,
        body: bytes,
        caller: Caller,
        stream_episode: ConnectionEpisode | None = None,
    ) -> None:
        """Answers the caller once, now or from the event loop later. `stream_episode` is the episode of a WebSocket."""
        try:
            self._admit(authorization, caller)
            self._submit(policy, media_type, body, caller, stream_episode)
        except Exception as error:
            self._refuse(policy, error, caller)

    def act_plain(
        self,
        policy: ServedPolicy,
        media_type: bytes,
        authorization: bytes | None,
        body: bytes,
        call: PlainCall,
        stream_episode: ConnectionEpisode | None = None,
    ) -> None:
        """As `act`, for a caller that is a plain call: it is queued itself if the request is plain."""
        try:
            if self.keys.needed or self.rates is not None or self.draining:
                self._admit(authorization, call)
        except Exception as error:
            self._refuse(policy, error, call)
        else:
            self.act_admitted(policy, media_type, body, call, stream_episode)

    def act_admitted(
        self,
        policy: ServedPolicy,
        media_type: bytes,
        body: bytes,
        call: PlainCall,
        stream_episode: ConnectionEpisode | None = None,
    ) -> None:
        """As `act_plain`, for a caller that is admitted already."""
        try:
            version = policy.active
            if version is not None and (stream_episode is None or stream_episode.episode is None):
                decoder = version.decoder
                if media_type == JSON or not media_type:
                    if len(body) <= decoder.max_plain_bytes:
                        try:
                            call.take(decoder.decode_plain(body))
                        except UNREADABLE:
                            pass
                        else:
                            version.batcher.submit_plain(call)
                            return
                elif media_type == OCTETS and len(body) == decoder.plain_octets:
                    call.observations, call.raw = body, True
                    version.batcher.submit_plain(call)
                    return
            self._submit(policy, media_type, body, call, stream_episode)
        except Exception as error:
            self._refuse(policy, error, call)

    def ask(
        self,
        route: Route,
        authorization: bytes | None,
        headers: Headers,
        body: Any,
        caller: Caller,
        stream_episode: ConnectionEpisode | None = None,
    ) -> None:
        """As `act`, for a request of another protocol; `headers` are those that its route reads."""
        self.protocols.asked[route.protocol, route.policy.name] += 1
        try:
            if self.keys.needed or self.rates is not None or self.draining:
                self._admit(authorization, caller)
        except Exception as error:
            self._refuse_route(route, route.policy, error, caller, route)
        else:
            self.ask_admitted(route, headers, body, caller, stream_episode)

    def ask_admitted(
        self,
        route: Route,
        headers: Headers,
        body: Any,
        caller: Caller,
        stream_episode: ConnectionEpisode | None = None,
    ) -> None:
        """As `ask`, for a caller that is admitted and counted already."""
        try:
            version = route.policy.active
            if (
                version is not None
                and isinstance(caller, PlainCall)
                and (stream_episode is None or stream_episode.episode is None)
                and route.take_plain(version, headers, body, caller)
            ):
                version.batcher.submit_plain(caller)
            else:
                self._submit_question(route, route.question(headers, body), caller, stream_episode)
        except Exception as error:
            self._refuse_route(route, route.policy, error, caller, route)

    def count_unread(self, protocol: str, policy: ServedPolicy, error: RlwayError) -> None:
        """Counts a request of another protocol that was refused before its body was read."""
        self.protocols.asked[protocol, policy.name] += 1
        self.protocols.refused[protocol, policy.name, type(error).__name__] += 1
        policy.metrics.count_refusal(error)

    def _submit_question(
        self, route: Route, question: Question, caller: Caller, stream_episode: ConnectionEpisode | None
    ) -> None:
        asked: ServedPolicy | LoadedVersion = route.policy
        try:
            episode = self.episodes.find(route.policy.name, question.pin, stream_episode)
            asked = version = episode.version if episode else route.policy.choose(question.pin)
            call = question.read(version, caller)
            if call.given_state is not None and question.pin.episode is not None:
                raise RequestMalformed("episode: expected either an episode or the policy's state itself, got both.")
            in_episode = question.pin.episode is not None or stream_episode is not None
            if version.limits_changes or (call.given_state is None and (in_episode or not call.begins)):
                self._join(call, route.policy, version, question.pin, episode, stream_episode)
            version.batcher.submit(call)
        except Exception as error:
            self._refuse_route(route, asked, error, caller, question)

    def _refuse_route(
        self, route: Route, asked: ServedPolicy | LoadedVersion, error: Exception, caller: Caller, words: Refusing
    ) -> None:
        refusal = self._count_refusal(asked, error)
        self.protocols.refused[route.protocol, route.policy.name, type(refusal).__name__] += 1
        caller.answer(words.refuse(refusal))

    def _submit(
        self,
        policy: ServedPolicy,
        media_type: bytes,
        body: bytes,
        caller: Caller,
        stream_episode: ConnectionEpisode | None,
    ) -> None:
        pin = read_pin(media_type, body, self._max_json_bytes)
        episode = self.episodes.find(policy.name, pin, stream_episode)
        version = episode.version if episode else policy.choose(pin)
        try:
            call = version.decoder.decode(media_type, body, caller)
            self._join(call, policy, version, pin, episode, stream_episode)
            version.batcher.submit(call)
        except Exception as error:
            self._refuse(version, error, caller)

    def _refuse(self, asked: ServedPolicy | LoadedVersion, error: Exception, caller: Caller) -> None:
        caller.answer(problem_response(self._count_refusal(asked, error)))

    def _count_refusal(self, asked: ServedPolicy | LoadedVersion, error: Exception) -> RlwayError:
        """What the caller is told. It is counted for the policy or the version that refused."""
        if not isinstance(error, RlwayError):
            internal = new_internal_error()
            log.error("an act request failed (request id %s)", internal.request_id, exc_info=error)
            error = internal
        asked.metrics.count_refusal(error)
        return error

    def _admit(self, authorization: bytes | None, caller: Caller) -> None:
        key = self.keys.check(authorization)
        if self.rates is not None:
            self.rates.take(key or caller.peer)
        if self.draining:
            raise NotReady("the server is stopping; ask another.")

    def _join(
        self,
        call: Call,
        policy: ServedPolicy,
        version: LoadedVersion,
        pin: Pin,
        episode: Episode | None,
        stream_episode: ConnectionEpisode | None,
    ) -> None:
        """Gives the call the state of its episode: of the one that it continues, or of a new one."""
        if episode is None:
            call.first = True
            if pin.episode is not None:
                episode = self.episodes.begin(policy.name, pin.episode, version, call.rows)
            elif version.keeps_episodes and stream_episode is not None:
                episode = stream_episode.episode = Episode(version, call.rows)
            elif version.limits_changes:
                expected = "an id, with `first` where it begins, or a stream: the guard limits changes"
                raise SpecViolated([Fault("episode", expected, "none")])
            elif version.manifest.state:
                expected = "an id, with `first`: true where it begins: this policy remembers"
                raise SpecViolated([Fault("episode", expected, "none")])
        if episode is not None:
            call.state = episode.state
