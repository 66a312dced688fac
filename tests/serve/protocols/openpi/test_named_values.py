"""Values by name over openpi's protocol: the same action as in order, and faults that say the name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.serve.protocols.named_rows import ACTIONS, ARM, NAMES, NAN, OBJECTS, ROWS
from tests.serve.protocols.openpi.packing import pack, unpack
from tests.serve.protocols.test_guarded import stream_to
from tests.servers import ANSWER_S, Server


def over_openpi(named: Server, *messages: dict[str, Any], policy: str = "linear") -> list[Any]:
    """The action to each message of a connection, or the sentence that refuses it."""
    answers = []
    with stream_to(named, policy, "openpi") as stream:
        stream.recv(ANSWER_S)
        for message in messages:
            stream.send(pack(message))
            answer = stream.recv(ANSWER_S)
            answers.append(answer if isinstance(answer, str) else unpack(answer)["actions"].tolist()[0])
    return answers


def test_messages_of_openpi_may_hold_values_by_name(named: Server) -> None:
    """As keys of the message, or as a map under any key of the observation; beside messages with arrays."""
    messages: list[dict[str, Any]] = []
    for i, row in enumerate(OBJECTS):
        numpy = {name: np.float32(value) for name, value in row.items()}
        forms: list[dict[str, Any]] = [
            row,
            {"observation": row},
            {"observation/state": numpy},
            {"state": {name: np.array([value]) for name, value in row.items()}, "prompt": "go"},
            {f"observation/{name}": value for name, value in numpy.items()},
            {"observation": ROWS[i]},
        ]
        messages += forms
    assert over_openpi(named, *messages) == [action for action in ACTIONS for _ in range(6)]


def test_maps_of_openpi_hold_names_where_a_tensor_has_some(named: Server) -> None:
    """Beside tensors without names."""
    arm = dict(zip(ARM, (0.5, -1.0, 2.0), strict=True))
    camera = np.array([1, 2], np.uint8)
    found = over_openpi(
        named,
        {"camera": camera, "joints": {"arm": np.array([0.5, -1.0, 2.0])}},
        {"camera": camera, "joints": {"arm": arm}},
        {"observation": {"camera": camera, "joints": {"arm": arm}}},
        {"camera": camera, "joints_arm": arm},
        {"camera": {"left": 1, "right": 2}, "joints_arm": arm},
        policy="robot",
    )
    assert found[0] in (0, 1)
    assert found[1:4] == found[:1] * 3
    assert found[4].startswith("camera/left: expected an input of the policy: camera, joints_arm")


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({"observation": OBJECTS[0] | {"dx": NAN}}, "observation/dx: expected finite float32, got NaN"),
        (OBJECTS[0] | {"dx": np.float64(1e39)}, "dx: expected finite float32, got 1e+39"),
        (OBJECTS[0] | {"dx": "fast"}, "dx: expected float32, got a string"),
        (OBJECTS[0] | {"dx": np.zeros(2)}, "dx: expected the shape [], got [2]"),
        ({"state": OBJECTS[0] | {"turn": 1.0}}, "observation/turn: expected an input of the policy"),
        ({"x": 1.0, "dx": 1.0, "angle": 1.0}, "spin: expected float32, got nothing"),
        ({"state": {"x": 1.0, "dx": 1.0, "angle": 1.0}}, "observation/spin: expected float32, got nothing"),
        (OBJECTS[0] | {"observation": {"x": 2.0}}, "observation/x: expected x once, got it twice"),
        (OBJECTS[0] | {"observation": ROWS[0]}, "expected either observation or its elements, got both"),
        ({"state": OBJECTS[0], "other": OBJECTS[0]}, "expected an input of the policy: observation"),
    ],
)
def test_a_fault_in_a_message_of_openpi_says_the_name(named: Server, message: dict[str, Any], sentence: str) -> None:
    """And the connection goes on."""
    refused, action = over_openpi(named, message, OBJECTS[0])
    assert sentence in refused
    assert action == ACTIONS[0]


def test_the_metadata_of_openpi_say_the_names(named: Server) -> None:
    """A client learns them before it sends anything."""
    for policy, names in (("linear", NAMES), ("nameless", None)):
        with stream_to(named, policy, "openpi") as stream:
            greeting = stream.recv(ANSWER_S)
            assert isinstance(greeting, bytes)
            (spec,) = unpack(greeting)["observation"]
        assert spec.get("names") == names
