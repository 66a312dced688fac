"""What a message asks: inputs under every key that openpi's clients use, control keys, nothing dropped in silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlway_client.contract.errors import DeadlineExceeded, RequestMalformed, RlwayError, SpecViolated
from rlway_client.contract.exploration import Explore
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import Fault
from rlway_serve.codec.tensors import TensorForm
from rlway_serve.messages.request import Pin
from rlway_serve.protocols.openpi.answers import OpenpiWire, write_results
from rlway_serve.protocols.openpi.plain_messages import MAX_KNOWN, MAX_KNOWN_BYTES, PlainMessages
from rlway_serve.protocols.openpi.question import OpenpiQuestion
from tests.serve.protocols.openpi.fuzzing import SETTINGS, NoCaller
from tests.serve.protocols.openpi.manifests import (
    CONTINUOUS,
    FIRST_IS_AN_INPUT,
    LINEAR,
    RECURRENT,
    ROBOT,
    TUPLE,
)
from tests.serve.protocols.openpi.packing import pack, unpack

ROW = np.array([1, 2, 3, 4], np.float32)
CAMERA, ARM = np.array([7, 9], np.uint8), np.array([0.5, 1, 2])


def read(manifest: Manifest, **parts: Any) -> Any:
    """The call that a policy with this manifest makes of a message."""
    form = TensorForm(manifest, SETTINGS)
    question = OpenpiQuestion(pack(parts), form)
    return form.read(question.inputs(form, manifest), NoCaller(), batched=False)


def refusal(manifest: Manifest, **parts: Any) -> str:
    with pytest.raises(RlwayError) as refused:
        read(manifest, **parts)
    return str(refused.value)


@pytest.mark.parametrize(
    "parts",
    [
        {"camera": CAMERA, "joints_arm": ARM},
        {"camera": CAMERA, "joints": {"arm": ARM}},
        {"camera": CAMERA, "joints/arm": ARM},
        {"observation": {"camera": CAMERA, "joints": {"arm": ARM}}},
        {"observation": {"camera": CAMERA, "joints/arm": ARM}},
        {"observation/camera": CAMERA, "observation/joints/arm": ARM},
        {"0/observation/camera": CAMERA, "0/observation/joints/arm": ARM},
        {"camera": [7, 9], "joints": {"arm": [0.5, 1, 2]}},
        {"camera": CAMERA.astype(">i8"), "joints/arm": ARM.astype("<f2"), "prompt": "pick up the cup"},
    ],
)
def test_parts_of_an_observation_have_many_names(parts: dict[str, Any]) -> None:
    """The manifest's, a nested map, and paths with slashes; arrays of other dtypes, and lists."""
    found = read(ROBOT, **parts).observations
    assert {name: array.tolist() for name, array in found.items()} == {"camera": [[7, 9]], "joints_arm": [[0.5, 1, 2]]}


@pytest.mark.parametrize("key", ["observation", "0/observation", "state", "observation/state", "images/top", ""])
def test_a_sole_observation_may_have_any_key(key: str) -> None:
    """Robots call it as their environment does."""
    for value in (ROW, ROW.astype(np.float64), ROW.tolist()):
        assert read(LINEAR, **{key: value}).observations.tolist() == [ROW.tolist()]
        assert read(LINEAR, **{key: value, "prompt": "go", "noise": np.ones(2)}).observations.tolist() == [ROW.tolist()]


def test_a_tuple_is_a_list() -> None:
    """Of arrays and of numbers; its parts also have their places as names."""
    for value in ([CAMERA, np.float32(3)], [[7, 9], 3], {"0": CAMERA, "1": 3}):
        found = read(TUPLE, observation=value).observations
        assert [array.tolist() for array in found.values()] == [[[7, 9]], [3.0]]


