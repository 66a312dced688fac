"""An HTTP answer as a value, so that both lanes send the same bytes."""

from __future__ import annotations

import json
import uuid
from typing import Any

import msgspec

from rlway_client.errors import InternalError, KeyMissing, QueueFull, RlwayError

JSON = b"application/json"
PROBLEM = b"application/problem+json"
OCTETS = b"application/octet-stream"


class Response:
    """Status, media type, body, and whatever further headers it needs.

    `written` is the whole answer as the hot lane sent it last, `written_with` the server's headers it did so with.
    """

    __slots__ = ("body", "headers", "media_type", "status", "written", "written_with")

    def __init__(
        self, status: int, media_type: bytes, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        self.status = status
        self.media_type = media_type
        self.body = body
        self.headers = headers
        self.written = b""
        self.written_with: list[tuple[bytes, bytes]] | None = None


def problem_response(error: RlwayError) -> Response:
    """The error as RFC 9457 problem+json, with the headers that its status calls for."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, QueueFull):
        headers = ((b"retry-after", str(error.retry_after_s).encode()),)
    elif isinstance(error, KeyMissing):
        headers = ((b"www-authenticate", b"Bearer"),)
    return Response(error.http, PROBLEM, _encode(error.problem()), headers)


def _encode(problem: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(problem)
    except UnicodeEncodeError:  # the message quotes half a surrogate pair that came with the request
        return json.dumps(problem, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def new_internal_error() -> InternalError:
    """A 500 with a fresh request id; the caller logs the cause under the same id."""
    return InternalError(uuid.uuid4().hex)
