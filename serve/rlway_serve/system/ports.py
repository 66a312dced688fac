"""The port that a server listens on.

In:      a host name and a port, 0 for any free one.
Out:     a listening socket; or, for several workers, a port that they can share.
Refuses: a port in use, an address that is not this machine's (UsageError).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from rlway_client.contract.errors import UsageError

BACKLOG = 2048


def bind(host: str, port: int, shared: bool = False) -> socket.socket:
    """A socket that listens on the port, alone or beside those of other workers."""
    listener = _bound(host, port, shared)
    listener.listen(BACKLOG)
    return listener


@contextmanager
def reserved_port(host: str, port: int) -> Iterator[int]:
    """Holds a free port for the workers to share. The socket that holds it never listens."""
    with _bound(host, port, shared=False) as alone:
        port = alone.getsockname()[1]
    with _bound(host, port, shared=True):
        yield port


def _bound(host: str, port: int, shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(f"--host {host}: not an address of this machine: {error.strerror}.") from None
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"--port {port}: in use on {host}; choose another, or 0 for any free one.") from None
        raise UsageError(f"--host {host} --port {port}: cannot be bound: {error.strerror}.") from None
    return bound
