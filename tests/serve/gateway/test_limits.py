"""What one caller may take of a server: time, bytes, rows, connections, places in the queue."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.bundles import linear_policy
from tests.servers import (
    ACT,
    LANES,
    OCTETS,
    PROBLEM,
    Server,
    Wire,
    act_request,
    get_request,
    running_server,
    wait_until,
)

pytestmark = pytest.mark.slow

BODY = {"observation": [1, 0, 0, 0]}
BIG = np.zeros((6000, 4), "<f4").tobytes()  # 96 kB


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Gives a request 0.3 s for its headers and as much for its body."""
    models = tmp_path_factory.mktemp("hasty") / "models"
    linear_policy(models)
    options = ["--header-timeout-s", "0.3", "--body-timeout-s", "0.3"]
    with running_server(models, models.with_name("log"), *options) as server:
        yield server


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Takes three connections, 150 kB of large bodies, 4 kB of headers and 8 kB of JSON."""
    models = tmp_path_factory.mktemp("narrow") / "models"
    linear_policy(models)
    options = ["--max-connections", "3", "--max-buffered-bytes", "150000", "--max-header-bytes", "4096"]
    options += ["--max-json-bytes", "8192", "--max-rows", "10000"]
    with running_server(models, models.with_name("log"), *options) as server:
        yield server


def drip(wire: Wire, data: bytes) -> None:
    """Sends byte after byte until the server has had enough."""
    for byte in data:
        try:
            wire.send(bytes([byte]))
        except ConnectionError:
            return
        if threading.Event().wait(0.02):
            return


@pytest.mark.parametrize(
    ("connections", "request_", "status", "most_mb"),
    [
        (40, act_request(bytes(2_000_001), media_type=OCTETS), 422, 40),
        (100, act_request(bytes(200_000), path="/nowhere", media_type=OCTETS), 404, 10),
    ],
    ids=["hot", "not read by the application"],
)
def test_an_idle_connection_keeps_nothing_of_its_last_body(
    linear: Server, connections: int, request_: bytes, status: int, most_mb: int
) -> None:
    """The memory of bodies is given back with their answers, not when connections close."""
    memory = psutil.Process(linear.process.pid).memory_info
    with ExitStack() as stack:
        wires = [stack.enter_context(linear.connect()) for _ in range(connections + 3)]
        for wire in wires[:3]:
            wire.send(request_)
            assert wire.answer().status == status
        before = memory().rss
        for wire in wires[3:]:
            wire.send(request_)
            assert wire.answer().status == status
        assert memory().rss - before < most_mb * 1e6  # kept, they would take more than twice as much


@pytest.mark.parametrize("lane", LANES)
def test_a_body_that_does_not_come_is_408(hasty: Server, lane: str) -> None:
    """The answers that are due come first, then the problem and the end, by either lane alike."""
    with hasty.connect() as wire:
        wire.send(act_request(BODY) + act_request(BODY, lane=lane)[:-3])
        assert wire.answer().status == 200
        answer = wire.answer()
        assert (answer.status, answer.headers["content-type"]) == (408, PROBLEM)
        assert answer.headers["connection"] == "close"
        assert answer.detail == "body: expected their end within 0.3 s of their beginning."
        assert wire.rest() == b""


@pytest.mark.parametrize("request_bytes", [act_request(BODY), get_request("/healthz", "a: " + "b" * 80)])
def test_headers_that_drip_are_408(hasty: Server, request_bytes: bytes) -> None:
    """A byte now and then does not keep a connection: what counts is when the request began."""
    with hasty.connect() as wire:
        drip(wire, request_bytes[:60])
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.detail.startswith("headers: ")


def test_every_request_has_its_own_time(hasty: Server) -> None:
    """A connection on which every packet ends within the next request is none that is slow."""
    request = act_request(BODY)
    with hasty.connect() as wire:
        wire.send(request[:-5])
        for _ in range(10):
            assert not threading.Event().wait(0.1)
            wire.send(request[-5:] + request[:-5])
            assert wire.answer().status == 200


def test_a_slow_body_that_was_refused_gets_no_second_answer(hasty: Server) -> None:
    """A body over the limit is 413 at once; that its rest never comes only ends the connection."""
    head = f"POST {ACT} HTTP/1.1\r\nhost: test\r\ncontent-length: 99999999\r\n\r\n".encode()
    with hasty.connect() as wire:
        wire.send(head + b"{")
        assert wire.answer().status == 413
        assert wire.rest() == b""


def test_a_body_that_was_not_asked_for_does_not_swallow_the_next_request(linear: Server) -> None:
    """Who is refused before `100 Continue` may or may not send its body: the connection ends, so that none is taken
    for the other.
    """
    lines = [f"POST {ACT} HTTP/1.1", "host: test", "expect: 100-continue", "content-length: 99999999"]
    with linear.connect() as wire:
        wire.send("\r\n".join([*lines, "", ""]).encode())
        assert wire.answer().status == 413
        assert wire.rest() == b""


@pytest.mark.parametrize("path", [ACT, f"{ACT}?x=1", "/healthz"])
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "in pieces"])
def test_headers_over_the_limit_are_431(narrow: Server, path: str, at_once: bool) -> None:
    """By whichever lane the request would have gone, and however it is cut."""
    head = f"POST {path} HTTP/1.1\r\nhost: test\r\nlong: ".encode() + b"x" * 12_000
    with narrow.connect() as wire:
        wire.send(act_request(BODY))
        for piece in [head] if at_once else [head[i : i + 1000] for i in range(0, 12_000, 1000)]:
            wire.send(piece)
        assert wire.answer().status == 200
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (431, "close")
        assert "4096 bytes" in answer.detail


@pytest.mark.parametrize("behind", [0, 1, 100, 2000, 3900])
@pytest.mark.parametrize("path", [ACT, f"{ACT}?x=1", "/readyz", "/elsewhere"])
def test_headers_are_counted_to_the_byte(narrow: Server, path: str, behind: int) -> None:
    """Wherever the request begins in what the connection sent."""
    before = act_request(BODY, headers=[f"before: {'x' * behind}"])
    bare = f"POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\nlong: \r\n\r\n"
    statuses = []
    for spare in (0, -1):
        filled = bare.replace("long: ", "long: " + "x" * (4096 - len(bare) - spare))
        with narrow.connect() as wire:
            wire.send(before + filled.encode())
            statuses += [wire.answer().status for _ in range(2)]
    assert statuses[0] == statuses[2] == 200
    assert statuses[1] != statuses[3] == 431


def test_trailers_are_not_kept(linear: Server) -> None:
    """Headers behind a chunked body, which no limit counts, leave nothing behind."""
    request = act_request(BODY, lane="chunked")
    trailers = b"".join(b"x-%d: y\r\n" % i for i in range(20_000))
    with linear.connect() as wire:
        wire.send(request[:-2] + trailers + b"\r\n" + act_request(BODY))
        assert [wire.answer().status for _ in range(2)] == [200, 200]


def test_one_connection_too_many_is_503(narrow: Server) -> None:
    """It is told when to come back, whatever it is sending; a place that becomes free is given again."""
    with narrow.connect() as first, narrow.connect() as second:
        with narrow.connect() as third:
            for wire in (first, second, third):
                wire.send(act_request(BODY))
                assert wire.answer().status == 200
            for sent in (b"", act_request(BODY), act_request(b"0" * 12_000_000)):
                with narrow.connect() as fourth:
                    fourth.send(sent)
                    answer = fourth.answer()
                    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                    assert fourth.rest() == b""
            third.send(act_request(BODY))
            assert third.answer().status == 200

        def served() -> bool:
            with narrow.connect() as wire:
                wire.send(act_request(BODY))
                return wire.answer().status == 200

        wait_until(served, "a place to become free")


@pytest.mark.parametrize("lane", ["hot", "query", "chunked"])
def test_large_bodies_are_bounded_over_all_connections(narrow: Server, lane: str) -> None:
    """While one is being read, another that would exceed what the server may hold is 429; afterwards it is served."""
    request = act_request(BIG, media_type=OCTETS, lane=lane)
    with narrow.connect() as first, narrow.connect() as second:
        first.send(act_request(BIG, media_type=OCTETS)[:-1])
        first_is_read = get_request("/healthz")
        second.send(first_is_read)
        second.answer()
        second.send(request)
        answer = second.answer()
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        first.send(b"\0")
        assert first.answer().status == 200
        second.send(act_request(BIG, media_type=OCTETS))
        assert second.answer().status == 200


@pytest.mark.parametrize("authorization", ["", "authorization: Bearer wrong"], ids=["none", "wrong"])
def test_large_bodies_of_strangers_take_up_no_room(tmp_path: Path, log: Path, authorization: str) -> None:
    """Who has no key cannot keep those who have one from sending large bodies, and is refused at its body's end."""
    linear_policy(tmp_path / "models")
    (tmp_path / "keys").write_text("key\n")
    options = ["--api-keys", str(tmp_path / "keys"), "--max-buffered-bytes", "150000", "--max-rows", "10000"]
    strange = act_request(BIG, media_type=OCTETS, headers=[authorization] if authorization else [])
    request = act_request(BIG, media_type=OCTETS, headers=["authorization: Bearer key"])
    with (
        running_server(tmp_path / "models", log, *options) as server,
        server.connect() as stranger,
        server.connect() as caller,
    ):
        stranger.send(strange[:-1])
        caller.send(get_request("/healthz"))  # answered once the stranger's bytes are read
        assert caller.answer().status == 200
        caller.send(request)
        assert caller.answer().status == 200
        stranger.send(strange[-1:])
        assert stranger.answer().status == (403 if authorization else 401)


