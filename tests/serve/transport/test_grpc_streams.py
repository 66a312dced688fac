"""Streams of requests over gRPC: in order, pipelined, and open for as long as the client likes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.bundles import linear_policy, q_network_policy
from tests.rpc import (
    INFER,
    LEFT,
    RIGHT,
    STREAM,
    Talk,
    call,
    call_with,
    channel_to,
    infer,
    open_streams,
    read_streamed,
)
from tests.servers import ANSWER_S, Server, read_metrics, running_server, wait_until


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A policy that answers at once and one that takes longer; half a second for a message to arrive."""
    models = tmp_path_factory.mktemp("grpc-streams") / "models"
    linear_policy(models)
    q_network_policy(models, "slow", (2048, 2048, 2048))
    with running_server(models, models.with_name("log"), "--grpc-port", "0", "--body-timeout-s", "0.5") as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
def channel(served: Server) -> Iterator[grpc.Channel]:
    with channel_to(served) as connected:
        yield connected


def test_a_stream_answers_in_order_and_outlives_bad_messages(channel: grpc.Channel) -> None:
    """Requests may be sent ahead; each has one answer, and an error is one of them."""
    messages = [infer([LEFT], id="0"), b"\xff", infer([[1.0]], id="2"), infer([RIGHT], model="none"), infer(id="4")]
    answers = [read_streamed(answer) for answer in channel.stream_stream(STREAM)(iter(messages), ANSWER_S)]
    assert [answer.infer_response.id for answer in answers] == ["0", "", "", "", "4"]
    assert [bool(answer.error_message) for answer in answers] == [False, True, True, True, False]
    assert answers[1].error_message == "message: expected a ModelInferRequest, got other bytes."


def test_many_requests_may_be_sent_ahead(channel: grpc.Channel) -> None:
    """Reading pauses beyond `--max-in-flight`; no answer is lost."""
    messages = [infer([LEFT if i % 3 else RIGHT], model="slow" if i == 1 else "linear", id=str(i)) for i in range(500)]
    answers = [read_streamed(answer) for answer in channel.stream_stream(STREAM)(iter(messages), ANSWER_S)]
    assert [answer.infer_response.id for answer in answers] == [str(i) for i in range(500)]


def test_an_idle_stream_stays_open(served: Server, channel: grpc.Channel) -> None:
    """A robot may wait longer between two steps than a message may take; open streams are counted."""
    talk = Talk(channel)
    talk.send(infer([LEFT]))
    assert not read_streamed(talk.receive()).error_message
    assert open_streams(served) == 1
    slow = call_with(channel, INFER, iter(never_within(1.0)))  # takes as long as a message may take
    assert slow.code == "DEADLINE_EXCEEDED"
    talk.send(infer([LEFT]))
    assert not read_streamed(talk.receive()).error_message
    talk.end()
    assert list(talk.call) == []
    wait_until(lambda: open_streams(served) == 0, "no open stream")


def test_a_client_that_reads_late_holds_no_part_of_the_body_budget(tmp_path: Path, log: Path) -> None:
    """Its large messages are answered and gone, so others are served; and when it leaves, nobody is alarmed."""
    linear_policy(tmp_path / "models")
    large = infer([LEFT] * 4096)
    options = ["--grpc-port", "0", "--max-buffered-bytes", "300000", "--max-in-flight", "4"]
    with (
        running_server(tmp_path / "models", log, *options) as server,
        channel_to(server, ("grpc.http2.bdp_probe", 0)) as late,
        channel_to(server) as other,
    ):
        talk = Talk(late)
        for _ in range(600):  # more answers than the connection holds
            talk.send(large)
        wait_until(lambda: 0 < asked(server) == asked(server), "the stream to stand still")
        wait_until(lambda: call(other, INFER, large).code == "OK", "room for another's message")
        talk.call.cancel()
        talk.end()
    assert "Traceback" not in log.read_text()


def asked(server: Server) -> float:
    """How many messages have been read."""
    return read_metrics(server).get(("rlway_protocol_requests_total", "linear", "oip-grpc"), 0)


def never_within(seconds: float) -> Iterator[bytes]:
    """No message, and no end before this time."""
    threading.Event().wait(seconds)
    yield from ()
