"""HTTP/1.1 as it comes over real networks: in packets of any size, pipelined, cut short, half-closed, or garbage."""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bundles import linear_policy
from tests.servers import ACT, LANES, PROBLEM, Server, act_request, get_request, running_server, wait_until

LEFT, RIGHT = [1.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]
ACTIONS = [0, 1, 1, 0, 1]  # what the next are answered, so that an answer out of order shows
BODIES = [{"observation": LEFT if action == 0 else RIGHT} for action in ACTIONS]
KEEP_ALIVE_S = 0.3


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Closes connections that are idle for KEEP_ALIVE_S."""
    models = tmp_path_factory.mktemp("impatient") / "models"
    linear_policy(models)
    with running_server(models, models.with_name("log"), "--keep-alive-s", str(KEEP_ALIVE_S)) as server:
        yield server


@pytest.mark.parametrize("lane", LANES[:3])
def test_pipelined_requests_are_answered_in_order(linear: Server, lane: str) -> None:
    """Several requests in one packet, then their answers in the same order."""
    with linear.connect() as wire:
        wire.send(b"".join(act_request(body, lane=lane) for body in BODIES))
        assert [wire.answer().json["action"] for _ in BODIES] == ACTIONS


@pytest.mark.parametrize("pattern", ["hgh", "ghg", "hhggh", "gghhg", "hqhqh", "qhcgh", "ghqcg", "hhhhg"])
def test_both_lanes_pipelined_keep_the_order(linear: Server, pattern: str) -> None:
    """Hot requests (h), others for actions (q, c) and GETs (g) in one packet are answered as they were asked."""
    lanes = {"h": "hot", "q": "query", "c": "chunked"}
    sent: list[bytes] = []
    expected: list[object] = []
    for i, kind in enumerate(pattern):
        if kind == "g":
            sent.append(get_request("/healthz"))
            expected.append("alive")
        else:
            sent.append(act_request(BODIES[i], lane=lanes[kind]))
            expected.append(ACTIONS[i])
    with linear.connect() as wire:
        for _ in range(3):
            wire.send(b"".join(sent))
            answers = [wire.answer().json for _ in pattern]
            assert [answer.get("action", answer.get("status")) for answer in answers] == expected


def test_a_refusal_in_a_pipeline_keeps_its_place(linear: Server) -> None:
    """What is refused at once waits for the answers before it."""
    with linear.connect() as wire:
        wire.send(b"".join([act_request(BODIES[0]), act_request(b"{"), act_request(BODIES[1], path="/nowhere")]) * 5)
        assert [wire.answer().status for _ in range(15)] == [200, 400, 404] * 5


def test_a_deep_pipeline_does_not_disturb_others(linear: Server) -> None:
    """A client that sends thousands of requests before it reads an answer gets each served, in order.

    Others get theirs meanwhile, and nobody is told that the queue is full: the rest waits in the greedy one's sockets.
    """
    rounds = 2000
    packet = b"".join(act_request(body) for body in BODIES)
    with linear.connect() as greedy, linear.connect() as modest:
        sender = threading.Thread(target=greedy.send, args=(packet * rounds,), daemon=True)
        sender.start()
        for _ in range(20):
            modest.send(act_request(BODIES[1]))
            assert modest.answer().json["action"] == ACTIONS[1]
        for expected in ACTIONS * rounds:
            assert greedy.answer().json["action"] == expected
        sender.join(5)


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_packets_may_be_cut_anywhere(linear: Server, data: st.DataObject) -> None:
    """However TCP cuts a pipeline of all lanes, the answers are the same."""
    lanes = data.draw(st.lists(st.sampled_from([*LANES[:3], "get"]), min_size=1, max_size=4))
    stream = b"".join(
        get_request("/healthz") if lane == "get" else act_request(body, lane=lane)
        for lane, body in zip(lanes, BODIES, strict=False)
    )
    cuts = data.draw(st.lists(st.integers(1, len(stream) - 1), max_size=8, unique=True).map(sorted))
    with linear.connect() as wire:
        for start, end in pairwise([0, *cuts, len(stream)]):
            wire.send(stream[start:end])
        answers = [wire.answer().json for _ in lanes]
    expected = ["alive" if lane == "get" else action for lane, action in zip(lanes, ACTIONS, strict=False)]
    assert [answer.get("action", answer.get("status")) for answer in answers] == expected


def test_a_request_byte_by_byte_is_answered(linear: Server) -> None:
    """Every byte may come in a packet of its own."""
    with linear.connect() as wire:
        for byte in act_request(BODIES[1]):
            wire.send(bytes([byte]))
        assert wire.answer().json["action"] == ACTIONS[1]


@pytest.mark.parametrize("lane", LANES)
def test_a_connection_is_kept(linear: Server, lane: str) -> None:
    """One connection serves any number of requests, good and bad."""
    with linear.connect() as wire:
        for body, status in [(b"{", 400), (b'{"observation": [1,2,3,4]}', 200), (b"{}", 400)] * 5:
            wire.send(act_request(body, lane=lane))
            answer = wire.answer()
            assert answer.status == status
            assert "connection" not in answer.headers


@pytest.mark.parametrize("lane", LANES)
def test_connection_close_is_obeyed(linear: Server, lane: str) -> None:
    """After `connection: close` comes the answer, with the same header, and the end."""
    with linear.connect() as wire:
        wire.send(act_request(BODIES[0], lane=lane, headers=["Connection: close"]))
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert wire.rest() == b""


@pytest.mark.parametrize("before", ["hot", "query"])
@pytest.mark.parametrize("after", ["hot", "query"])
def test_nothing_is_answered_after_connection_close(linear: Server, before: str, after: str) -> None:
    """A request that follows `connection: close` in the same packet gets no answer; those before it do."""
    with linear.connect() as wire:
        closing = act_request(BODIES[1], lane=before, headers=["connection: close"])
        wire.send(act_request(BODIES[0], lane=after) + closing + act_request(BODIES[0], lane=after))
        assert [wire.answer().json["action"] for _ in range(2)] == ACTIONS[:2]
        assert wire.rest() == b""


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS, spoken to a plain port
        b"HELO example.org\r\n\r\n",
        b"POST\r\n\r\n",
        b"POST " + ACT.encode() + b" HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST " + ACT.encode() + b" HTTP/1.1\r\ncontent-length: ten\r\n\r\n",
        b"POST " + ACT.encode() + b" HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST " + ACT.encode() + b" HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST " + ACT.encode() + b" HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        b"POST " + ACT.encode() + b" HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"POST " + ACT.encode() + b" HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"POST " + ACT.encode() + b" HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",  # without a host
        b"GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    ],
    ids=lambda garbage: repr(garbage[-28:]),
)
def test_garbage_is_answered_400_and_closed(linear: Server, garbage: bytes) -> None:
    """What is not HTTP/1.1 gets a problem and the end of the connection, with what came before it answered."""
    with linear.connect() as wire:
        wire.send(act_request(BODIES[0]) + garbage)
        assert wire.answer().json["action"] == ACTIONS[0]
        answer = wire.answer()
        assert (answer.status, answer.headers["content-type"]) == (400, PROBLEM)
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b""


def test_garbage_after_a_get_does_not_take_its_answer(linear: Server) -> None:
    """The answers that are due come first, whichever lane owes them."""
    with linear.connect() as wire:
        wire.send(get_request("/healthz") + b"\x00\x01\x02\x03\r\n\r\n")
        assert [wire.answer().status, wire.answer().status] == [200, 400]


def test_a_url_that_is_not_ascii_is_no_server_error(linear: Server) -> None:
    """Bytes that no URL may hold are 400 or 404."""
    assert linear.ask("GET /v1/policies/caf\xe9 HTTP/1.1\r\nhost: test\r\n\r\n".encode("latin-1")).status in (400, 404)


@pytest.mark.parametrize(
    "part",
    [b"POST ", act_request(BODIES[0])[:60], act_request(BODIES[0])[:-3], act_request(BODIES[0], lane="chunked")[:-9]],
    ids=["in the line", "in the headers", "in the body", "in a chunk"],
)
def test_a_client_that_leaves_mid_request_disturbs_nobody(linear: Server, part: bytes) -> None:
    """Connections that end anywhere in a request leave the others' answers alone."""
    logged_before = linear.log.stat().st_size
    with linear.connect() as staying:
        for _ in range(10):
            with linear.connect() as leaving:
                leaving.send(part)
            staying.send(act_request(BODIES[1]))
            assert staying.answer().json["action"] == ACTIONS[1]
    assert b"Traceback" not in linear.log.read_bytes()[logged_before:]


