"""Reads the manifest inside an ONNX file, without a library for ONNX.

In:      a file as `rlway export` writes it.
Out:     its `Manifest`.
Refuses: a file that is not ONNX, or that has no manifest of RLway in its metadata (BundleInvalid).

An ONNX file is a protobuf message, ModelProto. Its field 14, `metadata_props`, holds pairs of a key (field 1) and a
value (field 2). All other fields, such as the graph, are skipped by their length.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.manifest import METADATA_KEY, Manifest, decode_manifest

METADATA_PROPS, KEY, VALUE = 14, 1, 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # protobuf's wire types


def read_manifest(path: Path) -> Manifest:
    """The manifest in the file's metadata. Raises BundleInvalid."""
    try:
        content = _manifest(path)
    except (ValueError, IndexError):
        raise BundleInvalid(f"{path}: not an ONNX file.") from None
    if content is None:
        raise BundleInvalid(f"{path}: has no {METADATA_KEY} in its metadata; only files from `rlway export` have one.")
    return decode_manifest(content, f"{path}, its metadata")


def holds_manifest(path: Path) -> bool:
    """Whether it is an ONNX file with a manifest, sound or not. Raises BundleInvalid for one that cannot be read."""
    try:
        return _manifest(path) is not None
    except (ValueError, IndexError):
        return False


def _manifest(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleInvalid(f"{path}: cannot be read: {error.strerror}.") from None
    pairs = [dict(_fields(entry)) for number, entry in _fields(content) if number == METADATA_PROPS]
    found = next((pair for pair in pairs if pair.get(KEY) == METADATA_KEY.encode()), None)
    return None if found is None else found.get(VALUE, b"")


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields numbers and contents of a message's length-delimited fields, and skips the others."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == VARINT:
            _, at = _varint(message, at)
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        elif kind == BYTES:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("a field ends after its message")
            yield tag >> 3, message[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, and the position after it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
