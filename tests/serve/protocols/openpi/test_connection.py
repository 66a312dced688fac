"""A robot that speaks openpi's protocol acts as any other client, and no message of it ends the connection."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.bundles import BIAS, WEIGHTS, linear_policy
from tests.collector import running_collector
from tests.serve.conftest import KEY
from tests.serve.protocols.openpi.packing import pack
from tests.serve.protocols.openpi.robot import Robot
from tests.servers import Server, act_request, get_request, read_metrics, running_server, wait_until

ROWS = np.random.default_rng(7).normal(size=(64, 4)).astype(np.float32)
EXPECTED = (ROWS @ WEIGHTS + BIAS).argmax(axis=1).tolist()
ROW = ROWS[0]
MESSAGES = [pack({"observation": row}) for row in ROWS]


@pytest.fixture
def robot(policies: Server) -> Iterator[Robot]:
    with Robot(policies, "linear") as opened:
        yield opened


def path_of(policy: str) -> str:
    return f"/v1/policies/{policy}/openpi"


def test_the_server_speaks_first(policies: Server) -> None:
    """What the policy observes and how it acts, by the keys that a message may have; also on the bare address."""
    with Robot(policies, "robot") as robot:
        told = robot.metadata
        assert (told["policy"], told["version"], told["action_horizon"]) == ("robot", 1, 1)
        assert [spec["key"] for spec in told["observation"]] == ["camera", "joints/arm"]
        assert [(spec["shape"], spec["dtype"]) for spec in told["observation"]] == [([2], "uint8"), ([3], "float32")]
        assert [spec["name"] for spec in told["outputs"]] == ["q_values"]
        assert not told["recurrent"]
        assert "first" in told["control_keys"]
        assert told["ignored_keys"] == ["prompt"]
    for path in ("linear", None):
        with Robot(policies, path) as robot:
            assert robot.metadata["policy"] == "linear"
            assert robot.metadata["environment"] == "Linear-v0"
    with Robot(policies, "summing") as robot:
        assert robot.metadata["recurrent"]
        assert [spec["name"] for spec in robot.metadata["outputs"]] == ["q_values", "next_sum"]


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4", "<f2"])
@pytest.mark.parametrize("key", ["observation", "observation/state", "0/observation", "x"])
def test_a_discrete_action_is_an_array_of_one(robot: Robot, key: str, dtype: str) -> None:
    """Whatever the array's precision, and whatever the robot calls it."""
    for row, action in zip(ROWS[:8], EXPECTED, strict=False):
        answer = robot.infer({key: row.astype(dtype), "prompt": "balance"})
        assert answer.keys() == {"actions", "version"}
        assert (answer["actions"].dtype, answer["actions"].tolist(), answer["version"]) == (np.int64, [action], 1)


def test_a_continuous_action_is_that_of_a_post(policies: Server) -> None:
    """To the bit, with the horizon before it."""
    path = "/v1/policies/gaussian/act"
    with Robot(policies, "gaussian") as robot:
        for row in ROWS:
            posted = policies.ask(act_request({"observation": row.tolist()}, path=path)).json["action"]
            actions = robot.infer({"observation": row})["actions"]
            assert (actions.dtype, actions.shape) == (np.float32, (1, 2))
            assert actions[0].tolist() == np.array(posted, np.float32).tolist()


CAMERA, ARM = np.array([200, 3], np.uint8), np.array([0.5, -1.0, 2.0])


@pytest.mark.parametrize(
    "parts",
    [
        {"camera": CAMERA, "joints_arm": ARM},
        {"camera": CAMERA, "joints": {"arm": ARM}},
        {"observation": {"camera": CAMERA, "joints": {"arm": ARM.tolist()}}},
        {"observation/camera": CAMERA, "observation/joints/arm": ARM, "prompt": "grasp"},
    ],
)
def test_every_style_of_keys_asks_the_same(policies: Server, parts: dict[str, Any]) -> None:
    """The manifest's names, nested maps, and slashes."""
    body = {"observation": {"camera": CAMERA.tolist(), "joints": {"arm": ARM.tolist()}}, "outputs": ["q_values"]}
    posted = policies.ask(act_request(body, path="/v1/policies/robot/act")).json
    with Robot(policies, "robot") as robot:
        answer = robot.infer(parts | {"outputs": ["q_values"]})
    assert answer["actions"].tolist() == [posted["action"]]
    assert np.allclose(answer["outputs"]["q_values"], [posted["outputs"]["q_values"]])


