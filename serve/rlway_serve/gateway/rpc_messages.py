"""Reads the messages of gRPC's services.

In:      the octets of a message.
Out:     the message.
Refuses: other octets (RequestMalformed).

It imports protobuf, so only modules do that are imported with `--grpc-port`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from rlway_client.contract.errors import RequestMalformed
from rlway_serve.gateway.rpc import Tell


def parse(kind: Any, octets: bytes) -> Any:
    """The message of this kind. Raises RequestMalformed."""
    try:
        return kind.FromString(octets)
    except DecodeError:
        raise RequestMalformed(f"message: expected a {kind.DESCRIPTOR.name}, got other bytes.") from None


def tell(kind: Any, answer: Callable[[Any], Any]) -> Tell:
    """The method with requests of this kind, whose answers are messages, too."""

    def method(octets: bytes) -> bytes:
        written: bytes = answer(parse(kind, octets)).SerializeToString()
        return written

    return method
