"""HTTP/2 as no gRPC client speaks it: floods, garbage and silence cost the one connection, and nobody else's."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest

from tests.bundles import linear_policy
from tests.ports import wait_for
from tests.rpc import HEALTH, INFER, LEFT, STREAM, ask, call, channel_to, infer
from tests.servers import ANSWER_S, Server, running_server, wait_until

pytestmark = pytest.mark.slow

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
ACK, END_HEADERS = 1, 4
OIP = "/inference.GRPCInferenceService"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
SOON_S = 15.0  # half as long as a call may wait for its message
CANCEL = struct.pack(">I", 8)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Half a second for a connection to begin, eight connections at once, one second for idle ones."""
    models = tmp_path_factory.mktemp("floods") / "models"
    linear_policy(models)
    options = ["--header-timeout-s", "0.5", "--max-connections", "8", "--keep-alive-s", "1"]
    with running_server(models, models.with_name("log"), "--grpc-port", "0", *options) as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@contextmanager
def connected(server: Server, preface: bytes = PREFACE) -> Iterator[socket.socket]:
    """A connection that has sent HTTP/2's preface and its empty settings."""
    assert server.grpc is not None
    host, _, port = server.grpc.rpartition(":")
    with socket.create_connection((host, int(port)), ANSWER_S) as raw:
        raw.sendall(preface + frame(SETTINGS))
        yield raw


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def head(path: str = STREAM) -> bytes:
    """The headers of a call, each as a literal."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test")]
    fields += [("content-type", "application/grpc"), ("te", "trailers")]
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in fields
    )


def flood(raw: socket.socket, frames: Iterator[bytes]) -> None:
    """Sends until the server closes the connection. TimeoutError where it does not."""
    with suppress(ConnectionError):
        for each in frames:
            raw.sendall(each)
        while raw.recv(65536):
            pass


def is_healthy(server: Server) -> bool:
    return ask(server, INFER, infer([LEFT])).code == "OK"


def test_garbage_ends_the_connection(served: Server) -> None:
    """HTTP/1.1, TLS and noise are closed without an answer that means anything."""
    for preface in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0", bytes(range(256)) * 10):
        with connected(served, preface) as raw:
            flood(raw, iter(()))
    assert is_healthy(served)


def test_a_connection_that_says_nothing_is_closed(served: Server) -> None:
    """After `--header-timeout-s`, as in HTTP."""
    assert served.grpc is not None
    host, _, port = served.grpc.rpartition(":")
    with socket.create_connection((host, int(port)), ANSWER_S) as silent:
        while silent.recv(65536):
            pass  # the server's settings come first
    assert is_healthy(served)


def test_a_flood_of_pings_is_ended(served: Server) -> None:
    """A client that pings often without sending anything else is disconnected."""
    with connected(served) as raw:
        flood(raw, (frame(PING, bytes(8)) for _ in range(100_000)))
    assert is_healthy(served)


def test_a_flood_of_calls_that_are_reset_leaves_others_alone(served: Server) -> None:
    """20,000 calls, each reset at once, grow neither the server's memory nor its streams."""
    process = psutil.Process(served.process.pid)
    before = process.memory_info().rss
    block = head()
    with connected(served) as raw:
        raw.settimeout(1.0)
        calls = (
            frame(HEADERS, block, END_HEADERS, stream) + frame(RST_STREAM, CANCEL, 0, stream)
            for stream in range(1, 40_001, 2)
        )
        with suppress(TimeoutError):  # it may go on
            flood(raw, calls)
        assert is_healthy(served)
    assert is_healthy(served)
    assert process.memory_info().rss - before < 100_000_000


@pytest.mark.parametrize(
    "path", [f"{HEALTH}/Watch", f"{HEALTH}/Check", f"{OIP}/ServerLive", f"{OIP}/ServerMetadata", REFLECT]
)
def test_calls_that_need_no_key_leave_room_for_those_who_ask(served: Server, path: str) -> None:
    """1,250 calls that send headers and no message; the server has 1,024 places."""
    block = head(path)
    with ExitStack() as stack:
        for _ in range(5):
            raw = stack.enter_context(connected(served))
            raw.sendall(b"".join(frame(HEADERS, block, END_HEADERS, stream) for stream in range(1, 501, 2)))
            raw.settimeout(ANSWER_S)
            raw.sendall(frame(PING, bytes(8)))
            read_until(raw, frame(PING, bytes(8), ACK))  # what came before it has been taken in
        # Those beyond the limit have a place until they are refused; the others keep theirs for 30 s, or for ever.
        wait_for(lambda: is_healthy(served), "a place", SOON_S)


def read_until(raw: socket.socket, wanted: bytes) -> None:
    received = b""
    while wanted not in received:
        received += raw.recv(65536)


def test_headers_without_end_are_ended(served: Server) -> None:
    """Continuations are counted against `--max-header-bytes`."""
    more = b"\0\x01a\x7f\x61" + b"x" * 10_000
    with connected(served) as raw:
        flood(raw, iter([frame(HEADERS, head(), 0, 1), *[frame(CONTINUATION, more, 0, 1)] * 2_000]))
    assert is_healthy(served)


def test_more_connections_than_allowed_are_refused(served: Server) -> None:
    """Until one of them ends; HTTP has as many of its own."""
    with ExitStack() as stack:
        channels = [stack.enter_context(channel_to(served)) for _ in range(8)]
        assert [call(channel, INFER, infer([LEFT])).action for channel in channels] == [[1]] * 8
        assert ask(served, INFER, infer(), timeout_s=5).code == "UNAVAILABLE"
    wait_until(lambda: ask(served, INFER, infer([LEFT]), timeout_s=5).code == "OK", "a connection to be free")


def test_idle_connections_are_closed_and_opened_again(served: Server) -> None:
    """After `--keep-alive-s`; the client's next call connects anew, and an open stream keeps a connection."""
    assert served.grpc is not None
    port = int(served.grpc.rpartition(":")[2])
    process = psutil.Process(served.process.pid)

    def open_connections() -> int:
        found = process.net_connections()
        return sum(one.laddr.port == port and one.status == "ESTABLISHED" for one in found)

    with channel_to(served, ("grpc.enable_retries", 1)) as channel:  # a call may meet the server's goodbye
        assert call(channel, INFER, infer([LEFT])).action == [1]
        assert open_connections() == 1
        wait_until(lambda: open_connections() == 0, "the idle connection to be closed")
        assert call(channel, INFER, infer([LEFT])).action == [1]


def test_frames_out_of_place_leave_others_alone(served: Server) -> None:
    """Data for no stream, and a goodbye in the middle of a call."""
    for frames in ([frame(DATA, b"x")], [frame(HEADERS, head(), END_HEADERS, 1), frame(GOAWAY, bytes(8))]):
        with connected(served) as raw:
            raw.settimeout(1.0)
            with suppress(TimeoutError):  # it may wait for the call's message
                flood(raw, iter(frames))
    assert is_healthy(served)
