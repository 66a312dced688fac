"""Files that a running server reads again: keys and certificates, on SIGHUP or when they change.

In:      files, and what to call.
Out:     calls from the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rlway_client.contract.errors import UsageError
from rlway_serve.settings import Settings
from rlway_serve.system.open_files import are_exhausted

POLL_S = 1.0

log = logging.getLogger(__name__)


class Watched(NamedTuple):
    """Files that belong together."""

    files: list[Path]
    reload: Callable[[], None]


class Reloader:
    """Looks at the files once a second; an unfinished change is found again, since its files change once more.

    While no file can be opened, nothing is read, and what was there before stays.
    """

    def __init__(self, watched: list[Watched], on_hangup: list[Callable[[], None]]) -> None:
        self._on_hangup = on_hangup  # what SIGHUP calls besides
        self._watched = [(files, reload, _signature(files)) for files, reload in watched if files]

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to watch."""
        with suppress(ValueError, RuntimeError):  # not in the main thread, where there is no SIGHUP to hear
            loop.add_signal_handler(signal.SIGHUP, self._reload_all)
        if self._watched:
            loop.call_later(POLL_S, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        for i, (files, reload, before) in enumerate([] if are_exhausted() else self._watched):
            if (now := _signature(files)) != before:
                self._watched[i] = (files, reload, now)
                reload()
        loop.call_later(POLL_S, self._look, loop)

    def _reload_all(self) -> None:
        for reload in (*(reload for _, reload, _ in self._watched), *self._on_hangup):
            reload()


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What `--tls-cert` and `--tls-key` make, or None without them."""
    if settings.tls_cert is None and settings.tls_key is None:
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        raise UsageError("--tls-cert and --tls-key: expected both or none, got one of them.")
    try:
        return _context([settings.tls_cert, settings.tls_key])
    except OSError as error:
        raise UsageError(f"--tls-cert {settings.tls_cert}, --tls-key {settings.tls_key}: {_reason(error)}.") from None


def _context(files: list[Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 and later
    _load(context, files)
    return context


def _load(context: ssl.SSLContext, files: list[Path]) -> None:
    certificate, key = files
    context.load_cert_chain(certificate, key, password=lambda: b"")  # else OpenSSL would ask on the terminal


def watched_tls(settings: Settings, context: ssl.SSLContext | None) -> Watched:
    """A new certificate counts for connections from then on."""
    files = [path for path in (settings.tls_cert, settings.tls_key) if path is not None]

    def reload() -> None:
        assert context is not None
        try:
            _context(files)  # a half-written pair must not reach the one in use
            _load(context, files)
        except OSError as error:
            log.error("%s: %s; the certificate before it stays.", files[0], _reason(error))
        else:
            log.info("%s: read again.", files[0])

    return Watched(files, reload)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"no certificate in PEM with its key: {error.reason}"
    return f"cannot be read: {error.strerror}"


def _signature(files: list[Path]) -> tuple[tuple[int, int, int] | None, ...]:
    def look(path: Path) -> tuple[int, int, int] | None:
        try:
            stat = path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    return tuple(look(path) for path in files)
