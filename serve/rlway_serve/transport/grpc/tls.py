"""The certificate of the gRPC port, read at the start and again when its files change.

In:      `--tls-cert`, `--tls-key`, which `system/tls.py` has checked.
Out:     credentials for the port; the files, for the reloader to watch.
Refuses: nothing; unusable files are logged, and the certificate in use stays.
"""

from __future__ import annotations

import logging
from collections import deque
from pathlib import Path
from typing import Any

import grpc

from rlway_serve.settings import Settings
from rlway_serve.system.reload import Watched
from rlway_serve.system.tls import read_pair

log = logging.getLogger(__name__)


class GrpcCertificate:
    """The certificate with which new connections are opened; open ones keep theirs."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = [certificate, key]
        self._first = self._read()
        self._renewed: deque[Any] = deque(maxlen=1)  # what gRPC has not taken yet

    @property
    def watched(self) -> Watched:
        return Watched(self._files, self._reload)

    def credentials(self) -> Any:
        """The credentials of the port. gRPC asks for the certificate at each handshake, on a thread of its own."""
        return grpc.dynamic_ssl_server_credentials(self._first, self.take_renewed)

    def take_renewed(self) -> Any:
        """The certificate that replaces the one in use; None if that is still the same.

        Only once: each time that gRPC replaces it, a handshake that begins at the same moment may fail.
        """
        try:
            return self._renewed.popleft()
        except IndexError:
            return None

    def _read(self) -> Any:
        chain, key = read_pair(self._files)
        return grpc.ssl_server_certificate_configuration([(key, chain)])

    def _reload(self) -> None:
        try:
            self._renewed.append(self._read())
        except OSError as error:
            log.error("%s: %s; gRPC keeps the certificate before it.", self._files[0], error)


def open_certificate(settings: Settings) -> GrpcCertificate | None:
    """The certificate, if the server has one."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return GrpcCertificate(settings.tls_cert, settings.tls_key)