def test_a_large_body_that_is_cut_short_is_forgotten(narrow: Server) -> None:
    """Its bytes count no more, whichever lane it came by."""
    for lane in ("hot", "query"):
        with narrow.connect() as leaving:
            leaving.send(act_request(BIG, media_type=OCTETS, lane=lane)[:-1])

        def served() -> bool:
            return narrow.ask(act_request(BIG, media_type=OCTETS)).status == 200

        wait_until(served, "the server to forget the body")


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("media_type", ["application/json", OCTETS])
def test_too_many_rows_are_413(linear: Server, lane: str, media_type: str) -> None:
    """4,096 observations are served, one more is not; the problem says how many may come."""
    for rows, status in ((4096, 200), (4097, 413)):
        body = np.zeros((rows, 4), "<f4").tobytes() if media_type == OCTETS else {"observations": [[0, 0, 0, 0]] * rows}
        answer = linear.ask(act_request(body, lane=lane, media_type=media_type))
        assert answer.status == status
    assert answer.detail == "observations: expected at most 4096 rows, got 4097; send several requests."


@pytest.mark.parametrize("lane", LANES)
def test_many_rows_are_refused_before_they_are_read(linear: Server, lane: str) -> None:
    """What has far too many values costs no more than counting them, sound or not."""
    for value in (0, "x"):
        answer = linear.ask(act_request({"observations": [[value] * 4] * 30_000}, lane=lane))
        assert (answer.status, answer.headers["content-type"]) == (413, PROBLEM)
        assert "4096" in answer.detail