BAD: list[tuple[Any, str]] = [
    ("text", "text frame"),
    (b"", "got nothing"),
    (b"\x93\x01\x02\x03", "MessagePack map"),
    (MESSAGES[0][:-1], "cannot be read"),
    (MESSAGES[0] + b"\x00", "trailing"),
    (b"\x81\xa1x\xd4\x01\x00", "ext type"),
    (b"\x81\xa1x\xdd\xff\xff\xff\xff", "cannot be read"),
    (b"\x81\xa1x" + b"\xdd\x00\x10\x00\x00" * 100_000, "levels"),
    (b"\x81\xa1x\xdd\x00\x30\x00\x00" + b"\xc0" * (3 << 20), "send numpy arrays"),
    ({"observation": {b"__ndarray__": True, b"data": b"", b"dtype": "|O", b"shape": [4]}}, "dtype"),
    ({"observation": {b"__ndarray__": True, b"data": b"", b"dtype": "<f4", b"shape": [2**62, 4]}}, "bytes"),
    ({"observation": ROW[:3]}, "[3]"),
    ({"observation": ROW * np.float32(np.nan)}, "observation[0]: expected finite float32, got NaN"),
    ({"observation": [0, 0, 0, float("inf")]}, "observation[3]: expected finite float32, got Infinity"),
    ({"observation": np.full(4, 1e300)}, "observation[0]: expected finite float32"),
    ({"observation": "text"}, "a string"),
    ({"observation": ROW, "color": "red"}, "color"),
    ({"observation": ROW, "version": 9}, "version 9"),
    ({"observation": ROW, "label": "new"}, "label 'new'"),
    ({"observation": ROW, "outputs": ["logits"]}, "q_values"),
    ({"observation": ROW, "deadline_ms": 1e-9}, "deadline_ms"),
    ({"observation": ROW, "episode": "nobody"}, "episode 'nobody'"),
    ({"observation": ROW, "explore": {"sigma": 1.0}}, "explore"),
    ({"observation": ROW, "noise": np.zeros(3)}, "noise"),
    ({}, "observation"),
]


@pytest.mark.parametrize(("message", "words"), BAD, ids=[f"{i} {words}" for i, (_, words) in enumerate(BAD)])
def test_a_refusal_is_a_text_frame_and_the_connection_stays(robot: Robot, message: Any, words: str) -> None:
    """One sentence; the next observation gets its action."""
    for row, action in zip(ROWS[:3], EXPECTED, strict=False):
        assert words in robot.refusal(message)
        assert robot.infer({"observation": row})["actions"].tolist() == [action]


def test_an_action_that_is_no_number_is_never_sent(policies: Server) -> None:
    """The sentence names the observation."""
    with Robot(policies, "brittle") as robot:
        assert "finite action" in robot.refusal({"observation": np.full(4, 1e9, np.float32)})
        assert robot.infer({"observation": ROW})["actions"].shape == (1, 2)


def test_answers_come_in_the_order_of_the_messages(robot: Robot) -> None:
    """Far more at once than may be in flight, refused ones and fragmented ones among them."""
    for i in range(1000):
        message = MESSAGES[i % 64]
        if i % 7 == 3:
            robot.send("text")
        elif i % 7 == 5:
            robot.connection.send(iter([message[:9], message[9:40], message[40:]]))
        else:
            robot.send(message)
    for i in range(1000):
        if i % 7 == 3:
            assert isinstance(robot.receive(), str)
        else:
            assert robot.answer()["actions"].tolist() == [EXPECTED[i % 64]]