@pytest.mark.parametrize("lane", LANES)
def test_a_client_that_leaves_before_its_answer_disturbs_nobody(linear: Server, lane: str) -> None:
    """A whole request whose sender is gone when the answer is ready: nothing is logged as a fault."""
    logged_before = linear.log.stat().st_size
    with linear.connect() as staying:
        for _ in range(10):
            with linear.connect() as leaving:
                leaving.send(act_request(BODIES[0], lane=lane) * 3)
            staying.send(act_request(BODIES[1]))
            assert staying.answer().json["action"] == ACTIONS[1]
    assert b"Traceback" not in linear.log.read_bytes()[logged_before:]


@pytest.mark.parametrize("lane", LANES)
def test_a_half_closed_peer_gets_its_answers(linear: Server, lane: str) -> None:
    """A client that has said all it will say (`printf … | nc -N`) is answered, then the connection ends."""
    with linear.connect() as wire:
        wire.send(act_request(BODIES[0], lane=lane) + act_request(BODIES[1], lane=lane))
        wire.half_close()
        assert [wire.answer().json["action"] for _ in range(2)] == ACTIONS[:2]
        assert wire.rest() == b""


@pytest.mark.parametrize(
    "headers", [["connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABk"]]
)
def test_an_offer_to_upgrade_may_be_ignored(linear: Server, headers: list[str]) -> None:
    """Clients that offer HTTP/2 in the clear are answered over HTTP/1.1, and their next request, too."""
    with linear.connect() as wire:
        wire.send(act_request(BODIES[0], headers=headers))
        assert wire.answer().json["action"] == ACTIONS[0]
        wire.send(act_request(BODIES[1]))
        assert wire.answer().json["action"] == ACTIONS[1]


