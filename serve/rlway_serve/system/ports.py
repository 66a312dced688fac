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
from typing import Any

from rlway_client.contract.errors import UsageError

BACKLOG = 2048
PORT = "--port"


def bind(host: str, port: int, shared: bool = False) -> socket.socket:
    """A socket that listens on the port, alone or beside those of other workers."""
    listener = _bound(host, port, shared)
    listener.listen(BACKLOG)
    return listener


@contextmanager
def reserved_port(host: str, port: int, option: str = PORT) -> Iterator[int]:
    """Holds a free port for the workers to share. The socket that holds it never listens."""
    port = free_port(host, port, option)
    with _bound(host, port, True, option):
        yield port


def free_port(host: str, port: int, option: str = PORT) -> int:
    """The port, or a free one for 0. Raises UsageError for one in use; `option` is the port's flag."""
    with _bound(host, port, False, option) as alone:
        return int(alone.getsockname()[1])


def resolve(host: str) -> str:
    """The host as a number, as `bind` takes it."""
    return str(_resolve(host, 0)[4][0])


def _bound(host: str, port: int, shared: bool, option: str = PORT) -> socket.socket:
    family, kind, protocol, _, address = _resolve(host, port)
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"{option} {port}: in use on {host}; choose another, or 0 for any free one.") from None
        raise UsageError(f"--host {host} {option} {port}: cannot be bound: {error.strerror}.") from None
    return bound


def _resolve(host: str, port: int) -> tuple[Any, ...]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(f"--host {host}: not an address of this machine: {error.strerror}.") from None