def test_every_way_through_the_server_gives_the_same_bytes(policies: Server, without_express: Server) -> None:
    """Alone, in lock step with others, and without express calls."""
    with Robot(without_express) as robot:
        expected = []
        for message in MESSAGES:
            robot.send(message)
            expected.append(robot.receive())
    with ExitStack() as stack:
        robots = [stack.enter_context(Robot(policies, "linear")) for _ in range(16)]
        for shift in range(64):
            for i, other in enumerate(robots):
                other.send(MESSAGES[(i + shift) % 64])
            for i, other in enumerate(robots):
                assert other.receive() == expected[(i + shift) % 64]


def act(sums: np.ndarray[Any, Any]) -> int:
    return int((sums @ WEIGHTS + BIAS).argmax())


def test_each_connection_is_an_episode_of_a_recurrent_policy(policies: Server) -> None:
    """Eight robots step in turn, and begin anew at different times: each acts on the sum of its own observations."""
    generator = np.random.default_rng(3)
    sums = np.zeros((8, 4), np.float32)
    with ExitStack() as stack:
        robots = [stack.enter_context(Robot(policies, "summing")) for _ in range(8)]
        for step in range(40):
            rows = generator.normal(size=(8, 4)).astype(np.float32)
            for i, robot in enumerate(robots):
                begins = step > 0 and (step + i) % 11 == 0
                sums[i] = rows[i] if begins else sums[i] + rows[i]
                robot.send({"observation": rows[i]} | ({"first": True} if begins else {}))
            for i, robot in enumerate(robots):
                assert robot.answer()["actions"].tolist() == [act(sums[i])]


def test_an_episode_may_have_an_id(policies: Server) -> None:
    """Text or a number; it goes on over another connection, and over HTTP."""
    one = np.array([1, 0, 0, 0], np.float32)

    def total(robot: Robot, **more: Any) -> float:
        return float(robot.infer({"observation": one, "outputs": ["next_sum"], **more})["outputs"]["next_sum"][0, 0])

    with Robot(policies, "summing") as robot, Robot(policies, "summing") as other:
        assert total(robot, episode=77, first=True) == 1
        assert [total(robot), total(robot)] == [1, 2]  # the connection's own
        assert total(other, episode="77") == 2
        body = {"observation": one.tolist(), "episode": "77"}
        assert policies.ask(act_request(body, path="/v1/policies/summing/act")).status == 200
        assert total(robot, episode=77) == 4
        assert total(robot) == 3
        assert total(robot, step_type=0) == 1
        assert total(robot, sum=np.full(4, 10.0)) == 11
        assert "episode" in robot.refusal({"observation": one, "episode": 78})


def test_versions_and_exploration_are_chosen_by_control_keys(policies: Server) -> None:
    """By number or label; a seed repeats its draws."""
    with Robot(policies, "versions") as robot:
        assert robot.metadata["version"] == 2
        assert robot.infer({"observation": ROW})["version"] == 2
        for pin in ({"version": 1}, {"label": "old"}):
            answer = robot.infer({"observation": ROW, **pin})
            assert (answer["version"], answer["actions"].shape) == (1, (1, 2))
    with Robot(policies, "gaussian") as robot:
        explored = {"observation": ROW, "explore": {"sigma": 1.0}}
        drawn = [robot.infer(explored | {"seed": seed})["actions"].tolist() for seed in (1, 1, 2)]
        assert drawn[0] == drawn[1] != drawn[2]
        noise = {"observation": ROW, "noise": np.array([0.5, -0.5])}
        assert robot.infer(noise)["actions"].tolist() == robot.infer(noise)["actions"].tolist()


def test_times_are_told_where_they_are_asked_for(robot: Robot) -> None:
    """Other answers are the same bytes for the same action."""
    assert robot.infer({"observation": ROW, "server_timing": True})["server_timing"]["infer_ms"] > 0
    assert "server_timing" not in robot.infer({"observation": ROW})


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
    assert {(line["path"], line["request_id"]) for line in lines} == {(path_of("linear"), "robot-7")}
    assert [line["request_bytes"] for line in lines[1:]] == [len(MESSAGES[0]), len(pack({"observation": ROW[:2]}))]
    assert [span.attributes["http.response.status_code"] for span in spans] == [200, 422]
    assert {span.attributes["network.protocol.name"] for span in spans} == {"openpi"}
    assert (spans[0].attributes["rlway.rows"], spans[0].attributes["rlway.version"]) == (1, 1)
