"""What the load test asks of a protocol: connections that carry one request each, and the requests.

In:      the bytes of a request.
Out:     `answered` or `lost`, called on the listener; the action's tensors in the bytes of an answer.
Refuses: a connection that cannot be opened (ServerUnreachable, OSError).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np

from rlway_client.common.quote import reason
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec, find_faults

TOLERANCE = 1e-5  # of a bound: float32 rounds
QUOTED = 160  # characters of an answer


class Fault(NamedTuple):
    """Why a request failed: `kind` to count by, such as `HTTP 429`, and the server's own words, if any."""

    kind: str
    words: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.kind}: {self.words}" if self.words else self.kind


class Listener(Protocol):
    """Who waits for the answers of one connection."""

    def answered(self, fault: Fault | None) -> None:
        """The request that was asked last has its answer: a success, or a fault."""

    def lost(self, why: str) -> None:
        """The connection has ended; an answer that is due will not come."""


class Asker(Protocol):
    """One connection, which carries one request at a time."""

    listener: Listener
    open: bool  # whether it can take a request
    answer: bytes  # the last one, if it was a success

    def ask(self, request: bytes) -> None: ...

    def close(self) -> None:
        """Ends the connection, without a further word to the listener."""


class Episode(NamedTuple):
    """A step of an episode, for a policy with state whose protocol names episodes in its requests."""

    name: str
    first: bool


class Dialect(Protocol):
    """A protocol, and the requests to one policy in it."""

    names_episodes: bool  # whether each request of a policy with state has to name its episode
    count: int  # how many different requests there are

    def request(self, place: int, episode: Episode | None) -> bytes: ...

    async def connect(self, listener: Listener) -> Asker: ...

    def read(self, answer: bytes) -> Arrays:  # -> the spec's shape, by the tensor's name
        """The action in an answer. Raises Unreadable."""


class Unreadable(Exception):
    """An answer that is none in its protocol, or does not fit the action's spec; the text says why."""


class Deaf:
    """Listens to a connection that nobody uses any more."""

    def answered(self, fault: Fault | None) -> None:
        pass

    def lost(self, why: str) -> None:
        pass


DEAF = Deaf()


def check_action(found: Arrays, specs: Iterable[TensorSpec]) -> None:
    """Raises Unreadable unless these are the action's tensors, with values that it may have."""
    expected = {spec.name: spec for spec in specs}
    if set(found) != set(expected):
        raise Unreadable(f"expected {', '.join(expected)}, got {', '.join(found) or 'nothing'}")
    for name, spec in expected.items():
        array = np.asarray(found[name])
        if array.dtype.kind not in "biuf" or array.shape != spec.shape:
            raise Unreadable(f"{name}: expected {spec.label}, got {array.dtype}{list(array.shape)}")
        faults = find_faults(array.tolist(), spec, name)
        if faults:
            raise Unreadable(faults[0].sentence)
        low, high = spec.bounds()
        slack = np.zeros(spec.shape) if spec.is_discrete else TOLERANCE * np.maximum(1, abs(array))
        outside = np.argwhere((array < low - slack) | (array > high + slack))
        if len(outside):
            at = tuple(outside[0])
            raise Unreadable(f"{name}: expected {low[at]:g} to {high[at]:g}, got {array[at]:g}")


def quoted(content: bytes) -> str:
    """The beginning of an answer as text, for an error message."""
    return reason(content.decode("utf-8", "replace"), QUOTED)
