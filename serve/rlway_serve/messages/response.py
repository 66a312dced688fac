"""An HTTP answer as a value, so that the hot lane and FastAPI send the same bytes."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import msgspec

from rlway_client.contract.errors import InternalError, KeyMissing, QueueFull, RlwayError, TooManyConnections

JSON = b"application/json"
PROBLEM = b"application/problem+json"
OCTETS = b"application/octet-stream"
REQUEST_ID = re.compile(rb"[!-~]{1,128}")


class Response:
    """Status, media type, body, and further headers where it needs any.

    The rest are caches of the transport: `written` is the whole answer as HTTP/1.1 sent it last, `written_with` the
    server's default headers in it, `framed` the answer as a WebSocket frame.
    """

    __slots__ = ("body", "framed", "headers", "media_type", "status", "written", "written_with")

    def __init__(
        self, status: int, media_type: bytes, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        self.status = status
        self.media_type = media_type
        self.body = body
        self.headers = headers
        self.framed = b""
        self.written = b""
        self.written_with: list[tuple[bytes, bytes]] | None = None


class GrpcRefusal(Response):
    """An error for a gRPC caller: `body` is its sentence, and `code` the name of the gRPC status."""

    __slots__ = ("code",)

    def __init__(self, error: RlwayError) -> None:
        super().__init__(error.http, b"text/plain", str(error).encode("utf-8", "replace"), _retry_after(error))
        self.code = error.grpc


def problem_response(error: RlwayError) -> Response:
    """The error as RFC 9457 problem+json, with the headers that its status calls for."""
    headers = _retry_after(error)
    if isinstance(error, KeyMissing):
        headers = ((b"www-authenticate", b"Bearer"),)
    return Response(error.http, PROBLEM, _encode(error.problem()), headers)


def _retry_after(error: RlwayError) -> tuple[tuple[bytes, bytes], ...]:
    if isinstance(error, QueueFull):
        return ((b"retry-after", str(error.retry_after_s).encode()),)
    return ((b"retry-after", b"1"),) if isinstance(error, TooManyConnections) else ()


def _encode(problem: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(problem)
    except UnicodeEncodeError:  # the message quotes half a surrogate pair that came with the request
        return json.dumps(problem, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def new_internal_error() -> InternalError:
    """A 500 with a fresh request id; the caller logs the cause under the same id."""
    return InternalError(uuid.uuid4().hex)


def read_request_id(value: bytes) -> bytes:
    """The caller's `x-request-id`, if it is one that may be repeated in headers and logs."""
    return value if REQUEST_ID.fullmatch(value) else b""


def response_headers(response: Response) -> list[tuple[bytes, bytes]]:
    """The headers that the hot lane and FastAPI both send, in order."""
    return [
        (b"content-type", response.media_type),
        (b"content-length", str(len(response.body)).encode()),
        *response.headers,
    ]
