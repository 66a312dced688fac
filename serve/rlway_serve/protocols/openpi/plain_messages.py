"""Messages that hold nothing but the observation, of a policy that observes one tensor: nearly all that a robot sends.

In:      messages.
Out:     the observation's octets; None for a message of any other kind.
Refuses: nothing.

A client sends the same bytes with every observation, apart from the observation itself. So the bytes around it are
remembered once a message was read, and a message with the same bytes around data of the same length means the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import AnyArray
from rlway_serve.codec.tensors import TensorForm
from rlway_serve.messages.wire import Wire
from rlway_serve.protocols.openpi.answers import OpenpiWire
from rlway_serve.protocols.openpi.messages import write_message
from rlway_serve.protocols.openpi.question import OpenpiQuestion

MAX_KNOWN = 256
MAX_KNOWN_PER_SIZE = 8
MAX_KNOWN_BYTES = 2048  # of the bytes around an observation
DATA_KEYS = tuple(map(write_message, (b"data", "data")))
WIDE, NARROW = np.dtype("<f8"), np.dtype("<f4")


class KnownMessage(NamedTuple):
    """The bytes around an observation."""

    head: bytes
    tail: bytes
    start: int  # where the data begin and end
    end: int
    wide: bool  # float64, for a policy that observes float32


class PlainMessages:
    """The plain messages of one version, and the wire that answers them."""

    def __init__(self, manifest: Manifest, tensors: TensorForm) -> None:
        self.wire: Wire = OpenpiWire(manifest)
        self._manifest = manifest
        self._tensors = tensors
        self._spec = manifest.observation[0]
        self._known: dict[int, list[KnownMessage]] = {}  # by the message's length
        self._count = 0
        self._not_plain = b""  # the last message that was none, since a message may be tried twice

    def read(self, message: bytes) -> bytes | None:
        """The observation as the policy's raw octets."""
        for known in self._known.get(len(message), ()):
            if message.startswith(known.head) and message.endswith(known.tail):
                data = message[known.start : known.end]
                return _narrow(data) if known.wide else data
        if message is self._not_plain:
            self._not_plain = b""
            return None
        octets = self._learn(message)
        self._not_plain = message if octets is None else b""
        return octets

    def _learn(self, message: bytes) -> bytes | None:
        array = self._observation_in(message)
        if array is None:
            return None
        data, wide = array.tobytes(), array.dtype != self._spec.numpy_dtype
        known = _find(message, data, wide)
        if known is not None and self._holds(known, array.dtype):
            self._remember(len(message), known)
        return _narrow(data) if wide else data

    def _observation_in(self, message: bytes) -> AnyArray | None:
        """The observation, if the message holds nothing else, in the policy's dtype or in float64."""
        try:
            question = OpenpiQuestion(message, self._tensors)
            inputs = question.inputs(self._tensors, self._manifest)
        except RlwayError:
            return None
        spec = self._spec
        if question.has_controls or len(inputs) != 1:
            return None
        ((name, array),) = inputs.items()
        if self._tensors.name_of(name) != spec.name or not isinstance(array, np.ndarray) or array.shape != spec.shape:
            return None
        wide = (array.dtype, spec.numpy_dtype) == (WIDE, NARROW)
        return array if wide or array.dtype == spec.numpy_dtype else None

    def _holds(self, known: KnownMessage, dtype: np.dtype[Any]) -> bool:
        """Whether other data between the same bytes are read as they are; not, for instance, in another byte order."""
        other: AnyArray = np.arange(1, self._spec.size + 1).astype(dtype).reshape(self._spec.shape)
        found = self._observation_in(known.head + other.tobytes() + known.tail)
        return found is not None and found.tobytes() == other.tobytes()

    def _remember(self, size: int, known: KnownMessage) -> None:
        if self._count >= MAX_KNOWN:
            self._known.clear()
            self._count = 0
        alike = self._known.setdefault(size, [])
        if len(alike) >= MAX_KNOWN_PER_SIZE:
            self._count -= len(alike)
            alike.clear()
        alike.append(known)
        self._count += 1


def _find(message: bytes, data: bytes, wide: bool) -> KnownMessage | None:
    """The bytes around the data, if there is no doubt where these are."""
    coded = write_message(data)
    places = [message.find(key + coded) + len(key) for key in DATA_KEYS if message.count(key + coded) == 1]
    if len(places) != 1 or len(message) - len(data) > MAX_KNOWN_BYTES:
        return None
    end = places[0] + len(coded)
    start = end - len(data)
    return KnownMessage(message[:start], message[end:], start, end, wide)


def _narrow(data: bytes) -> bytes:
    """float64 as float32. A number that is too large becomes infinite, and is refused when it would run."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.frombuffer(data, WIDE).astype(NARROW).tobytes()
