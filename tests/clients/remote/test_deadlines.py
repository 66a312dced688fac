"""Clients never wait longer than `timeout_s`, whatever the peer does, and say how long they waited.

No test measures time. A client that gives up by its own clock says so ("no answer within 0.3 s"); when the peer ends
the wait, it says something else. Where much time has to pass, the test moves the clock.
"""

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

SHORT_S = 0.3
LONG_S = 60.0  # which nobody waits for
GOOD = b'{"action":1,"version":1}'
ROW = [1, 0, 0, 0]


class Clock:
    """A `time.monotonic` for both clients, which a peer can move forward."""

    def __init__(self) -> None:
        self._true, self._ahead_s = time.monotonic, 0.0

    def __call__(self) -> float:
        return self._true() + self._ahead_s

    def move(self, seconds: float) -> None:
        self._ahead_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


@pytest.mark.parametrize("behaviour", [peers.silent, peers.trickling, peers.trickling_body], ids=lambda b: b.__name__)
def test_a_server_that_never_finishes_is_given_up(connect: Connect, behaviour: Behaviour) -> None:
    """ServerUnreachable by the client's own clock, also when bytes keep coming, for each request."""
    with peer(behaviour) as url:
        client = connect(url, timeout_s=SHORT_S)
        for ask in (client.describe, lambda: client.act(ROW)):
            with pytest.raises(ServerUnreachable, match=r"no answer within 0\.3 s") as caught:
                ask()
            assert url in str(caught.value)


@pytest.mark.parametrize("gone_s", [LONG_S, LONG_S - SHORT_S], ids=["all", "nearly all"])
def test_a_time_out_is_for_the_whole_exchange(connect: Connect, clock: Clock, gone_s: float) -> None:
    """A byte that arrives does not prolong the wait: the client waits only for what is left of the time-out."""

    def begin_late(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        clock.move(gone_s)
        connection.sendall(b"H")
        over.wait(peers.LAST_S)

    with peer(begin_late) as url, pytest.raises(ServerUnreachable, match="no answer within 60 s"):
        connect(url, timeout_s=LONG_S).act(ROW)


def test_each_request_has_the_whole_time_out(connect: Connect, clock: Clock) -> None:
    """Three requests over one connection, each of which takes two thirds of it."""

    def answer_late(connection: socket.socket, _: threading.Event) -> None:
        while connection.recv(65536):
            clock.move(LONG_S * 2 / 3)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(GOOD), GOOD))

    with peer(answer_late) as url:
        client = connect(url, timeout_s=LONG_S)
        assert [client.act(ROW) for _ in range(3)] == [1] * 3


@pytest.mark.parametrize(
    "behaviour",
    [peers.slamming, peers.hanging_up, peers.breaking_off, peers.babbling],
    ids=lambda behaviour: behaviour.__name__,
)
def test_a_peer_that_is_no_server_is_named_without_waiting(connect: Connect, behaviour: Behaviour) -> None:
    """ServerUnreachable with the address and what happened; it is not that the time was up."""
    with peer(behaviour) as url, pytest.raises(ServerUnreachable, match=url) as caught:
        connect(url, timeout_s=LONG_S).act(ROW)
    assert "no policy server answers there" in str(caught.value)


def test_a_refused_port_is_named_at_once(connect: Connect) -> None:
    """Nobody listens, and the system says so."""
    with socket.create_server(("127.0.0.1", 0)) as freed:
        url = f"http://127.0.0.1:{freed.getsockname()[1]}"
    with pytest.raises(ServerUnreachable, match=f"{url}: no policy server answers there: Connection refused"):
        connect(url, timeout_s=LONG_S).act(ROW)


def test_an_unknown_host_is_named(connect: Connect) -> None:
    """A name that does not resolve (RFC 6761 keeps `.invalid` free)."""
    with pytest.raises(ServerUnreachable, match=r"nowhere\.invalid"):
        connect("http://nowhere.invalid:1", timeout_s=LONG_S).act(ROW)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>It works!</html>", b"[]", b"null", b"{}", b'{"action": 1}', b'"text"', b'{"actions": [1]}'],
)
def test_http_from_another_server_is_an_error(connect: Connect, body: bytes) -> None:
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
def test_any_refusal_is_an_rlway_error(connect: Connect, status: str, body: bytes, kind: type[RlwayError]) -> None:
    """By its status, even if a proxy wrote the body."""
    with peer(peers.answering(body, status)) as url, pytest.raises(kind):
        connect(url).act(ROW)


def test_retry_after_reaches_the_caller(connect: Connect) -> None:
    """QueueFull carries how long a full server asks to wait."""
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
    with peer(peers.answering_once(GOOD, announce)) as url:
        client = connect(url, timeout_s=LONG_S)
        assert [client.act(ROW) for _ in range(5)] == [1] * 5


def test_a_server_that_always_hangs_up_is_not_asked_forever(connect: Connect) -> None:
    """A request is repeated once, and only over a kept connection."""
    answers = itertools.chain([True], itertools.repeat(False))
    asked = []

    def once_then_never(connection: socket.socket, _: threading.Event) -> None:
        while connection.recv(65536):
            asked.append(True)
            if not next(answers):
                return
            connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{"action":1,"version":1}')

    with peer(once_then_never) as url:
        client = connect(url, timeout_s=LONG_S)
        assert client.act(ROW) == 1
        with pytest.raises(ServerUnreachable):
            client.act(ROW)
    assert len(asked) <= 3


def test_a_late_answer_is_not_taken_for_the_next(connect: Connect, clock: Clock) -> None:
    """After a time-out the next request has a new connection, so the old answer cannot arrive on it."""
    actions = itertools.count()
    asked_again = threading.Event()

    def late_first(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65536)
        action = next(actions)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        if action == 0:
            clock.move(LONG_S)
            connection.sendall(b"content-length: 24\r\n")  # wakes who waits
            asked_again.wait(LONG_S)
        else:
            asked_again.set()
            connection.sendall(b"content-length: 24\r\n")
        connection.sendall(b'\r\n{"action":%d,"version":1}' % action)

    with peer(late_first) as url:
        client = connect(url, timeout_s=LONG_S)
        with pytest.raises(ServerUnreachable, match="no answer within 60 s"):
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
                interrupted.wait(LONG_S)
            connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{"action":%d,"version":1}' % action)

    main = threading.get_ident()
    before: Callable[..., object] | int | None = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with peer(answer_late) as url, PolicyClient(url, timeout_s=LONG_S) as client:
            with pytest.raises(Interrupt):
                client.act(ROW)
            interrupted.set()
            assert client.act(ROW) == 1
    finally:
        signal.signal(signal.SIGUSR1, before)
