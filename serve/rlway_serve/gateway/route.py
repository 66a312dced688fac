"""One protocol's way to ask one policy: what all transports share.

In:      a request as its transport gives it: further headers, and octets or a parsed message.
Out:     a plain call, or a `Question` that is held against the policy's spec.
Refuses: what is not the protocol's shape.

`protocols/` holds a route for each protocol. The HTTP hot lane, FastAPI, WebSockets and gRPC give it to `Endpoint.ask`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from rlway_serve.messages.call import Call, PlainCall, Receiver
from rlway_serve.messages.request import Pin
from rlway_serve.messages.response import Response
from rlway_serve.messages.wire import Refusing, Reply, Wire
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.registry.served_policy import ServedPolicy

Headers = Mapping[bytes, bytes]  # by name in lower case


class Question(Reply, Protocol):
    """One request in the words of its protocol, not yet held against a policy's spec."""

    pin: Pin

    def read(self, version: LoadedVersion, caller: Receiver) -> Call:
        """The request as a call whose `reply` is this question. Raises RlwayError."""


class Route(Refusing, Protocol):
    """How one protocol asks one policy."""

    protocol: str  # its name, as in `--protocols`
    policy: ServedPolicy
    headers: frozenset[bytes]  # the further request headers that it reads, in lower case

    def take_plain(self, version: LoadedVersion, headers: Headers, body: Any, call: PlainCall) -> bool:
        """Fills in the call if the request is plain, and returns whether it is. Never raises.

        It sets `observations` to a row whose values are finite in their dtype, or to `version.decoder.plain_octets`
        octets and `raw` to True; `wire`; and `deadline_s` if the request has a deadline.
        """

    def question(self, headers: Headers, body: Any) -> Question:
        """The request. Raises RlwayError."""


class PlainMessages(Protocol):
    """The messages of a WebSocket that hold nothing but the observation of one version's only input."""

    wire: Wire

    def read(self, message: bytes) -> bytes | None:
        """The observation's octets; None for a message of another kind."""


class StreamRoute(Route, Protocol):
    """A route whose requests are the binary messages of a WebSocket; a text message is given to it as a `str`."""

    def greet(self) -> Response:
        """The first message, which the server sends. Raises RlwayError, which refuses the connection."""

    def plain_messages(self, version: LoadedVersion) -> PlainMessages | None:
        """The reader of plain messages, which may be express calls; None for a version that has none."""
