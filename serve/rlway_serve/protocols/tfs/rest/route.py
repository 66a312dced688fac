"""The routes of predict requests over REST, for the hot lane and for FastAPI.

In:      a URL; a body.
Out:     a `Route` for the policy in the URL.
Refuses: nothing here; a URL that is none of these routes gives None.
"""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakKeyDictionary, ref

from rlway_client.contract.errors import RlwayError
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.route import Headers
from rlway_serve.messages.call import PlainCall
from rlway_serve.messages.request import Pin
from rlway_serve.messages.response import Response
from rlway_serve.protocols.tfs.errors import in_serving_words
from rlway_serve.protocols.tfs.rest.answer import refuse
from rlway_serve.protocols.tfs.rest.plain import PlainReader
from rlway_serve.protocols.tfs.rest.request import RestQuestion
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.registry.served_policy import ServedPolicy
from rlway_serve.settings import Settings

# Without escapes and queries, which FastAPI reads; and a version that 64 bits hold.
HOT_URL = re.compile(rb"/v1/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]{1,18})|/labels/([A-Za-z0-9._-]+))?:predict")


class PlainReaders:
    """The reader of plain requests for each version, as long as that is loaded."""

    def __init__(self) -> None:
        self._readers: WeakKeyDictionary[LoadedVersion, PlainReader] = WeakKeyDictionary()

    def __getitem__(self, version: LoadedVersion) -> PlainReader:
        reader = self._readers.get(version)
        if reader is None:
            reader = self._readers[version] = PlainReader(version.manifest)
        return reader


class TfsRoutes:
    """Finds the route of a URL."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self._repository = endpoint.repository
        self._settings = settings
        self._readers = PlainReaders()

    def find(self, url: bytes) -> TfsRoute | None:
        """The route of a predict URL whose policy is served."""
        found = HOT_URL.fullmatch(url)
        policy = self._repository.find(found[1].decode()) if found else None
        if found is None or policy is None:
            return None
        version, label = found[2], found[3]
        return self.route(policy, int(version or 0) or None, label.decode() if label else None)

    def route(self, policy: ServedPolicy, version: int | None, label: str | None) -> TfsRoute:
        """The route to this policy and its version, or to the active one."""
        return TfsRoute(policy, version, label, self._settings, self._readers)


class TfsRoute:
    """How a predict URL asks its policy."""

    protocol = "tfs"
    headers: frozenset[bytes] = frozenset()

    def __init__(
        self, policy: ServedPolicy, version: int | None, label: str | None, settings: Settings, readers: PlainReaders
    ) -> None:
        self.policy = policy
        self._version = version
        self._label = label
        self._settings = settings
        self._readers = readers
        self._reader: PlainReader | None = None
        # The version of that reader. A route lives long, and must not keep a version loaded.
        self._reads: ref[LoadedVersion] | None = None

    def take_plain(self, version: LoadedVersion, headers: Headers, body: Any, call: PlainCall) -> bool:  # noqa: ARG002
        if len(body) > version.decoder.max_plain_bytes or not self._may_be(version):
            return False
        reader = self._reader
        if reader is None or self._reads is None or self._reads() is not version:
            reader = self._reader = self._readers[version]
            self._reads = ref(version)
        return reader.read(body, call)

    def question(self, headers: Headers, body: Any) -> RestQuestion:  # noqa: ARG002
        return RestQuestion(self.policy, body, self._settings, self._version, self._label)

    def refuse(self, error: RlwayError) -> Response:
        return refuse(in_serving_words(error, self.policy.name, Pin(self._version, self._label)))

    def _may_be(self, version: LoadedVersion) -> bool:
        """Whether the active version is the one that the URL names."""
        if self._label is not None:
            return (self.policy.labels or {}).get(self._label) == version.number
        return self._version is None or self._version == version.number
