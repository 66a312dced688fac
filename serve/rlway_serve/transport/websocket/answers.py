"""Answers as frames of the native stream, with or without details.

In:      a `Response`; the subprotocols that a client offers.
Out:     a frame: binary for raw actions, text for JSON and refusals.
Refuses: nothing; other subprotocols are not chosen, and the connection goes on without one.
"""

from __future__ import annotations

from collections.abc import Sequence

from websockets.frames import Opcode
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from rlway_client.contract.detailed_frames import SUBPROTOCOL, write_frame
from rlway_serve.codec.encoder import GUARDED, VERSION
from rlway_serve.messages.response import OCTETS, Response
from rlway_serve.transport.websocket import frames

DETAILS = Subprotocol(SUBPROTOCOL)
TEXT, BINARY = Opcode.TEXT, Opcode.BINARY  # members of enumerations are slow to look up


def choose_subprotocol(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The one with details, if it is offered."""
    return DETAILS if DETAILS in offered else None


def plain_frame(response: Response) -> bytes:
    """The answer alone; many connections may share it."""
    if not response.framed:
        response.framed = frames.write_frame(BINARY if response.media_type == OCTETS else TEXT, response.body)
    return response.framed


def detailed_frame(response: Response) -> bytes:
    """The answer with what HTTP says in headers: the version, and the rules that the policy's guard has applied."""
    if response.media_type != OCTETS:
        return plain_frame(response)
    told = dict(response.headers)
    payload = write_frame(response.body, int(told[VERSION]), told.get(GUARDED, b""))
    return frames.write_frame(BINARY, payload)
