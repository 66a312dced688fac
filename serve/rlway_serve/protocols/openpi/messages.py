"""openpi's messages: MessagePack maps whose values are numpy arrays, numbers, texts, lists and further maps.

In:      the bytes of a message, from anyone; or a value to write.
Out:     a dict with text keys; or bytes.
Refuses: what is not such a map, types beyond it (ext, pickles, complex numbers, texts as dtypes), arrays whose size
         contradicts their data, and messages beyond the limits below (RequestMalformed).

An array is a map with the keys `__ndarray__`, `data`, `dtype` and `shape`, and a numpy scalar one with `__npgeneric__`.
openpi writes these keys as binary. Text is read as well.

msgspec reads one level at a time, and leaves the values of a map as bytes (`Raw`). A size is checked before anything is
built from it, so a small message cannot stand for a large value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from msgspec import Raw

from rlway_client.common.quote import clipped, short_name
from rlway_client.contract.errors import RequestMalformed
from rlway_client.contract.specs import AnyArray

MAX_DEPTH = 16  # of maps and lists within each other
MAX_ENTRIES = 4096  # keys of all maps together, arrays included
MAX_KEY_CHARACTERS = 256  # an input's name is the path of its keys, so each map repeats those above it
MAX_LIST_BYTES = 64 * 1024  # of all lists and texts together, as MessagePack; arrays have no such limit
MAX_DIMENSIONS = 32  # of an array: the most that every numpy has
MAX_SHAPE_BYTES = 5 + 9 * MAX_DIMENSIONS  # of a shape as MessagePack
LARGEST_FIXED = 0x7F  # first bytes up to this are small whole numbers

ARRAY, SCALAR = "__ndarray__", "__npgeneric__"
TRUE = b"\xc3"
FIELDS = {ARRAY: {ARRAY, "data", "dtype", "shape"}, SCALAR: {SCALAR, "data", "dtype"}}
DTYPES = {  # by every way to write them; others are refused
    order + kind: np.dtype((order if order != "|" else "") + kind)
    for order in ("", "<", ">", "=", "|")
    for kind in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}
BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what msgspec raises for a message
LISTED = {bool, int, float, str, type(None), list}  # what lists may hold


_text_map: Callable[[Any], dict[str, Raw]] = msgspec.msgpack.Decoder(dict[str, Raw]).decode
_binary_map: Callable[[Any], dict[bytes, Raw]] = msgspec.msgpack.Decoder(dict[bytes, Raw]).decode
_list: Callable[[Any], list[Raw]] = msgspec.msgpack.Decoder(list[Raw]).decode
_binary: Callable[[Any], bytes] = msgspec.msgpack.Decoder(bytes).decode
_shape: Callable[[Any], list[int]] = msgspec.msgpack.Decoder(list[int]).decode
_any: Callable[[Any], Any] = msgspec.msgpack.Decoder().decode


def read_message(message: bytes) -> dict[str, Any]:
    """The map in a message. Its values are arrays (numpy scalars have no dimensions), plain values, lists and maps."""
    if not message or not _is_map(message[0]):
        got = "nothing" if not message else f"0x{message[0]:02x} as its first byte"
        raise RequestMalformed(f"message: expected a MessagePack map of observations, got {got}.")
    value = _Reader().read(message, "message", 0)
    if not isinstance(value, dict):
        raise RequestMalformed("message: expected a map of observations by name, got an array without a name.")
    return value


class _Reader:
    """Reads one message. It counts what it has built."""

    def __init__(self) -> None:
        self._entries = 0
        self._list_bytes = 0

    def read(self, raw: bytes | Raw, where: str, depth: int) -> Any:
        """The value. `where` names it in sentences."""
        view = memoryview(raw)
        first = view[0]
        if depth > MAX_DEPTH:
            raise RequestMalformed(f"{where}: expected at most {MAX_DEPTH} levels of maps and lists, got more.")
        try:
            if _is_map(first):
                return self._read_map(raw, view, where, depth)
            if _is_list(first):
                return self._read_list(raw, view, where, depth)
            if 0xC7 <= first <= 0xC9 or 0xD4 <= first <= 0xD8:
                raise RequestMalformed(f"{where}: expected numbers, texts, arrays, lists or maps, got an ext type.")
            if 0xC4 <= first <= 0xC6:
                raise RequestMalformed(f"{where}: expected an array as a map with its dtype and shape, got bare bytes.")
            if first > LARGEST_FIXED:
                self._count_list_bytes(len(view), where)
            return _any(raw)
        except BROKEN as error:
            raise _broken(where, error) from None

    def _read_map(self, raw: bytes | Raw, view: memoryview, where: str, depth: int) -> Any:
        size, start = _header(view, where, 0x80)
        self._entries += size
        if self._entries > MAX_ENTRIES:
            raise RequestMalformed(f"{where}: expected at most {MAX_ENTRIES} keys in all maps together, got more.")
        binary = len(view) > start and 0xC4 <= view[start] <= 0xC6
        fields = {key.decode(): value for key, value in _binary_map(raw).items()} if binary else _text_map(raw)
        if len(fields) != size:
            raise RequestMalformed(f"{where}: expected every key once, got one twice.")
        for marker, expected in FIELDS.items():
            if marker in fields:
                if fields.keys() != expected or bytes(fields[marker]) != TRUE:
                    keys = ", ".join(sorted(expected - {marker}))
                    raise RequestMalformed(f"{where}: expected an array as {marker}: true, {keys}, got something else.")
                return self._read_array(fields, where) if marker is ARRAY else self._read_scalar(fields, where)
        if binary:
            raise RequestMalformed(f"{where}: expected text as keys, got binary ones that are not those of an array.")
        if max(map(len, fields), default=0) > MAX_KEY_CHARACTERS:
            raise RequestMalformed(
                f"{where}: expected keys of at most {MAX_KEY_CHARACTERS} characters, got a longer one."
            )
        return {key: self.read(value, short_name(key), depth + 1) for key, value in fields.items()}

    def _read_list(self, raw: bytes | Raw, view: memoryview, where: str, depth: int) -> Any:
        size, start = _header(view, where, 0x90)
        if len(view) > start and _is_map(view[start]):  # a tuple of arrays
            self._entries += size
            if self._entries <= MAX_ENTRIES:
                return {str(i): self.read(value, f"{where}[{i}]", depth + 1) for i, value in enumerate(_list(raw))}
        self._count_list_bytes(len(view), where)
        value = _any(raw)
        _check_list(value, where)
        return value

    def _count_list_bytes(self, size: int, where: str) -> None:
        self._list_bytes += size
        if self._list_bytes > MAX_LIST_BYTES:
            limit = f"{MAX_LIST_BYTES} bytes of lists and texts"
            raise RequestMalformed(f"{where}: expected at most {limit}, got more; send numpy arrays.")

    def _read_array(self, fields: dict[str, Raw], where: str) -> AnyArray:
        dtype = self._read_dtype(fields["dtype"], where)
        raw_shape = fields["shape"]
        if len(memoryview(raw_shape)) > MAX_SHAPE_BYTES:
            raise RequestMalformed(f"{where}: expected a shape of at most {MAX_DIMENSIONS} dimensions, got more.")
        shape, data = _shape(raw_shape), _binary(fields["data"])
        if len(shape) > MAX_DIMENSIONS or any(n < 1 for n in shape):
            raise RequestMalformed(
                f"{where}: expected a shape of at most {MAX_DIMENSIONS} dimensions from 1 on, got {clipped(shape)}."
            )
        expected = math.prod(shape) * dtype.itemsize  # whole numbers of any size: they cannot overflow
        if len(data) != expected:
            label = f"{clipped(shape)} of {dtype.str}"
            raise RequestMalformed(
                f"{where}: expected {clipped(expected)} bytes for the shape {label}, got {len(data)}."
            )
        return _little_endian(np.frombuffer(data, dtype).reshape(shape))

    def _read_scalar(self, fields: dict[str, Raw], where: str) -> AnyArray:
        dtype = self._read_dtype(fields["dtype"], where)
        number = self.read(fields["data"], where, MAX_DEPTH) if len(memoryview(fields["data"])) <= 9 else None
        fits = {"b": bool, "f": float}.get(dtype.kind, int)
        if type(number) is not fits:
            raise RequestMalformed(f"{where}: expected the number of a numpy scalar of {dtype.str}, got another type.")
        try:
            with np.errstate(over="ignore"):
                return _little_endian(np.array(number, dtype))
        except OverflowError:
            raise RequestMalformed(f"{where}: expected a number that {dtype.str} holds, got {number}.") from None

    def _read_dtype(self, raw: Raw, where: str) -> np.dtype[Any]:
        view = memoryview(raw)
        name = _any(raw) if len(view) <= 16 else "a long name"
        if isinstance(name, bytes):
            name = name.decode()
        dtype = DTYPES.get(name) if isinstance(name, str) else None
        if dtype is None:
            raise RequestMalformed(
                f"{where}: expected a dtype of real numbers, such as <f4 or |u1, got {clipped(name)}."
            )
        return dtype


def _is_map(first: int) -> bool:
    return 0x80 <= first <= 0x8F or first in (0xDE, 0xDF)


def _is_list(first: int) -> bool:
    return 0x90 <= first <= 0x9F or first in (0xDC, 0xDD)


def _header(view: memoryview, where: str, fixed: int) -> tuple[int, int]:
    """How many elements a map or a list has, by its first bytes, and how long these are."""
    first = view[0]
    if fixed <= first <= fixed | 0x0F:
        return first & 0x0F, 1
    start = 3 if first in (0xDC, 0xDE) else 5
    if len(view) < start:
        raise RequestMalformed(f"{where}: expected a whole MessagePack value, got one that is cut off.")
    return int.from_bytes(view[1:start], "big"), start


def _check_list(value: list[Any], where: str) -> None:
    """Raises unless it holds numbers, texts and further lists, not too deep."""
    level = value
    for _ in range(MAX_DEPTH):
        odd = {type(item) for item in level} - LISTED
        if odd:
            raise RequestMalformed(f"{where}: expected numbers in its list, got {', '.join(sorted(map(_kind, odd)))}.")
        level = [item for part in level if type(part) is list for item in part]
        if not level:
            return
    raise RequestMalformed(f"{where}: expected at most {MAX_DEPTH} lists within each other, got more.")


def _kind(odd: type) -> str:
    return "a map" if odd is dict else "bytes" if odd is bytes else "an ext type"


def _little_endian(array: AnyArray) -> AnyArray:
    if array.dtype.byteorder == ">":
        return array.astype(array.dtype.newbyteorder("<"))
    return array


def _broken(where: str, error: Exception) -> RequestMalformed:
    if isinstance(error, RecursionError):
        return RequestMalformed(f"{where}: expected at most {MAX_DEPTH} levels of maps and lists, got more.")
    if isinstance(error, UnicodeDecodeError):
        return RequestMalformed(f"{where}: expected text as UTF-8, got other bytes.")
    return RequestMalformed(
        f"{where}: expected a MessagePack value, got what cannot be read: {clipped(error).rstrip('.')}."
    )


def _as_map(value: Any) -> dict[bytes, Any]:
    """An array as openpi's `msgpack_numpy` writes it."""
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    raise NotImplementedError(f"a {type(value).__name__} in a message")


write_message: Callable[[Any], bytes] = msgspec.msgpack.Encoder(enc_hook=_as_map).encode
