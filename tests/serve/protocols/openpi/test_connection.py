"""A robot that speaks openpi's protocol acts as any other client, and no message of it ends the connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from tests.bundles import BIAS, WEIGHTS
from tests.serve.protocols.openpi.robot import EXPECTED, MESSAGES, ROW, ROWS, Robot
from tests.servers import Server, act_request


@pytest.fixture
def robot(policies: Server) -> Iterator[Robot]:
    with Robot(policies, "linear") as opened:
        yield opened


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
    ({"observation": ROW, "deadline_ms": 1e-9}, "deadline: cannot be met"),
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
        for more in ({"episode": 77}, {"first": True}):
            assert "got both" in robot.refusal({"observation": one, "sum": np.full(4, 10.0), **more})


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
