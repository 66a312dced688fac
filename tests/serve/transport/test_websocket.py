"""A WebSocket to a policy: every frame is answered, in order, as the same request would be by POST."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.bundles import BIAS, WEIGHTS, linear_policy
from tests.in_process import masked_frame
from tests.serve.conftest import KEY
from tests.servers import ANSWER_S, Server, act_request, get_request, read_metrics, running_server, wait_until

STREAM = "/v1/policies/linear/stream"
ROWS = np.random.default_rng(5).normal(size=(300, 4)).astype(np.float32)
EXPECTED = (ROWS @ WEIGHTS + BIAS).argmax(axis=1).tolist()


def open_stream(server: Server, path: str = STREAM, **options: Any) -> ClientConnection:
    opened: ClientConnection = connect(
        f"ws://{server.host}:{server.port}{path}", open_timeout=ANSWER_S, compression=None, **options
    )
    return opened


@pytest.fixture
def stream(linear: Server) -> Iterator[ClientConnection]:
    with open_stream(linear) as opened:
        yield opened


@pytest.mark.parametrize(
    "body",
    [
        {"observation": ROWS[0].tolist()},
        {"observations": ROWS[:7].tolist(), "outputs": ["q_values"]},
        {"observation": [0, 0, 0, 0], "explore": {"epsilon": 1.0}, "seed": 3},
        {"observation": [1, 2, 3]},
        {"observation": [1, 2, 3, float("nan")]},
        {"observation": [0, 0, 0, 0], "color": 1},
        {"observation": [0, 0, 0, 0], "version": 9},
        "no object",
    ],
    ids=["one", "several", "explore", "short", "NaN", "unknown field", "version", "no object"],
)
def test_a_text_frame_is_answered_as_a_post(linear: Server, stream: ClientConnection, body: Any) -> None:
    """The same bytes, whether actions or a problem, and the connection stays."""
    text = json.dumps(body)
    posted = linear.ask(act_request(text.encode())).body
    for _ in range(2):
        stream.send(text)
        assert stream.recv(ANSWER_S) == posted.decode()


def test_frames_may_follow_the_handshake_at_once(linear: Server) -> None:
    """Who does not wait for the server's part of it loses none, however many come in the same packet."""
    handshake = get_request(
        STREAM,
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    frames = b"".join(masked_frame(0x82, row.tobytes()) for row in ROWS)
    with linear.connect() as wire:
        wire.send(handshake + frames)
        received = b""
        while len(received.partition(b"\r\n\r\n")[2]) < 10 * len(ROWS):
            data = wire.socket.recv(65536)
            assert data, received
            received += data
    head, _, answers = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert [answers[at + 2] for at in range(0, len(answers), 10)] == EXPECTED


def test_binary_frames_are_raw_rows(stream: ClientConnection) -> None:
    """One row or several give raw actions; what fits no rows is a problem in a text frame."""
    for n in (1, 7, 300):
        stream.send(ROWS[:n].tobytes())
        assert np.frombuffer(stream.recv(ANSWER_S, decode=False), "<i8").tolist() == EXPECTED[:n]
    stream.send(b"12345")
    assert json.loads(stream.recv(ANSWER_S))["status"] == 422
    stream.send(ROWS[0].tobytes())
    assert len(stream.recv(ANSWER_S)) == 8


def test_a_fragmented_message_is_one(stream: ClientConnection) -> None:
    """However a client cuts it."""
    text = json.dumps({"observation": ROWS[0].tolist()})
    stream.send(iter([text[:5], text[5:30], text[30:]]))
    assert json.loads(stream.recv(ANSWER_S))["action"] == EXPECTED[0]


def test_answers_come_in_the_order_of_the_frames(linear: Server) -> None:
    """Far more frames at once than may be in flight, refused ones among them, none lost, none overtaken."""
    with open_stream(linear) as stream:
        for i in range(2000):
            if i % 10 == 9:
                stream.send("{")
            else:
                stream.send(ROWS[i % 300].tobytes())
        for i in range(2000):
            answer = stream.recv(ANSWER_S, decode=False)
            if i % 10 == 9:
                assert json.loads(answer)["status"] == 400
            else:
                assert np.frombuffer(answer, "<i8").tolist() == [EXPECTED[i % 300]]


def test_streams_are_counted(linear: Server) -> None:
    """Open ones as a gauge, frames by kind; their actions among all actions."""

    def count(name: str, **labels: str) -> float:
        text = linear.ask(get_request("/metrics")).body.decode()
        wanted = name + "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "} "
        return sum(float(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))

    wait_until(lambda: count("rlway_streams", policy="linear") == 0, "no stream is open")
    before = count("rlway_stream_frames_total", kind="binary", policy="linear")
    actions = read_metrics(linear)["rlway_actions_total", "linear", "1"]
    with open_stream(linear) as stream:
        stream.send(ROWS[:3].tobytes())
        stream.recv(ANSWER_S)
        assert count("rlway_streams", policy="linear") == 1
        assert count("rlway_stream_frames_total", kind="binary", policy="linear") == before + 1
        assert read_metrics(linear)["rlway_actions_total", "linear", "1"] == actions + 3
    wait_until(lambda: count("rlway_streams", policy="linear") == 0, "the stream's end is counted")


