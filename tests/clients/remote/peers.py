"""Peers that are no policy servers, and behave as broken networks and other programs do.

In:      what to do with a connection.
Out:     a URL.

None of them waits for ever: it closes the connection after `LAST_S`, and a client says that instead of its time-out.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

LAST_S = 30.0
BYTE_S = 0.01  # between two bytes of those that trickle

Behaviour = Callable[[socket.socket, threading.Event], None]


@contextmanager
def peer(behaviour: Behaviour) -> Iterator[str]:
    """Listens; each connection is given to the behaviour on its own thread, with an event that is set at the end."""
    over = threading.Event()
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def converse(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(LAST_S)
            behaviour(connection, over)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                threads.append(threading.Thread(target=converse, args=(connection,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        acceptor.join(LAST_S)
    for connection in connections:
        with suppress(OSError):  # ended already
            connection.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(LAST_S)


def silent(_: socket.socket, over: threading.Event) -> None:
    """Takes the request and never answers."""
    over.wait(LAST_S)


def trickling(connection: socket.socket, over: threading.Event) -> None:
    """Sends a header without end, a byte at a time: there is always something to read."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    trickle(connection, over)


def trickling_body(connection: socket.socket, over: threading.Event) -> None:
    """Announces a long body and sends it a byte at a time."""
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    trickle(connection, over)


def trickle(connection: socket.socket, over: threading.Event) -> None:
    """Sends a byte now and then."""
    for _ in range(int(LAST_S / BYTE_S)):
        if over.wait(BYTE_S):
            return
        connection.sendall(b" ")


def slamming(connection: socket.socket, _: threading.Event) -> None:
    """Closes the connection at once."""
    connection.close()


def hanging_up(connection: socket.socket, _: threading.Event) -> None:
    """Reads the request, then closes."""
    connection.recv(65536)


def breaking_off(connection: socket.socket, _: threading.Event) -> None:
    """Closes in the middle of its answer."""
    connection.recv(65536)
    connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"action":')


def babbling(connection: socket.socket, over: threading.Event) -> None:
    """Sends a greeting that is not HTTP."""
    connection.sendall(b"220 mail.example.org ESMTP ready\r\n")
    over.wait(LAST_S)


def answering(body: bytes, status: str = "200 OK", media_type: str = "application/json") -> Behaviour:
    """Answers every request with this body, over a kept connection."""

    def answer(connection: socket.socket, _: threading.Event) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n\r\n"
        while connection.recv(65536):
            connection.sendall(head.encode() + body)

    return answer


def answering_once(body: bytes, announce: bool) -> Behaviour:
    """Answers one request, then closes the connection, which it may announce."""

    def answer(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65536)
        close = b"connection: close\r\n" if announce else b""
        connection.sendall(b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n%s" % (close, len(body), body))

    return answer
