"""HTTP/1.1 for a client of a policy server: one request, one answer, over a kept connection.

In:      a base URL; method, path, body.
Out:     the bytes of a request; an `Answer`, once its last byte has arrived.
Refuses: a URL that is not http or https (UsageError), an answer that is not HTTP (ServerUnreachable).
"""

from __future__ import annotations

import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools

from rlway_client.contract.errors import ServerUnreachable, UsageError


class Address(NamedTuple):
    """Where a server is. `prefix` is a path in front of all routes, for a server behind a proxy."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """From `http://host[:port][/prefix]` or `https://…`. Raises UsageError for any other URL."""
        try:
            parts = urlsplit(url)
            port = parts.port
            (parts.hostname or "").encode("idna")
        except ValueError as error:  # UnicodeError is one
            raise UsageError(f"URL {url!r}: {error}.") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"URL {url!r}: expected http://HOST:PORT or https://HOST:PORT.")
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        return cls(parts.hostname.encode("idna").decode(), port or (443 if tls else 80), tls, parts.path.rstrip("/"))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.prefix}"

    def request(self, method: str, path: str, body: bytes = b"", media_type: str = "", key: str | None = None) -> bytes:
        """A request as bytes. Raises UsageError for a key that does not fit into a header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [f"{method} {self.prefix}{path} HTTP/1.1", f"host: {host}:{self.port}"]
        if body or method == "POST":
            lines += [f"content-type: {media_type}", f"content-length: {len(body)}"]
        if key:
            if not key.isprintable() or not key.isascii():
                raise UsageError("API key: expected printable ASCII on one line.")
            lines.append(f"authorization: Bearer {key}")
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + body


class Answer(NamedTuple):
    """Status, the headers in lower case, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


class AnswerReader:
    """Collects one answer from pieces of bytes."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self.answer: Answer | None = None

    def feed(self, data: bytes) -> Answer | None:
        """The answer, once it is complete. Raises ServerUnreachable if the data are not HTTP."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise ServerUnreachable(f"what answers there does not speak HTTP: {error}.") from None
        except httptools.HttpParserUpgrade:
            raise ServerUnreachable("what answers there speaks something else than HTTP/1.1.") from None
        return self.answer

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # an interim answer, such as `100 Continue`
            self._headers, self._chunks = {}, []
            return
        self.answer = Answer(status, self._headers, b"".join(self._chunks), self._parser.should_keep_alive())
