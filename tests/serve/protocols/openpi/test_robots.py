"""Robots on a server: their share of its batches, keys, limits, counts and logs; versions that change, and its stop."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.bundles import linear_policy
from tests.collector import running_collector
from tests.serve.conftest import KEY
from tests.serve.protocols.openpi.packing import pack
from tests.serve.protocols.openpi.robot import EXPECTED, MESSAGES, ROW, ROWS, Robot
from tests.servers import Server, act_request, get_request, read_metrics, running_server, wait_until


def test_robots_share_batches_with_other_clients(several: Server) -> None:
    """A batch of more rows than the robots have holds rows of posts, too."""
    path, rows = "/v1/policies/slow/act", 8

    def largest_batches() -> float:
        found = read_metrics(several)
        return found["rlway_batch_rows_count", "slow", "1"] - found["rlway_batch_rows_bucket", "slow", "1", "8.0"]

    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        robots = [stack.enter_context(Robot(several, "slow")) for _ in range(rows)]
        wires = [stack.enter_context(several.connect()) for _ in range(rows)]
        before = largest_batches()

        def ask_all() -> bool:
            for robot, wire, message in zip(robots, wires, MESSAGES, strict=False):
                wire.send(act_request({"observation": ROW.tolist()}, path=path))
                robot.send(message)
            for robot, wire in zip(robots, wires, strict=True):
                assert wire.answer().status == 200
                assert robot.answer()["version"] == 1
            return largest_batches() > before

        pool.submit(wait_until, ask_all, "a batch of both").result()


def test_a_robot_needs_the_key(strict: Server) -> None:
    """As `Api-Key`; the handshake is refused without."""
    for key, status in ((None, 401), ("wrong", 403)):
        for policy in ("linear", None):
            with pytest.raises(InvalidStatus) as refused:
                Robot(strict, policy, key)
            assert refused.value.response.status_code == status
    with Robot(strict, key=KEY) as robot:
        assert robot.infer({"observation": ROW})["actions"].tolist() == [EXPECTED[0]]


def test_a_message_that_is_too_large_ends_the_connection(strict: Server) -> None:
    """Over `--max-body-bytes`: close code 1009."""
    with Robot(strict, key=KEY) as robot:
        robot.send(bytes(2001))
        with pytest.raises(ConnectionClosed) as closed:
            robot.receive()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_what_is_not_offered_is_not_there(policies: Server) -> None:
    """An unknown policy is 404, a page of another origin 403; a query changes nothing, and nothing is compressed."""
    with pytest.raises(InvalidStatus) as refused:
        Robot(policies, "nobody")
    assert refused.value.response.status_code == 404
    assert b"policy 'nobody': not served here; served are: " in (refused.value.response.body or b"")
    with pytest.raises(InvalidStatus) as refused:
        Robot(policies, "linear", origin="http://elsewhere.example")
    assert refused.value.response.status_code == 403
    for policy in ("linear", None):
        with Robot(policies, policy, query="?robot=7") as robot:
            assert robot.metadata["policy"] == "linear"
    with Robot(policies, "linear", compression="deflate") as robot:
        assert robot.connection.response is not None
        assert "sec-websocket-extensions" not in robot.connection.response.headers
        assert robot.infer({"observation": ROW})["actions"].tolist() == [EXPECTED[0]]


def test_robots_are_counted(policies: Server) -> None:
    """Open connections, messages by kind, requests and refusals by protocol; each of them once, also express calls."""

    def count(name: str, **labels: str) -> float:
        wanted = name + "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "} "
        lines = policies.ask(get_request("/metrics")).body.decode().splitlines()
        return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))

    def counts() -> list[float]:
        return [
            count("rlway_streams", policy="gaussian"),
            count("rlway_stream_frames_total", kind="openpi", policy="gaussian"),
            count("rlway_protocol_requests_total", policy="gaussian", protocol="openpi"),
            count("rlway_protocol_refusals_total", policy="gaussian", protocol="openpi", reason="SpecViolated"),
            count("rlway_actions_total", policy="gaussian", version="1"),
        ]

    wait_until(lambda: counts()[0] == 0, "no connection is open")
    before = counts()
    with Robot(policies, "gaussian") as robot:
        for row in ROWS[:10]:
            robot.infer({"observation": row})
        robot.refusal({"observation": ROW[:2]})
        assert np.subtract(counts(), before).tolist() == [1, 11, 11, 1, 10]
    wait_until(lambda: counts()[0] == 0, "the end is counted")


@pytest.mark.slow
def test_a_robot_follows_the_policy(tmp_path: Path, log: Path) -> None:
    """A new version answers over the open connection; when the policy has gone, a sentence says so."""
    models = tmp_path / "models"
    linear_policy(models)
    linear_policy(models, "other")
    with running_server(models, log, "--poll-s", "0.05") as server, Robot(server, "linear") as robot:
        assert robot.infer({"observation": ROW})["version"] == 1
        linear_policy(models, version=2)
        wait_until(lambda: robot.infer({"observation": ROW})["version"] == 2, "the new version")
        (models / "linear").rename(tmp_path / "gone")

        def is_refused() -> bool:
            robot.send({"observation": ROW})
            answer = robot.receive()
            return isinstance(answer, str) and "linear" in answer

        wait_until(is_refused, "the policy to go")
        (tmp_path / "gone").rename(models / "linear")
        wait_until(lambda: not is_refused(), "the policy to come back")
        assert server.stop() == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_a_robot_is_never_handed_to_another_policy(tmp_path: Path, log: Path) -> None:
    """Not even when another one becomes the default of the address that it has connected to."""
    models = tmp_path / "models"
    linear_policy(models)
    with running_server(models, log, "--poll-s", "0.05") as server, Robot(server) as robot:
        assert robot.infer({"observation": ROW})["version"] == 1
        linear_policy(models, "other", version=7)
        (models / "linear").rename(tmp_path / "gone")

        def is_other() -> bool:
            try:
                with Robot(server) as later:
                    return bool(later.metadata["policy"] == "other")
            except InvalidStatus:  # while both are there, neither is the default
                return False

        wait_until(is_other, "the other policy to be the default")
        for observation in (ROW, ROW.tolist()):
            sentence = robot.refusal({"observation": observation})
            assert "policy 'linear': not served at / any more" in sentence


@pytest.mark.slow
def test_without_a_default_a_robot_is_told_what_there_is(tmp_path: Path, log: Path) -> None:
    """Only one with a key; `GET /` itself answers everybody that the server lives."""
    for name in ("first", "second"):
        linear_policy(tmp_path / "models", name)
    (tmp_path / "keys").write_text("right\n")
    with running_server(tmp_path / "models", log, "--api-keys", str(tmp_path / "keys")) as server:
        for key, status, words in (("right", 404, "served are: first, second"), ("wrong", 403, "not accepted here")):
            with pytest.raises(InvalidStatus) as refused:
                Robot(server, key=key)
            response = refused.value.response
            assert response.status_code == status
            assert words in json.loads(response.body or b"")["detail"]
        assert server.ask(get_request("/")).status == 200


@pytest.mark.slow
def test_a_policy_without_a_version_refuses_the_handshake(tmp_path: Path, log: Path) -> None:
    """503: there are no metadata that the server could speak first."""
    linear_policy(tmp_path / "models")
    (tmp_path / "models" / "broken" / "1").mkdir(parents=True)
    (tmp_path / "models" / "broken" / "1" / "manifest.json").write_text("{")
    with running_server(tmp_path / "models", log) as server:
        with pytest.raises(InvalidStatus) as refused:
            Robot(server, "broken")
        response = refused.value.response
        assert (response.status_code, response.headers["content-type"]) == (503, "application/problem+json")
        assert "broken" in json.loads(response.body or b"")["detail"]


@pytest.mark.slow
def test_a_stop_answers_what_was_asked_and_goes_away(tmp_path: Path, log: Path) -> None:
    """SIGTERM: the messages that have come are answered, then 1001."""
    linear_policy(tmp_path / "models")
    with (
        running_server(tmp_path / "models", log) as server,
        Robot(server, max_queue=None) as robot,
        Robot(server) as idle,
    ):
        for message in MESSAGES:
            robot.send(message)
        robot.receive()
        assert server.stop() == 0
        answers = 1
        for each in (robot, idle):
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    assert isinstance(each.receive(), bytes)
                    answers += 1
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        assert 1 <= answers <= len(MESSAGES)


@pytest.mark.slow
def test_protocols_may_be_left_out(tmp_path: Path, log: Path) -> None:
    """`--protocols` without openpi."""
    linear_policy(tmp_path / "models")
    with running_server(tmp_path / "models", log, "--protocols", "oip") as server:
        for policy in ("linear", None):
            with pytest.raises(InvalidStatus):
                Robot(server, policy)


@pytest.mark.slow
def test_messages_are_in_the_access_log_and_leave_spans(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line and a span for each, refused ones too."""
    linear_policy(tmp_path / "models")
    access = tmp_path / "access"
    with running_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with running_server(tmp_path / "models", log, "--access-log", str(access)) as server:
            with Robot(server, "linear", additional_headers={"x-request-id": "robot-7"}) as robot:
                robot.infer({"observation": ROW})
                robot.refusal({"observation": ROW[:2]})
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait() == 0
        spans = list(collector.spans)
    lines = [json.loads(line) for line in access.read_text().splitlines()]
    assert [(line["method"], line["status"]) for line in lines] == [("GET", 101), ("BINARY", 200), ("BINARY", 422)]
    assert {(line["path"], line["request_id"]) for line in lines} == {("/v1/policies/linear/openpi", "robot-7")}
    assert [line["request_bytes"] for line in lines[1:]] == [len(MESSAGES[0]), len(pack({"observation": ROW[:2]}))]
    assert [span.attributes["http.response.status_code"] for span in spans] == [200, 422]
    assert {span.attributes["network.protocol.name"] for span in spans} == {"openpi"}
    assert (spans[0].attributes["rlway.rows"], spans[0].attributes["rlway.version"]) == (1, 1)
