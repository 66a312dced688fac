"""The access log: one line of JSON per request, if `--access-log` asks for it.

In:      requests and the status of their answers.
Out:     a line on stdout, or in a file. Each line is appended by one write, so several workers can share the file.
Refuses: a file that cannot be written (UsageError).
"""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from rlway_client.contract.errors import UsageError

log = logging.getLogger(__name__)


class AccessRecord(msgspec.Struct, kw_only=True):
    """One line."""

    time: str  # UTC
    peer: str | None
    method: str
    path: str  # as received, with its query
    status: int
    request_bytes: int | None  # the body's declared length
    response_bytes: int | None  # likewise
    duration_ms: float  # from the end of the request (hot lane) or of its headers (FastAPI) to the answer
    request_id: str | None


class AccessLog:
    """Writes the lines."""

    def __init__(self, path: str) -> None:
        self._encoder = msgspec.json.Encoder()
        self._path = path
        self._descriptor = self._open()

    def _open(self) -> int:
        if self._path == "-":
            return os.dup(sys.stdout.fileno())
        try:
            return os.open(Path(self._path), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise UsageError(f"--access-log {self._path}: cannot be written: {error.strerror}.") from None

    def reopen(self) -> None:
        """Opens the path again, which makes a new file if the old one was moved away."""
        try:
            descriptor = self._open()
        except UsageError as error:
            log.error("%s The file before it stays.", error)
            return
        os.close(self._descriptor)
        self._descriptor = descriptor

    def write(
        self,
        client: tuple[str, int] | None,
        method: str,
        path: bytes,
        status: int,
        request_bytes: int | None,
        response_bytes: int | None,
        began_s: float,
        request_id: bytes,
    ) -> None:
        """Writes a line. `began_s` is a time of `time.perf_counter()`."""
        now = time.time()
        record = AccessRecord(
            time=f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z",
            peer=f"{client[0]}:{client[1]}" if client else None,
            method=method,
            path=path.decode("latin-1"),
            status=status,
            request_bytes=request_bytes,
            response_bytes=response_bytes,
            duration_ms=round((time.perf_counter() - began_s) * 1000, 3),
            request_id=request_id.decode("latin-1") or None,
        )
        with suppress(OSError):  # a full disk must not fail requests
            os.write(self._descriptor, self._encoder.encode(record) + b"\n")
