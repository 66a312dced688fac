"""Binary frames of the stream that also say which version answered, and what its guard changed.

In:      actions as raw rows; the version; the violated rules, as JSON. Or a frame.
Out:     the frame; or what it holds.
Refuses: a frame of another form (RlwayError).

A client asks for them with the WebSocket subprotocol `rlway.details`, and the server's handshake confirms it. A frame:

    8 bytes      the version, a whole number, little-endian
    8 bytes      how many bytes the rules have, likewise; 0 where the guard changed nothing
    the actions  as in frames without details, at a multiple of 8 bytes
    the rules    by action tensor: {"action": ["too_fast"]}; of several rows together
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import msgspec

from rlway_client.contract.errors import RlwayError
from rlway_client.contract.guard import NO_VIOLATIONS, Violations

SUBPROTOCOL = "rlway.details"
HEAD = struct.Struct("<QQ")
EXPECTED = "frame: expected a binary one of a stream that was opened with the subprotocol `rlway.details`, got"


class DetailedActions(NamedTuple):
    """What a frame holds. `guarded` is empty where the guard changed nothing."""

    actions: bytes
    version: int
    guarded: Violations


def write_frame(actions: bytes, version: int, rules: bytes = b"") -> bytes:
    """The payload of a frame."""
    return HEAD.pack(version, len(rules)) + actions + rules


def read_frame(frame: bytes) -> DetailedActions:
    """What the payload of a frame holds. Raises RlwayError."""
    if len(frame) < HEAD.size:
        raise RlwayError(f"{EXPECTED} {len(frame)} bytes.")
    version, rules_bytes = HEAD.unpack_from(frame)
    end = len(frame) - rules_bytes
    if end < HEAD.size:
        raise RlwayError(f"{EXPECTED} other numbers at its beginning.")
    try:
        guarded = msgspec.json.decode(frame[end:], type=Violations) if rules_bytes else NO_VIOLATIONS
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RlwayError(f"{EXPECTED} something else than rules at its end.") from None
    return DetailedActions(frame[HEAD.size : end], version, guarded)
