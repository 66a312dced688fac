"""A stop answers the requests in flight, refuses later ones, and ends with status 0."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.bundles import linear_policy, q_network_policy
from tests.servers import (
    ACT,
    OCTETS,
    PATIENCE_S,
    PROBLEM,
    Server,
    act_request,
    get_request,
    read_metrics,
    refuses_connections,
    running_server,
    wait_until,
)

pytestmark = pytest.mark.slow

SLOW = "/v1/policies/slow/act"
SLOW_BATCH = 8_000
SLOW_ROWS = np.zeros((SLOW_BATCH, 4), "<f4").tobytes()
BODY = {"observation": [0, 0, 0, 0]}


@pytest.fixture
def server(tmp_path: Path, log: Path) -> Iterator[Server]:
    """A server to stop: one policy that answers at once, and one with long runs."""
    linear_policy(tmp_path / "models")
    q_network_policy(tmp_path / "models", "slow", (2048, 2048, 2048))
    with running_server(tmp_path / "models", log, "--queue-capacity", "50000", "--max-rows", "50000") as server:
        yield server


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once(server: Server, how: signal.Signals) -> None:
    """Exit status 0, kept connections closed, the port free, with SIGTERM and with Ctrl-C."""
    with server.connect() as kept, server.connect() as silent:
        kept.send(act_request(BODY))
        assert kept.answer().status == 200
        server.process.send_signal(how)
        assert kept.rest() == b""
        assert silent.rest() == b""
    assert server.process.wait(PATIENCE_S) == 0
    assert refuses_connections(server)
    assert "Traceback" not in server.log.read_text()


def start_and_stop(server: Server, requests: list[bytes]) -> list[list[int]]:
    """Stops the server while requests wait; returns the statuses that each connection gets."""
    count = sum(request.count(SLOW.encode()) for request in requests)
    wires = [server.connect() for _ in requests]
    with server.connect() as running:
        # The second request waits once the first, which takes a while to arrive, has begun to run.
        running.send(act_request(SLOW_ROWS, path=SLOW, media_type=OCTETS) + act_request(BODY, path=SLOW))
        wait_until(lambda: waiting_rows(server) == 1, "the long run to begin")
        for wire, request in zip(wires, requests, strict=True):
            wire.send(request)
        wait_until(lambda: waiting_rows(server) == 1 + count, f"{count} requests more to wait")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses_connections(server), "the port to be closed")
        assert len(running.answer().body) == SLOW_BATCH * 8
        assert running.answer().status == 200
        assert running.rest() == b""
    statuses = [[int(head[:3]) for head in wire.rest().split(b"HTTP/1.1 ")[1:]] for wire in wires]
    assert server.process.wait(PATIENCE_S) == 0
    assert "Traceback" not in server.log.read_text()
    return statuses


def waiting_rows(server: Server) -> float:
    return read_metrics(server)["rlway_queue_rows", "slow", "1"]


def test_requests_in_flight_are_answered(server: Server) -> None:
    """Running and waiting requests are answered, by either lane and pipelined; new connections are refused."""
    hot, asgi = (act_request(BODY, path=SLOW, lane=lane) for lane in ("hot", "query"))
    assert start_and_stop(server, [hot, hot * 3, asgi]) == [[200], [200] * 3, [200]]


def test_a_refusal_behind_them_is_not_lost(server: Server) -> None:
    """What was malformed is told so, behind the answers that are due when the server stops."""
    broken = act_request(BODY, path=SLOW) + b"nonsense\r\n\r\n"
    assert start_and_stop(server, [broken]) == [[200, 400]]
    assert "lost" not in server.log.read_text()


def test_pipelines_in_flight_are_answered_to_their_end(server: Server) -> None:
    """So are requests behind another one on their connection, hot before ASGI and the reverse."""
    hot, asgi = (act_request(BODY, path=SLOW, lane=lane) for lane in ("hot", "query"))
    later_hot, later_asgi = (act_request(BODY, path=ACT, lane=lane) for lane in ("hot", "query"))
    pipelines = [hot + get_request("/healthz"), hot + later_asgi, asgi + later_hot]
    for first, *later in start_and_stop(server, pipelines):
        assert first == 200
        assert later in ([200], [503])


def test_a_request_that_was_coming_in_is_told(server: Server) -> None:
    """A request whose body ends after the stop began gets 503 by either lane, and is not dropped."""
    with server.connect() as running, server.connect() as hot, server.connect() as asgi:
        late = [(hot, act_request(BODY, path=ACT)), (asgi, act_request(BODY, path=ACT, lane="query"))]
        for wire, request in late:
            wire.send(request[:-5])
        running.send(act_request(SLOW_ROWS, path=SLOW, media_type=OCTETS) + act_request(BODY, path=SLOW))
        wait_until(lambda: waiting_rows(server) == 1, "a request to wait")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses_connections(server), "the port to be closed")
        for wire, request in late:
            wire.send(request[-5:])
        answers = [wire.answer() for wire, _ in late]
        assert [(answer.status, answer.headers["content-type"]) for answer in answers] == [(503, PROBLEM)] * 2
        assert answers[0] == answers[1]
        assert running.answer().status == 200
    assert server.process.wait(PATIENCE_S) == 0


def test_a_stop_does_not_wait_forever(tmp_path: Path, log: Path) -> None:
    """A request that never ends is dropped after `--drain-s`, and the exit status is 0."""
    linear_policy(tmp_path / "models")
    with running_server(tmp_path / "models", log, "--drain-s", "0.2") as server, server.connect() as stuck:
        stuck.send(act_request(BODY, lane="query")[:-5])
        assert server.ask(get_request("/healthz")).status == 200
        assert server.stop() == 0


def test_who_pipelines_without_reading_gets_its_answers(server: Server) -> None:
    """Requests that the stop leaves unread do not cost the answers written before."""
    packet = act_request(BODY) * 100
    with server.connect() as greedy, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(greedy.send, packet * 300)  # blocks while nothing is read from it
        greedy.answer()
        server.process.send_signal(signal.SIGTERM)
        sending.result(PATIENCE_S)
        answers = greedy.rest().split(b"HTTP/1.1 ")[1:]
        assert answers
        assert all(answer[:4] in (b"200 ", b"503 ") and answer.endswith(b"}") for answer in answers), answers[-1]
    assert server.process.wait(PATIENCE_S) == 0


def test_a_stop_does_not_wait_for_bodies_that_are_refused(tmp_path: Path, log: Path) -> None:
    """A refused body that is still being sent does not delay the stop, whatever the time-outs."""
    linear_policy(tmp_path / "models")
    options = ["--drain-s", "600", "--body-timeout-s", "600", "--max-body-bytes", "2000"]
    with (
        running_server(tmp_path / "models", log, *options) as server,
        server.connect() as passing,
        server.connect() as lingering,
    ):
        passing.send(act_request(b"0" * 1500, path="/nowhere")[:-1000])
        assert passing.answer().status == 404
        lingering.send(act_request(b"0" * 4000, path="/nowhere")[:-1000])
        assert lingering.answer().status == 404
        assert server.stop() == 0
        assert passing.rest() == lingering.rest() == b""
