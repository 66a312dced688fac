"""openpi's WebSocket route to each policy: `/v1/policies/{policy}/openpi`, and `/` for the default policy.

In:      the policies; messages of their connections.
Out:     the metadata, which the server sends first; plain calls; questions.
Refuses: a connection while the policy has no active version (NotReady, as the answer to its handshake): its metadata
         are those of a version. openpi's client raises then. It would wait for ever on a connection without metadata.

The metadata are those of the version that is active when the connection opens. Every answer names the version that it
comes from.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping
from typing import Any

from rlway_client.contract.errors import NotFound, RequestMalformed, RlwayError
from rlway_serve.messages.call import PlainCall
from rlway_serve.messages.response import Response
from rlway_serve.protocols.openpi import answers, metadata
from rlway_serve.protocols.openpi.messages import write_message
from rlway_serve.protocols.openpi.plain_messages import PlainMessages
from rlway_serve.protocols.openpi.question import OpenpiQuestion
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.registry.repository import Repository
from rlway_serve.registry.served_policy import ServedPolicy

URL = re.compile(rb"/|/v1/policies/([^/]+)/openpi")


class OpenpiRoute:
    """The way to one policy."""

    protocol = "openpi"
    headers: frozenset[bytes] = frozenset()

    def __init__(self, policy: ServedPolicy) -> None:
        self.policy = policy
        # Weak: an old version is unloaded once nobody uses it any more.
        self._plain: weakref.WeakKeyDictionary[LoadedVersion, PlainMessages] = weakref.WeakKeyDictionary()
        self._newest: tuple[weakref.ref[LoadedVersion] | None, PlainMessages | None] = None, None

    def greet(self) -> Response:
        """The metadata. Raises NotReady."""
        version = self.policy.current
        keys = [key for key in metadata.CONTROL_KEYS if version.tensors.name_of(key) is None]
        return Response(200, answers.MSGPACK, write_message(metadata.describe(version.manifest, keys)))

    def plain_messages(self, version: LoadedVersion) -> PlainMessages | None:
        """The reader of plain messages; None for a policy that has none."""
        newest, plain = self._newest
        if newest is not None and newest() is version:
            return plain
        if version.decoder.max_plain_bytes < 0:
            return None
        plain = self._plain.get(version)
        if plain is None:
            plain = PlainMessages(version.manifest, version.tensors)
            self._plain[version] = plain
        self._newest = weakref.ref(version), plain
        return plain

    def take_plain(self, version: LoadedVersion, headers: Mapping[bytes, bytes], body: Any, call: PlainCall) -> bool:  # noqa: ARG002
        plain = self.plain_messages(version) if isinstance(body, bytes) else None
        octets = plain.read(body) if plain is not None else None
        if plain is None or octets is None:
            return False
        call.observations, call.raw, call.wire = octets, True, plain.wire
        return True

    def question(self, headers: Mapping[bytes, bytes], body: Any) -> OpenpiQuestion:  # noqa: ARG002
        if not isinstance(body, bytes):
            raise RequestMalformed("message: expected a binary frame that holds a MessagePack map, got a text frame.")
        active = self.policy.active
        return OpenpiQuestion(body, None if active is None else active.tensors)

    def refuse(self, error: RlwayError) -> Response:
        return answers.refuse(error)


class OpenpiRoutes:
    """The routes of all policies. A policy keeps its route while others come and go."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._routes: dict[str, OpenpiRoute] = {}

    def by_url(self) -> dict[bytes, OpenpiRoute]:
        before = self._routes
        self._routes = {
            policy.name: route
            if (route := before.get(policy.name)) is not None and route.policy is policy
            else OpenpiRoute(policy)
            for policy in self._repository
        }
        routes = {f"/v1/policies/{name}/openpi".encode(): route for name, route in self._routes.items()}
        if self._repository.default is not None:
            routes[b"/"] = self._routes[self._repository.default.name]
        return routes

    def missing(self, url: bytes) -> RlwayError | None:
        path = URL.fullmatch(url)
        if path is None:
            return None
        try:
            if path[1] is not None:
                self._repository[path[1].decode("latin-1")]
            elif self._repository.default is None:
                served = ", ".join(policy.name for policy in self._repository) or "none yet"
                return NotFound(f"/: no policy is the default; use /v1/policies/NAME/openpi; served are: {served}.")
        except RlwayError as error:
            return error
        return None
