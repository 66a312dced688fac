"""An HTTP answer as a value, so that both lanes send the same bytes."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from rlway_client.contract.errors import InternalError, KeyMissing, QueueFull, RlwayError, TooManyConnections

JSON = b"application/json"
PROBLEM = b"application/problem+json"
OCTETS = b"application/octet-stream"
REQUEST_ID = re.compile(rb"[!-~]{1,128}")


class Response:
    """Status, media type, body, and whatever further headers it needs.

    `written` is the whole answer as the hot lane sent it last, `written_with` the server's headers it did so with;
    `framed` is it as a WebSocket sent it.
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


def problem_response(error: RlwayError) -> Response:
    """The error as RFC 9457 problem+json, with the headers that its status calls for."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, QueueFull):
        headers = ((b"retry-after", str(error.retry_after_s).encode()),)
    elif isinstance(error, TooManyConnections):
        headers = ((b"retry-after", b"1"),)
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


def read_request_id(value: bytes) -> bytes:
    """The caller's `x-request-id`, if it is one that may be repeated in headers and logs."""
    return value if REQUEST_ID.fullmatch(value) else b""


def response_headers(response: Response) -> list[tuple[bytes, bytes]]:
    """The headers that both lanes send, in their order."""
    return [
        (b"content-type", response.media_type),
        (b"content-length", str(len(response.body)).encode()),
        *response.headers,
    ]


def write_response(
    response: Response, default_headers: list[tuple[bytes, bytes]], keep_alive: bool, request_id: bytes = b""
) -> bytes:
    """The answer as bytes, as uvicorn would write it."""
    if keep_alive and not request_id and not response.headers:
        prefix = _prefixes.find(response.status, response.media_type, default_headers)
        return b"%b%d\r\n\r\n%b" % (prefix, len(response.body), response.body)
    headers = [*default_headers, *response_headers(response)]
    if request_id:
        headers.append((b"x-request-id", request_id))
    if not keep_alive:
        headers.append((b"connection", b"close"))
    lines = [b"%s: %s\r\n" % header for header in headers]
    return b"".join([STATUS_LINE[response.status], *lines, b"\r\n", response.body])


class Prefixes:
    """What answers of one kind begin with, up to the number of their bytes, until uvicorn renews its headers."""

    def __init__(self) -> None:
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._known: dict[tuple[int, bytes], bytes] = {}

    def find(self, status: int, media_type: bytes, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        if default_headers is not self._default_headers:
            self._default_headers = default_headers
            self._known.clear()
        prefix = self._known.get((status, media_type))
        if prefix is None:
            headers = [*default_headers, (b"content-type", media_type), (b"content-length", b"")]
            lines = b"\r\n".join(b"%b: %b" % header for header in headers)
            prefix = self._known[status, media_type] = STATUS_LINE[status] + lines
        return prefix


_prefixes = Prefixes()