@pytest.mark.parametrize("lane", LANES)
def test_more_json_than_may_be_is_413(narrow: Server, lane: str) -> None:
    """The limit of JSON is lower than that of raw bytes, and the problem says so."""
    answer = narrow.ask(act_request(b" " * 8193, lane=lane))
    assert answer.status == 413
    assert "8192 bytes of JSON" in answer.detail
    assert narrow.ask(act_request(BIG, lane=lane, media_type=OCTETS)).status == 200


@pytest.mark.parametrize("lane", ["hot", "query"])
def test_what_a_half_closed_peer_sent_ahead_is_answered(linear: Server, lane: str) -> None:
    """Far more pipelined requests than may be in flight, then the end of sending: an answer to each."""
    count = 500
    with linear.connect() as wire:
        wire.send(act_request(BODY, lane=lane) * count)
        wire.half_close()
        assert [wire.answer().status for _ in range(count)] == [200] * count
        assert wire.rest() == b""


def test_a_full_table_of_files_is_survived(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Connections that the system has no room for wait or end; those that are served go on, and so do later ones."""
    models = tmp_path_factory.mktemp("files") / "models"
    linear_policy(models)
    with running_server(models, models.with_name("log")) as server, server.connect() as staying:
        staying.send(act_request(BODY))
        assert staying.answer().status == 200
        process = psutil.Process(server.process.pid)
        files = process.num_fds() + 3
        process.rlimit(psutil.RLIMIT_NOFILE, (files, files))
        more = [server.connect() for _ in range(10)]
        for _ in range(20):
            staying.send(act_request(BODY))
            assert staying.answer().status == 200
        for wire in more:
            wire.socket.close()

        def served() -> bool:
            with server.connect() as wire:
                wire.send(act_request(BODY))
                try:
                    return wire.answer().status == 200
                except OSError:
                    return False

        wait_until(served, "a file to become free")


@pytest.mark.parametrize(
    "request_bytes", [act_request(BODY), act_request(BODY, lane="query"), get_request("/v1/policies/linear")]
)
def test_who_does_not_read_is_soon_not_read_from(linear: Server, request_bytes: bytes) -> None:
    """A client that asks on and on without reading an answer is taken some megabytes from, and then no more."""
    packet = memoryview(request_bytes * 2000)
    taken = 0
    with linear.connect() as wire, linear.connect() as other:
        wire.socket.setblocking(False)
        while select.select([], [wire.socket], [], 0.5)[1] and taken < 50_000_000:
            taken += wire.socket.send(packet[taken % len(packet) :])
        assert taken < 20_000_000
        other.send(act_request(BODY))
        assert other.answer().status == 200
    wait_until(lambda: linear.ask(act_request(BODY)).status == 200, "the server to go on")
    assert "Traceback" not in linear.log.read_text()


@pytest.mark.parametrize("options", [["--max-in-flight", "1"], ["--max-in-flight", "2"]], ids="".join)
def test_few_requests_in_flight_are_enough(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Pipelines of both lanes, whole or byte by byte, end well however few requests may be in flight."""
    models = tmp_path_factory.mktemp("few") / "models"
    linear_policy(models)
    lanes = ["hot", "query", "chunked", "hot", "hot", "expect", "hot", "query", "query", "hot"]
    packet = b"".join(
        act_request({"observation": [1 - 2 * (i % 2), 0, 0, 0]}, lane=lane) for i, lane in enumerate(lanes)
    )
    with running_server(models, models.with_name("log"), *options) as server, server.connect() as wire:
        for _ in range(20):
            wire.send(packet)
        assert [wire.answer().json["action"] for _ in range(200)] == [0, 1] * 100
        for byte in packet:
            wire.send(bytes([byte]))
        assert [wire.answer().json["action"] for _ in lanes] == [0, 1] * 5