@pytest.mark.parametrize(
    ("manifest", "parts", "words"),
    [
        (LINEAR, {"a": ROW, "b": ROW}, ["a: expected an input of the policy", "1 more"]),
        (LINEAR, {"observation": ROW, "color": 1}, ["color"]),
        (LINEAR, {"observation": ROW, "observation_2": ROW}, ["observation_2"]),
        (LINEAR, {"observation": ROW, "prompt": 5}, ["prompt"]),
        (LINEAR, {"observation": ROW, "task": "go"}, ["task"]),
        (LINEAR, {"observation": ROW, "0/observation": ROW}, ["0/observation", "twice"]),
        (LINEAR, {"prompt": "go"}, ["observation", "got nothing"]),
        (LINEAR, {}, ["observation", "got nothing"]),
        (LINEAR, {"observation": {}}, ["observation", "an object"]),
        (LINEAR, {"observation": "text"}, ["observation", "a string"]),
        (LINEAR, {"observation": None}, ["observation", "null"]),
        (LINEAR, {"observation": ROW[:3]}, ["[4]", "[3]"]),
        (LINEAR, {"observation": ROW[None]}, ["[4]", "[1, 4]"]),
        (LINEAR, {"observation": [1, 2, 3]}, ["float32[4]", "3 elements"]),
        (LINEAR, {"observation": [1, 2, 3, "x"]}, ["observation[3]", "a string"]),
        (ROBOT, {"camera": CAMERA}, ["joints_arm", "got nothing"]),
        (ROBOT, {"camera": CAMERA, "arm": ARM}, ["arm"]),
        (ROBOT, {"camera": CAMERA + 0.5, "joints_arm": ARM}, ["camera[0]: expected uint8, got 7.5"]),
        (ROBOT, {"camera": [7, 256], "joints_arm": ARM}, ["camera[1]", "256"]),
        (ROBOT, {"camera": CAMERA, "joints": {"arm": ARM}, "joints/arm": ARM}, ["joints/arm", "nested maps"]),
    ],
)
def test_what_a_policy_does_not_take_is_named(manifest: Manifest, parts: dict[str, Any], words: list[str]) -> None:
    """Unknown, doubled and missing inputs, other shapes and types; no key is dropped in silence but a prompt."""
    sentence = refusal(manifest, **parts)
    assert all(word in sentence for word in words), sentence
    assert len(sentence) < 300


def test_control_keys_say_the_rest() -> None:
    """As the fields of an act request, in Python's numbers or numpy's; None is the same as no key."""
    parts = {"observation": ROW, "version": np.int64(2), "episode": 7, "first": np.bool_(True), "seed": np.int32(5)}
    parts |= {
        "explore": {"epsilon": np.float32(0.5)},
        "outputs": ["q_values"],
        "deadline_ms": np.float64(20),
        "label": None,
    }
    question = OpenpiQuestion(pack(parts), TensorForm(LINEAR, SETTINGS))
    assert question.pin == Pin(version=2, episode="7", first=True)
    controls = question._controls
    assert (controls.explore, controls.seed, controls.outputs) == (Explore(epsilon=0.5), 5, ["q_values"])
    assert (controls.deadline_ms, controls.label, controls.server_timing) == (20.0, None, False)


@pytest.mark.parametrize(
    "control",
    [
        {"first": 1},
        {"version": "2"},
        {"version": np.array([2])},
        {"label": 5},
        {"episode": ""},
        {"episode": "x" * 129},
        {"episode": 1.5},
        {"seed": -1},
        {"outputs": "q_values"},
        {"outputs": np.ones(3)},
        {"explore": 0.5},
        {"explore": {"kappa": 1}},
        {"deadline_ms": 0},
        {"server_timing": "yes"},
    ],
)
def test_a_control_key_of_another_type_is_refused(control: dict[str, Any]) -> None:
    """And named."""
    with pytest.raises(RequestMalformed, match=next(iter(control))):
        OpenpiQuestion(pack({"observation": ROW, **control}), None)


def test_an_input_is_no_control_key() -> None:
    """A policy that observes a tensor named `first` gets it."""
    call = read(FIRST_IS_AN_INPUT, first=True, joints={"arm": ARM})
    assert call.observations["first"].tolist() == [True]
    question = OpenpiQuestion(pack({"first": True, "joints/arm": ARM}), TensorForm(FIRST_IS_AN_INPUT, SETTINGS))
    assert question.pin == Pin()


def plain_messages(manifest: Manifest = LINEAR) -> PlainMessages:
    return PlainMessages(manifest, TensorForm(manifest, SETTINGS))


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("more", [{}, {"prompt": "go"}])
def test_a_repeated_message_is_cut_out_of_its_bytes(dtype: str, more: dict[str, Any]) -> None:
    """Whatever the observation, also one that looks like the bytes around it."""
    plain = plain_messages()
    odd = np.frombuffer(b"data\xc4\x10\xc4\x04" * 2, "<f4")
    for row in (ROW, -ROW, odd, ROW * 0, ROW):
        given = row.astype(dtype)
        expected = given.astype("<f4").tobytes()
        assert plain.read(pack({"observation": given, **more})) == expected
        assert plain.read(pack({"observation": row.astype(dtype), **more})) == expected
    assert len(plain._known) == 1


