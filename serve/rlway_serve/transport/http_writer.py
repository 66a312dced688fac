"""Writes answers as HTTP/1.1.

In:      a `Response`, the server's default headers (`date`), whether the connection is kept.
Out:     the bytes of the answer, as uvicorn would write them.
"""

from __future__ import annotations

from rlway_serve.messages.response import Response, response_headers
from rlway_serve.transport._uvicorn import STATUS_LINE

DefaultHeaders = list[tuple[bytes, bytes]]  # one list object a second: uvicorn replaces it to renew `date`


def write_response(
    response: Response, default_headers: DefaultHeaders, keep_alive: bool, request_id: bytes = b""
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
    """Caches an answer's bytes up to the value of `content-length`, until uvicorn renews the default headers."""

    def __init__(self) -> None:
        self._default_headers: DefaultHeaders = []
        self._known: dict[tuple[int, bytes], bytes] = {}

    def find(self, status: int, media_type: bytes, default_headers: DefaultHeaders) -> bytes:
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
