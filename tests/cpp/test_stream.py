"""The raw WebSocket stream of the C++ client."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlway_client import PolicyClient
from rlway_client.load.websocket_asker import FINAL, MASKED
from tests.bundles import BIAS, WEIGHTS
from tests.cpp.compiled import Driver, kind_of, numbers
from tests.servers import Server, running_server

OBSERVATIONS = np.random.default_rng(6).normal(size=(60, 4)).astype(np.float32)
ACTIONS = (OBSERVATIONS @ WEIGHTS + BIAS).argmax(axis=1)


def test_several_rows_are_in_flight(driver: Driver, server: Server) -> None:
    """Answers come in the order of the rows, and a refused row keeps its place and the connection."""
    driver.tell("stream", server.url, "linear", "", 60000, "")
    for rows in (1, 7, 60):
        assert driver.tell_all([f"send {numbers(row)}" for row in OBSERVATIONS[:rows]]) == [{}] * rows
        answers = driver.tell_all(["receive int 1"] * rows)
        assert [answer["action"][0] for answer in answers] == ACTIONS[:rows].tolist()
        assert [answer["in_flight"] for answer in answers] == [*reversed(range(rows))]
    driver.tell_all([f"send {numbers(row)}" for row in (OBSERVATIONS[0], [1, 2, 3], OBSERVATIONS[1])])
    first, refused, last = driver.tell_all(["receive int 1"] * 3)
    assert (first["action"], last["action"]) == ([ACTIONS[0]], [ACTIONS[1]])
    with PolicyClient(server.url, "linear") as client, pytest.raises(Exception, match="expected") as caught:
        client.act([1, 2, 3])
    assert kind_of(refused) in (type(caught.value).__name__, "RequestMalformed")
    answer = driver.tell("receive int 1")
    assert answer["error"] == "receive: expected a row in flight, got none; call send() first."


def test_a_stream_is_an_episode(driver: Driver, server: Server) -> None:
    """`reset` begins the next one."""
    driver.tell("stream", server.url, "summing", "", 60000, "")
    with PolicyClient(server.url, "summing", episode="beside-a-stream") as client:
        for _ in range(2):
            for row in OBSERVATIONS[:20]:
                driver.tell("send", numbers(row))
                assert driver.tell("receive int 1")["action"] == [client.act(row)]
            client.reset()
            driver.tell("reset-stream")


def test_continuous_actions(driver: Driver, server: Server) -> None:
    """Bytes as they are."""
    driver.tell("stream", server.url, "gaussian", "", 60000, "")
    with PolicyClient(server.url, "gaussian") as client:
        for row in OBSERVATIONS[:20]:
            driver.tell("send", numbers(row))
            assert driver.tell("receive float 2")["action"] == client.act(row).tolist()


def test_refusals(driver: Driver, server: Server) -> None:
    """A policy that does not exist, none at all, and a number that is not finite, which is not sent."""
    driver.tell("stream", server.url, "absent", "", 60000, "")
    with PolicyClient(server.url, "absent") as client, pytest.raises(Exception, match="absent") as caught:
        client.act(OBSERVATIONS[0])
    assert driver.tell("send", "0 0 0 0")["error"] == str(caught.value)
    assert kind_of(driver.tell("stream", server.url, "", "", 60000, "")) == "UsageError"
    driver.tell("stream", server.url, "linear", "", 60000, "")
    answer = driver.tell("send", "0 0 nan 0")
    assert (kind_of(answer), answer["error"]) == (
        "SpecViolated",
        "observation[2]: expected a finite number, got NaN",
    )


def test_a_stream_that_the_server_closes(driver: Driver, models: Path, tmp_path: Path) -> None:
    """The error has the server's reason, and the next row opens another connection."""
    with running_server(models, tmp_path / "log") as stopped:
        driver.tell("stream", stopped.url, "linear", "", 60000, "")
        driver.tell("send", numbers(OBSERVATIONS[0]))
        assert driver.tell("receive int 1")["action"] == [ACTIONS[0]]
        assert stopped.stop() == 0
    driver.tell("send", numbers(OBSERVATIONS[0]))
    assert "closed the stream with code 1001: the server is stopping" in driver.tell("receive int 1")["error"]
    assert driver.tell("send", numbers(OBSERVATIONS[0]))["error"].endswith("Connection refused.")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frames_are_masked(driver: Driver, size: int) -> None:
    """Their heads are those of RFC 6455, and the handshake's proof is its example."""
    payload = np.random.default_rng(size).bytes(size)
    frame = bytes.fromhex(driver.tell("masked", payload.hex()))
    short, rest = frame[1] ^ MASKED, frame[2:]
    extended = {126: 2, 127: 8}.get(short, 0)
    assert frame[0] == FINAL | 2
    assert (int.from_bytes(rest[:extended], "big") if extended else short) == size
    mask, masked = rest[extended : extended + 4], rest[extended + 4 :]
    assert bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked)) == payload
    assert driver.tell("acceptance", "dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
