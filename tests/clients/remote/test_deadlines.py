"""Clients never wait longer than they were told, whatever is at the other end, and say how long they waited."""

from __future__ import annotations

import itertools
import signal
import socket
import threading
import time
from collections.abc import Callable

import pytest

from rlway_client import PolicyClient, RlwayError
from rlway_client.contract.errors import InternalError, NotReady, QueueFull, RequestMalformed, ServerUnreachable
from tests.clients.conftest import Connect
from tests.clients.remote import peers
from tests.clients.remote.peers import Behaviour, peer
from tests.servers import Server

TIMEOUT_S = 0.3
GENEROUS_S = 5.0  # on a busy machine
ROW = [1, 0, 0, 0]


@pytest.mark.parametrize("behaviour", [peers.silent, peers.trickling, peers.trickling_body], ids=lambda b: b.__name__)
def test_who_never_finishes_is_given_up(connect: Connect, behaviour: Behaviour) -> None:
    """ServerUnreachable within `timeout_s`, which it names, also when bytes keep coming; and so each time."""
    with peer(behaviour) as url:
        client = connect(url, timeout_s=TIMEOUT_S)
        for ask in (client.describe, lambda: client.act(ROW)):
            started_s = time.monotonic()
            with pytest.raises(ServerUnreachable, match=r"0\.3 s") as caught:
                ask()
            assert TIMEOUT_S / 2 < time.monotonic() - started_s < GENEROUS_S
            assert url in str(caught.value)


@pytest.mark.parametrize(
    "behaviour",
    [peers.slamming, peers.hanging_up, peers.breaking_off, peers.babbling],
    ids=lambda behaviour: behaviour.__name__,
)
def test_who_is_no_server_is_named_at_once(connect: Connect, behaviour: Behaviour) -> None:
    """ServerUnreachable with the address, long before the timeout."""
    with peer(behaviour) as url:
        started_s = time.monotonic()
        with pytest.raises(ServerUnreachable, match=url):
            connect(url, timeout_s=60).act(ROW)
        assert time.monotonic() - started_s < GENEROUS_S


def test_a_refused_port_is_named_at_once(connect: Connect) -> None:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as freed:
        url = f"http://127.0.0.1:{freed.getsockname()[1]}"
    with pytest.raises(ServerUnreachable, match=url):
        connect(url, timeout_s=60).act(ROW)


def test_an_unknown_host_is_named(connect: Connect) -> None:
    """A name that does not resolve (RFC 6761 keeps `.invalid` free)."""
    with pytest.raises(ServerUnreachable, match=r"nowhere\.invalid"):
        connect("http://nowhere.invalid:1", timeout_s=GENEROUS_S).act(ROW)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>It works!</html>", b"[]", b"null", b"{}", b'{"action": 1}', b'"text"', b'{"actions": [1]}'],
)
def test_http_that_is_no_policy_server_is_told(connect: Connect, body: bytes) -> None:
    """An answer of another shape is an error in a sentence, not a KeyError."""
    with peer(peers.answering(body)) as url, pytest.raises(RlwayError):
        connect(url).act(ROW)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        ("429 Too Many Requests", b'{"detail":"full"}', QueueFull),
        ("503 Service Unavailable", b'{"detail":"draining"}', NotReady),
        ("500 Internal Server Error", b'{"detail":"failed","request_id":"abc"}', InternalError),
        ("400 Bad Request", b'{"detail":"what?"}', RequestMalformed),
        ("502 Bad Gateway", b"<html>proxy</html>", RlwayError),
        ("418 I'm a teapot", b"[]", RlwayError),
        ("422 Unprocessable Content", b"{}", RlwayError),
        ("422 Unprocessable Content", b'{"errors": [1]}', RlwayError),
        ("422 Unprocessable Content", b'{"errors": [{"loc": "x"}], "detail": "another server"}', RlwayError),
    ],
)
def test_any_refusal_is_an_error_of_ours(connect: Connect, status: str, body: bytes, kind: type[RlwayError]) -> None:
    """By its status, even when a proxy wrote the body."""
    with peer(peers.answering(body, status)) as url, pytest.raises(kind):
        connect(url).act(ROW)


def test_retry_after_reaches_the_caller(connect: Connect) -> None:
    """How long a full server asks to wait is what QueueFull carries."""
    body = b'{"detail":"full"}'
    with (
        peer(peers.answering(body, "429 Too Many Requests\r\nretry-after: 7")) as url,
        pytest.raises(QueueFull) as caught,
    ):
        connect(url).act(ROW)
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize("announce", [True, False], ids=["announced", "unannounced"])
def test_a_kept_connection_that_was_closed_is_replaced(connect: Connect, announce: bool) -> None:
    """Servers close idle connections as they like; callers do not notice."""
    with peer(peers.answering_once(b'{"action":1,"version":1}', announce)) as url:
        client = connect(url, timeout_s=GENEROUS_S)
        assert [client.act(ROW) for _ in range(5)] == [1] * 5


def test_a_server_that_always_hangs_up_is_not_asked_forever(connect: Connect) -> None:
    """A retry happens once, for a kept connection only."""
    answers = itertools.chain([True], itertools.repeat(False))
    asked = []

    def once_then_never(connection: socket.socket, _: threading.Event) -> None:
        while connection.recv(65536):
            asked.append(True)
            if not next(answers):
                return
            connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{"action":1,"version":1}')

    with peer(once_then_never) as url:
        client = connect(url, timeout_s=GENEROUS_S)
        assert client.act(ROW) == 1
        with pytest.raises(ServerUnreachable):
            client.act(ROW)
    assert len(asked) <= 3


def test_a_late_answer_is_not_taken_for_the_next(connect: Connect) -> None:
    """After a timeout the next request has a new connection, so the old answer cannot arrive on it."""
    actions = itertools.count()
    asked_again = threading.Event()

    def late_first(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65536)
        action = next(actions)
        if action == 0:
            asked_again.wait(GENEROUS_S)
        else:
            asked_again.set()
        connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{"action":%d,"version":1}' % action)

    with peer(late_first) as url:
        client = connect(url, timeout_s=TIMEOUT_S)
        with pytest.raises(ServerUnreachable):
            client.act(ROW)
        assert client.act(ROW) == 1


def test_an_interrupted_request_does_not_poison_the_next() -> None:
    """When a signal handler or Ctrl-C raises while PolicyClient waits, the old answer is not taken for the next."""
    interrupted = threading.Event()
    actions = itertools.count()

    class Interrupt(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupt

    def answer_late(connection: socket.socket, _: threading.Event) -> None:
        while connection.recv(65536):
            action = next(actions)
            if action == 0:
                signal.pthread_kill(main, signal.SIGUSR1)
                interrupted.wait(GENEROUS_S)
            connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{"action":%d,"version":1}' % action)

    main = threading.get_ident()
    before: Callable[..., object] | int | None = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with peer(answer_late) as url, PolicyClient(url, timeout_s=GENEROUS_S) as client:
            with pytest.raises(Interrupt):
                client.act(ROW)
            interrupted.set()
            assert client.act(ROW) == 1
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_timeout_is_for_the_whole_exchange(server: Server, connect: Connect) -> None:
    """A server that answers in time is not disturbed by a short timeout, again and again."""
    client = connect(server.url, "linear", timeout_s=GENEROUS_S)
    assert [client.act(ROW) for _ in range(20)] == [0] * 20