def test_another_byte_order_is_not_taken_for_a_repetition() -> None:
    """Zeros are the same in both, and the next observation is not."""
    plain = plain_messages()
    for dtype in (">f4", ">f8"):
        for row in (ROW * 0, ROW, ROW * 0, -ROW):
            assert plain.read(pack({"observation": row.astype(dtype)})) == row.tobytes()
    assert not plain._known


@pytest.mark.parametrize(
    "parts",
    [
        {"observation": ROW, "first": True},
        {"observation": ROW, "version": 3},
        {"observation": ROW, "noise": np.zeros(2)},
        {"observation": ROW.astype("<f2")},
        {"observation": ROW.reshape(2, 2)},
        {"observation": ROW.tolist()},
        {"observation": ROW, "color": 1},
        {"noise": np.zeros(4, np.float32)},
        {},
    ],
)
def test_a_message_with_anything_else_is_not_plain(parts: dict[str, Any]) -> None:
    """Also behind one that is, and of the same length."""
    plain = plain_messages()
    assert plain.read(pack({"observation": ROW})) == ROW.tobytes()
    assert plain.read(pack(parts)) is None
    assert plain.read(b"no message") is None


def test_what_is_remembered_is_bounded() -> None:
    """However many prompts there are, and however long."""
    plain = plain_messages()
    for i in range(3 * MAX_KNOWN):
        assert plain.read(pack({"observation": ROW, "prompt": f"{i:09}" + "x" * (i % 100)})) == ROW.tobytes()
        assert sum(map(len, plain._known.values())) == plain._count <= MAX_KNOWN
    plain._known.clear()
    assert plain.read(pack({"observation": ROW, "prompt": "x" * MAX_KNOWN_BYTES})) == ROW.tobytes()
    assert not plain._known


@pytest.mark.parametrize("manifest", [LINEAR, CONTINUOUS])
def test_prepared_answers_are_what_the_client_unpacks(manifest: Manifest) -> None:
    """Arrays with the horizon as their first axis, and the version."""
    shape = manifest.actions[0].shape
    actions = np.arange(2 * max(1, *shape, 1)).reshape(2, *shape).astype(manifest.actions[0].dtype)
    for action, response in zip(actions, OpenpiWire(manifest).write_actions(actions), strict=True):
        assert (response.status, response.media_type) == (200, b"application/vnd.msgpack")
        answer = unpack(response.body)
        assert answer.keys() == {"actions", "version"}
        assert (answer["actions"].shape, answer["actions"].dtype) == ((1, *shape), action.dtype)
        assert np.array_equal(answer["actions"][0], action)
        assert answer["version"] == 3
        assert response.body == write_results(manifest, {"action": action[None]}, None, {}).body
    assert OpenpiWire(LINEAR).write_actions(np.array([0, 9]))[1].body.count(b"\x09") == 1  # outside the bounds


def test_an_action_of_several_tensors_is_a_map() -> None:
    """Nested as in the manifest; outputs and timing are maps of their own."""
    results = {"action_gear": np.array([2]), "action_wheel": np.ones((1, 2), np.float32), "q_values": np.ones((1, 2))}
    answer = unpack(write_results(ROBOT, results, 1.5, {}).body)
    assert answer["actions"]["gear"].tolist() == [2]
    assert answer["actions"]["wheel"].tolist() == [[1, 1]]
    assert answer["outputs"]["q_values"].tolist() == [[1, 1]]
    assert answer["server_timing"] == {"infer_ms": 1.5}


def test_an_error_is_a_sentence() -> None:
    """Its path names no row, as the message had none."""
    wire = OpenpiWire(LINEAR)
    response = wire.refuse(SpecViolated([Fault("observation[0][2]", "finite float32", "NaN")] * 2))
    assert (response.status, response.body) == (422, b"observation[2]: expected finite float32, got NaN (and 1 more)")
    assert wire.refuse(DeadlineExceeded("too \ud800 late.")).body == b"too ? late."


def test_a_recurrent_policy_stays_in_its_episode() -> None:
    """Its state is not asked for, and comes back only where it was sent."""
    form = TensorForm(RECURRENT, SETTINGS)
    assert form.read({"observation": ROW}, NoCaller(), batched=False, in_episode=True).outputs == ()
    given = form.read({"observation": ROW, "sum": [1, 2]}, NoCaller(), batched=False, in_episode=True)
    assert given.outputs == ("next_sum",)