def test_expect_continue_is_told_to_continue(linear: Server) -> None:
    """A client that waits for `100 Continue` before it sends its body gets it."""
    head, _, body = act_request(BODIES[0], lane="expect").partition(b"\r\n\r\n")
    with linear.connect() as wire:
        wire.send(head + b"\r\n\r\n")
        assert wire.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(body)
        assert wire.answer().json["action"] == ACTIONS[0]


def test_http_1_0_is_answered_and_closed(linear: Server) -> None:
    """An old client gets its action and the end."""
    with linear.connect() as wire:
        wire.send(act_request(BODIES[0]).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert wire.answer().json["action"] == ACTIONS[0]
        assert wire.rest() == b""


@pytest.mark.parametrize(
    "request_bytes",
    [act_request(BODIES[0]), act_request(BODIES[0], lane="query"), get_request("/healthz"), act_request(b"{")],
    ids=["hot", "asgi", "get", "refused"],
)
def test_an_idle_connection_is_closed(impatient: Server, request_bytes: bytes) -> None:
    """Once answered and silent for `--keep-alive-s`, a connection ends."""
    with impatient.connect() as wire:
        wire.send(request_bytes)
        wire.answer()
        assert wire.rest() == b""


def test_a_connection_that_never_asks_is_closed(impatient: Server) -> None:
    """Idle from the start is idle: such connections would use up the server's file descriptors."""
    with impatient.connect() as wire:
        assert wire.rest() == b""


@pytest.mark.slow
@pytest.mark.parametrize(
    "request_bytes",
    [act_request({"observations": [LEFT] * 4000}), get_request("/v1/policies/linear") * 50],
    ids=["hot", "asgi"],
)
def test_who_takes_no_answers_is_not_waited_for(impatient: Server, request_bytes: bytes) -> None:
    """A peer that asks, and reads nothing of what it is sent, loses its connection like one that is idle."""
    process = psutil.Process(impatient.process.pid)
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect((impatient.host, impatient.port))
        peer.setblocking(False)
        port = peer.getsockname()[1]
        with suppress(OSError):
            while select.select([], [peer], [], KEEP_ALIVE_S / 2)[1]:
                peer.send(request_bytes)

        def is_gone() -> bool:
            return all(held.raddr.port != port for held in process.net_connections("tcp") if held.raddr)

        wait_until(is_gone, "the connection to be closed")
    assert impatient.ask(act_request(BODIES[0])).status == 200


@pytest.mark.parametrize("lanes", [("hot",), ("query",), ("hot", "query"), ("query", "hot")], ids="-".join)
def test_a_connection_in_use_is_not_idle(impatient: Server, lanes: tuple[str, ...]) -> None:
    """Pauses shorter than `--keep-alive-s` between requests never end a connection, whichever lanes they take.

    Each lane is taken once, then the last one is kept to.
    """
    with impatient.connect() as wire:
        for lane in [*lanes, *lanes[-1:] * 5]:
            wire.send(act_request(BODIES[0], lane=lane))
            assert wire.answer().status == 200
            assert not select.select([wire.socket], [], [], KEEP_ALIVE_S / 3)[0], f"closed after {lane}"


def test_a_url_that_cannot_be_parsed_is_answered_and_closed(linear: Server) -> None:
    """400 and the end, alone and behind other requests; the server still stops at once (as the fixture checks)."""
    bad = b"GET http://a:99999/ HTTP/1.1\r\nhost: test\r\n\r\n"
    for before, answers in ((b"", 0), (get_request("/healthz"), 1), (act_request(BODIES[0]), 1)):
        with linear.connect() as wire:
            wire.send(before + bad)
            statuses = [wire.answer().status for _ in range(answers + 1)]
            assert statuses == [200] * answers + [400]
            assert wire.rest() == b""


@pytest.mark.parametrize("piece", [b"x" * 40_000, b"a: b\r\n" * 7000], ids=["one header", "many headers"])
def test_headers_without_end_are_refused(linear: Server, piece: bytes) -> None:
    """A client cannot fill the server's memory with headers that never end."""
    with linear.connect() as wire:
        wire.send(b"POST " + ACT.encode() + b" HTTP/1.1\r\nlong: ")
        received = b""
        for _ in range(50):
            try:
                wire.send(piece)
            except ConnectionError:
                break
        with suppress(ConnectionError):
            received = wire.rest()
        assert received == b"" or received.startswith(b"HTTP/1.1 431 ")
    assert linear.ask(act_request(BODIES[0])).status == 200


def test_a_content_length_with_thousands_of_zeros_is_no_server_error(linear: Server) -> None:
    """Python refuses to read such a number; the request is answered all the same."""
    head, _, body = act_request(BODIES[0], lane="query").partition(b"\r\n\r\n")
    length = b"content-length: %d" % len(body)
    padded = head.replace(length, b"content-length: " + b"0" * 5000 + b"%d" % len(body))
    assert linear.ask(padded + b"\r\n\r\n" + body).status in (200, 400)


def test_head_leaves_nothing_between_two_answers(linear: Server) -> None:
    """On a kept connection the next answer begins where the headers end, whatever length they tell."""
    with linear.connect() as wire:
        wire.send(get_request("/healthz", method="HEAD") + get_request("/readyz") + act_request(BODIES[1]))
        wire.half_close()
        heads = [part.partition(b"\r\n\r\n") for part in wire.rest().split(b"HTTP/1.1 200 OK\r\n")]
    assert [body for _, _, body in heads] == [b"", b"", b'{"status":"ready"}', b'{"action":1,"version":1}']


@pytest.mark.skipif(not shutil.which("wget"), reason="needs wget")
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/policies"])
def test_wget_finds_the_server(linear: Server, path: str) -> None:
    """A probe that asks only whether there is something, as `wget --spider` does."""
    subprocess.run(["wget", "--spider", "--quiet", "--tries=1", f"{linear.url}{path}"], check=True)