def test_a_stream_wants_the_key_and_a_known_policy(strict: Server) -> None:
    """401 without a key, 403 with a wrong one, 404 for another name, 400 for what is no handshake."""
    for headers, status in (({}, 401), ({"authorization": "Bearer wrong-horse"}, 403)):
        with pytest.raises(InvalidStatus) as refused:
            open_stream(strict, additional_headers=headers)
        response = refused.value.response
        assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
        assert json.loads(response.body or b"")["status"] == status
    right = {"authorization": f"Bearer {KEY}"}
    with pytest.raises(InvalidStatus) as refused:
        open_stream(strict, "/v1/policies/nobody/stream", additional_headers=right)
    assert refused.value.response.status_code == 404
    assert strict.ask(get_request(STREAM, f"authorization: Bearer {KEY}")).status == 400
    with open_stream(strict, additional_headers=right) as stream:
        stream.send(ROWS[0].tobytes())
        assert len(stream.recv(ANSWER_S)) == 8


def test_a_message_that_is_too_large_ends_the_stream(strict: Server) -> None:
    """Over `--max-body-bytes`: close code 1009, and the server goes on."""
    with open_stream(strict, additional_headers={"authorization": f"Bearer {KEY}"}) as stream:
        stream.send(bytes(2001))
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(ANSWER_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    assert strict.ask(get_request("/healthz")).status == 200


def test_pages_of_other_origins_may_not_open_a_stream(linear: Server) -> None:
    """Browsers leave that to the server; its own pages may."""
    with pytest.raises(InvalidStatus) as refused:
        open_stream(linear, origin="http://elsewhere.example")
    assert refused.value.response.status_code == 403
    with open_stream(linear, origin=f"http://{linear.host}:{linear.port}") as stream:
        stream.send(ROWS[0].tobytes())
        assert len(stream.recv(ANSWER_S)) == 8


def test_what_is_no_frame_ends_the_stream(linear: Server) -> None:
    """A protocol error is closed with 1002; a ping is answered; the server goes on."""
    with open_stream(linear) as stream:
        assert stream.ping().wait(ANSWER_S)
        stream.socket.sendall(b"\xff\xff")
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(ANSWER_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1002
    assert linear.ask(get_request("/healthz")).status == 200


@pytest.mark.slow
def test_a_stop_answers_what_was_asked_and_goes_away(tmp_path: Path, log: Path) -> None:
    """SIGTERM: the frames asked are answered, then 1001, and the server ends well."""
    linear_policy(tmp_path / "models")
    with running_server(tmp_path / "models", log) as server, open_stream(server) as stream, open_stream(server) as idle:
        for row in ROWS[:50]:
            stream.send(row.tobytes())
        answers = [stream.recv(ANSWER_S)]
        assert server.stop() == 0
        assert "websockets" not in log.read_text()  # a line for every connection would fill it
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                answers.append(stream.recv(ANSWER_S))
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert 1 <= len(answers) <= 50
        assert all(len(answer) == 8 for answer in answers)
        with pytest.raises(ConnectionClosed) as closed:
            idle.recv(ANSWER_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
