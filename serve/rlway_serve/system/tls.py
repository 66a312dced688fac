"""The certificate and key that make the server speak HTTPS, read at the start and again when their files change.

In:      `--tls-cert`, `--tls-key`.
Out:     an `ssl.SSLContext`; its files, for the reloader to watch.
Refuses: one of the two without the other, or files that hold no certificate with its key (UsageError). Later, unusable
         files are logged and the certificate in use stays.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from rlway_client.contract.errors import UsageError
from rlway_serve.settings import Settings
from rlway_serve.system.reload import Watched

log = logging.getLogger(__name__)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The context for `--tls-cert` and `--tls-key`, or None without them."""
    if settings.tls_cert is None and settings.tls_key is None:
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        raise UsageError("--tls-cert and --tls-key: expected both or none, got one of them.")
    try:
        return _context([settings.tls_cert, settings.tls_key])
    except OSError as error:
        raise UsageError(f"--tls-cert {settings.tls_cert}, --tls-key {settings.tls_key}: {_reason(error)}.") from None


def watched_tls(settings: Settings, context: ssl.SSLContext | None) -> Watched:
    """The files to watch. New connections use a new certificate; open ones keep theirs."""
    files = [path for path in (settings.tls_cert, settings.tls_key) if path is not None]

    def reload() -> None:
        assert context is not None
        try:
            _context(files)  # first into a new context, so that a half-written pair never reaches the one in use
            _load(context, files)
        except OSError as error:
            log.error("%s: %s; the certificate before it stays.", files[0], _reason(error))
        else:
            log.info("%s: read again.", files[0])

    return Watched(files, reload)


def read_pair(files: list[Path]) -> tuple[bytes, bytes]:
    """Certificate chain and key, as they are written. Raises OSError unless they fit together."""
    _context(files)
    certificate, key = (path.read_bytes() for path in files)
    return certificate, key


def _context(files: list[Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 and later
    _load(context, files)
    return context


def _load(context: ssl.SSLContext, files: list[Path]) -> None:
    certificate, key = files
    context.load_cert_chain(certificate, key, password=lambda: b"")  # without it OpenSSL asks on the terminal


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"no certificate in PEM with its key: {error.reason}"
    return f"cannot be read: {error.strerror}"
