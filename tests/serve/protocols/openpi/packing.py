"""openpi's messages as its client packs and unpacks them, by the `msgpack` package: the other side of the server's own.

In:      values with numpy arrays and scalars.
Out:     bytes, and back.
"""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np


def as_map(value: Any) -> Any:
    """An array or a numpy scalar as a map with binary keys."""
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(type(value).__name__)


def as_array(entries: dict[Any, Any]) -> Any:
    """The array that a map stands for; other maps as they are."""
    if b"__ndarray__" in entries:
        return np.ndarray(entries[b"shape"], np.dtype(entries[b"dtype"]), entries[b"data"])
    if b"__npgeneric__" in entries:
        return np.dtype(entries[b"dtype"]).type(entries[b"data"])
    return entries


def pack(value: Any) -> bytes:
    """A message."""
    packed: bytes = msgpack.packb(value, default=as_map)
    return packed


def unpack(message: bytes) -> Any:
    """What a message holds."""
    return msgpack.unpackb(message, object_hook=as_array)
