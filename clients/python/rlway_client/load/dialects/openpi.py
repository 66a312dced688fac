"""openpi's protocol: MessagePack over a WebSocket, in which the server speaks first.

In:      observations.
Out:     binary frames; the first step of `actions` in an answer.
Refuses: an answer that is none (Unreadable).
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray
from rlway_client.load.asker import Asker, Episode, Listener, Unreadable
from rlway_client.load.dialects.native import field, judge, read_nested
from rlway_client.load.target import Target
from rlway_client.load.websocket_asker import BINARY, connect_websocket, frame


class Openpi:
    """`/v1/policies/{policy}/openpi`, with an array for each input. A connection is an episode."""

    names_episodes = False

    def __init__(self, target: Target) -> None:
        self.count = target.observations
        self._target = target

    def request(self, place: int, episode: Episode | None) -> bytes:  # noqa: ARG002
        columns = self._target.columns
        arrays = {
            "/".join(spec.path) or spec.name: pack_array(columns[spec.name][place])
            for spec in self._target.manifest.observation
        }
        return frame(BINARY, msgspec.msgpack.encode(arrays))

    async def connect(self, listener: Listener) -> Asker:
        key = self._target.key
        path = f"/v1/policies/{self._target.quoted_name}/openpi"
        authorization = key and f"Api-Key {key}"
        return await connect_websocket(self._target.address, path, authorization, listener, judge, greets=True)

    def read(self, answer: bytes) -> Arrays:
        try:
            content = msgspec.msgpack.decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Unreadable("expected MessagePack") from None
        steps = _unpack(field(content, "actions"))
        return read_nested(steps, self._target.manifest.actions)


def pack_array(array: AnyArray) -> dict[bytes, Any]:
    """An array as openpi's client writes it."""
    return {
        b"__ndarray__": True,
        b"data": array.tobytes(),
        b"dtype": array.dtype.str,
        b"shape": list(array.shape),
    }


def _unpack(value: Any) -> Any:
    """The first step of an array, or of all arrays in maps. Raises Unreadable."""
    if not isinstance(value, dict):
        raise Unreadable("expected an array in `actions`, or maps of arrays")
    if b"__ndarray__" not in value:
        return {key: _unpack(part) for key, part in value.items()}
    try:
        array = np.frombuffer(value[b"data"], np.dtype(value[b"dtype"])).reshape(value[b"shape"])
        return array[0]
    except (TypeError, KeyError, ValueError, IndexError):
        raise Unreadable("expected an array with the keys __ndarray__, data, dtype and shape") from None
