"""Named tensors, as other protocols send them, against a policy's spec."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from msgspec.structs import replace

from rlway_client.contract.errors import BodyTooLarge, RequestMalformed, SpecViolated
from rlway_client.contract.exploration import Explore
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.contract.specs import DTYPES, AnyArray, TensorSpec
from rlway_serve.codec.tensor_reader import cast
from rlway_serve.codec.tensors import TensorForm
from rlway_serve.settings import Settings

SETTINGS = Settings(models=Path(), max_rows=8)
LINEAR = Manifest(
    schema_version=MANIFEST_SCHEMA,
    policy="linear",
    version=1,
    algorithm="dqn",
    env=None,
    observation=[TensorSpec("observation", (4,), "float32")],
    action=TensorSpec("action", (), "int64", 0, 1),
    noise=TensorSpec("noise", (2,), "float32"),
    outputs=[TensorSpec("q_values", (2,), "float32")],
)
CAMERA = TensorSpec("camera", (2,), "uint8", path=("camera",))
ARM = TensorSpec("joints_arm", (3,), "float32", path=("joints", "arm"))
ROBOT = replace(LINEAR, observation=[CAMERA, ARM])
RECURRENT = replace(LINEAR, state=[TensorSpec("sum", (2,), "float32", path=("0",))])
ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


class Nobody:
    """A caller whose answer nobody waits for."""

    connection = None
    abandoned = False

    def answer(self, _: Any) -> None:
        raise AssertionError("nothing is run here")


def read(manifest: Manifest, tensors: Mapping[str, Any], **options: Any) -> Any:
    return TensorForm(manifest, SETTINGS).read(tensors, Nobody(), **options)


def faults(manifest: Manifest, tensors: Mapping[str, Any], **options: Any) -> list[str]:
    with pytest.raises(SpecViolated) as refused:
        read(manifest, tensors, **options)
    return [fault.sentence for fault in refused.value.faults]


@pytest.mark.parametrize("name", ["observation", "0/observation"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", ">f4", ">f8", "uint8"])
def test_a_sole_observation_is_read_under_each_of_its_names_and_in_each_dtype(name: str, dtype: str) -> None:
    """numpy's default is float64, and images of other libraries are whole numbers."""
    call = read(LINEAR, {name: ROWS.astype(dtype)})
    assert call.observations.dtype == np.float32
    assert np.array_equal(call.observations, ROWS)
    assert (call.rows, call.batched, call.named) == (2, True, True)


@pytest.mark.parametrize(
    ("camera", "arm"),
    [
        ("camera", "joints_arm"),
        ("0/observation/camera", "0/observation/joints/arm"),
        ("observation/camera", "joints/arm"),
    ],
)  # fmt: skip
def test_parts_of_an_observation_are_named_by_manifest_or_path(camera: str, arm: str) -> None:
    """The signatures of TF-Agents name a part by its path."""
    call = read(ROBOT, {arm: [[1.0, 2.0, 3.0]], camera: np.array([[7, 255]])})
    assert call.observations["camera"].dtype == np.uint8
    assert call.observations["camera"].tolist() == [[7, 255]]
    assert call.observations["joints_arm"].tolist() == [[1.0, 2.0, 3.0]]


def test_without_a_batch_a_tensor_has_the_shape_of_its_spec() -> None:
    """Robots send one observation."""
    call = read(ROBOT, {"camera": np.array([1, 2], np.uint8), "joints/arm": [1, 2, 3]}, batched=False)
    assert (call.rows, call.batched) == (1, False)
    assert call.observations["joints_arm"].tolist() == [[1.0, 2.0, 3.0]]
    assert faults(ROBOT, {"camera": np.zeros((1, 2), np.uint8), "joints/arm": [1, 2, 3]}, batched=False) == [
        "camera: expected the shape [2], got [1, 2]"
    ]


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({}, "observation: expected float32[4], got nothing"),
        ({"observations": ROWS}, "observations: expected an input of the policy: observation, noise, "),
        ({"observation": ROWS, "0/observation": ROWS}, "0/observation: expected the input observation once, got it"),
        ({"observation": ROWS[:, :3]}, "observation: expected the shape [B, 4], got [2, 3]"),
        ({"observation": ROWS[0]}, "observation: expected the shape [B, 4], got [4]"),
        ({"observation": np.float32(1)}, "observation: expected the shape [B, 4], got []"),
        ({"observation": ROWS[:0]}, "observation: expected the shape [B, 4], got [0, 4]"),
        ({"observation": np.array([["a"] * 4])}, "observation: expected float32[4], got an array of <U1"),
        ({"observation": ROWS.astype(complex)}, "observation: expected float32[4], got an array of complex128"),
        ({"observation": []}, "observation: expected an array of at least 1 float32[4], got 0"),
        ({"observation": [[1, 2, 3, 4], [1, 2, "x", 4]]}, "observation[1][2]: expected float32, got a string"),
        ({"observation": [[1, 2, 3, float("nan")]]}, "observation[0][3]: expected finite float32, got NaN"),
        ({"observation": ROWS, "noise": np.zeros((1, 2))}, "noise: expected 2 rows, as the inputs before it, got 1"),
        ({"observation": ROWS, "step_type": np.array([1, 3])}, "step_type[1]: expected 0 (first), 1 (mid) or 2 (last)"),
        ({"observation": ROWS, "step_type": np.array([1, 0.5])}, "step_type[1]: expected int32, got 0.5"),
        ({"observation": ROWS, "reward": np.array([0.0, np.inf])}, "reward[1]: expected finite float32, got Infinity"),
        ({"observation": ROWS, "noise": np.array([[0, 1], [np.nan, 0]])}, "noise[1][0]: expected finite float32"),
        ({"observation": ROWS, "sum": np.zeros((2, 2))}, "sum: expected an input of the policy: observ"),
    ],
)  # fmt: skip
def test_a_fault_is_named_by_its_tensor(tensors: dict[str, Any], sentence: str) -> None:
    """The caller learns which input is wrong, what was expected and what came."""
    assert faults(LINEAR, tensors)[0].startswith(sentence)


@pytest.mark.parametrize("key", ["reward", "discount", "step_type", "reset"])
@pytest.mark.parametrize("exported", [True, False])
def test_an_observation_keeps_its_key_though_a_time_step_has_one_like_it(key: str, exported: bool) -> None:
    """Where the policy reads no such part; exports call the tensor `observation_reward`, other bundles `reward`."""
    spec = TensorSpec(f"observation_{key}" if exported else key, (1,), "float32", path=(key,))
    policy = replace(LINEAR, observation=[CAMERA, spec])
    for spelling in (key, f"observation/{key}", f"0/observation/{key}", spec.name):
        call = read(policy, {"camera": [[1, 2]], spelling: [[7.0]]})
        assert call.observations[spec.name].tolist() == [[7.0]]
        assert (call.time_step, call.reset) == (None, None)


def test_a_part_of_the_time_step_that_the_policy_reads_keeps_its_name() -> None:
    """Then a part of the observation with the same key has its longer names."""
    spec = TensorSpec("observation_reward", (1,), "float32", path=("reward",))
    policy = replace(LINEAR, observation=[CAMERA, spec], time_step=[TensorSpec("reward", (), "float32")])
    call = read(policy, {"camera": [[1, 2]], "observation/reward": [[7.0]], "reward": [3.0]})
    assert call.observations["observation_reward"].tolist() == [[7.0]]
    assert call.time_step["reward"].tolist() == [3.0]


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [("noise", [np.nan, 0], "[0]"), ("sum", [0, np.inf], "[1]"), ("reward", np.nan, ""), ("step_type", 7, "")],
)
def test_a_fault_names_a_row_only_where_the_request_has_rows(name: str, value: Any, place: str) -> None:
    """A robot sends one observation at a time."""
    tensors = {"observation": np.zeros(4), name: np.array(value)}
    (alone,) = faults(RECURRENT, tensors, batched=False)
    (first,) = faults(RECURRENT, {key: np.array([array]) for key, array in tensors.items()})
    assert alone.startswith(f"{name}{place}: ")
    assert first.startswith(f"{name}[0]{place}: ")


def test_every_octet_of_a_bool_but_zero_is_true() -> None:
    """A model computes with the octet, and numpy keeps any that a request holds."""
    switches = replace(LINEAR, observation=[TensorSpec("on", (4,), "bool", path=("on",))])
    octets = np.array([[0, 1, 2, 255]], np.uint8).view(bool)
    assert read(switches, {"on": octets}).observations["on"].view(np.uint8).tolist() == [[0, 1, 1, 1]]
    assert read(LINEAR, {"observation": octets}).observations.tolist() == [[0, 1, 1, 1]]
    assert read(switches, {"on": octets[0]}, batched=False).observations["on"].view(np.uint8).tolist() == [[0, 1, 1, 1]]


def test_too_many_rows_are_refused() -> None:
    """As many as `--max-rows` are read."""
    assert read(LINEAR, {"observation": np.zeros((8, 4))}).rows == 8
    for rows in (np.zeros((9, 4)), np.zeros((9, 4)).tolist()):
        with pytest.raises(BodyTooLarge, match="observation: expected at most 8 rows, got 9"):
            read(LINEAR, {"observation": rows})


def test_noise_is_used_as_it_is_given() -> None:
    """Without it the run draws none; beside `explore` there would be two."""
    noise = np.array([[1, -np.inf], [0, 1]])  # an infinite one rules an action out
    given = read(LINEAR, {"observation": ROWS, "noise": noise}).noise
    assert given is not None
    assert np.array_equal(given, noise)
    assert read(LINEAR, {"observation": ROWS}).noise is None
    with pytest.raises(RequestMalformed, match="either `noise` or `explore`"):
        read(LINEAR, {"observation": ROWS, "noise": noise}, explore=Explore(epsilon=0.5))


def test_a_time_step_is_checked_even_where_the_policy_does_not_read_it() -> None:
    """Callers of TF-Agents' signatures always send it, and the policy's own graph does not read it either."""
    step = {"0/reward": [0.0, 1.0], "0/discount": np.ones(2, np.float32), "0/step_type": np.array([1, 2], np.int32)}
    assert read(LINEAR, {"observation": ROWS} | step).time_step is None
    reads = replace(LINEAR, time_step=[TensorSpec("reward", (), "float32")])
    call = read(reads, {"observation": ROWS} | step)
    assert call.time_step is not None
    assert {name: part.tolist() for name, part in call.time_step.items()} == {"reward": [0.0, 1.0]}
    assert faults(LINEAR, {"observation": ROWS, "reward": [0.0, None]})[0].startswith(
        "reward[1]: expected float32, got null"
    )


def test_a_request_may_hold_the_policy_state_itself() -> None:
    """Then the next state is among its outputs, as TensorFlow Serving answers."""
    call = read(RECURRENT, {"observation": ROWS, "1/0": np.ones((2, 2)), "0/step_type": [0, 1]})
    assert call.given_state is not None
    assert call.given_state["sum"].tolist() == [[1, 1], [1, 1]]
    assert call.reset is not None
    assert call.reset.tolist() == [True, False]
    assert call.outputs == ("next_sum",)


def test_an_episode_that_begins_by_its_step_type_answers_with_the_state_unless_it_has_an_id() -> None:
    """Where the server keeps the state, the caller need not carry it."""
    tensors = {"observation": ROWS, "step_type": [0, 0]}
    assert read(RECURRENT, tensors).outputs == ("next_sum",)
    assert read(RECURRENT, tensors, in_episode=True).outputs == ()
    assert read(RECURRENT, {"observation": ROWS}, in_episode=True).reset is None


def test_outputs_are_named_as_in_the_manifest() -> None:
    """The action is always among them."""
    assert read(LINEAR, {"observation": ROWS}, outputs=["q_values", "action", "q_values"]).outputs == ("q_values",)
    assert faults(LINEAR, {"observation": ROWS}, outputs=["value"]) == [
        "outputs: expected any of action, q_values, got value"
    ]


@given(data=st.data())
def test_a_cast_keeps_every_number_or_names_one_that_it_cannot_keep(data: st.DataObject) -> None:
    """Against numpy's own arithmetic on Python's numbers, for every pair of dtypes."""
    dtypes = st.sampled_from(DTYPES).map(np.dtype)
    source: np.dtype[Any] = data.draw(dtypes)
    target: np.dtype[Any] = data.draw(dtypes)
    array: AnyArray = data.draw(arrays.arrays(source, (3,)))
    spec = TensorSpec("x", (), str(target))
    numbers = array.tolist()
    if target.kind == "f":
        with np.errstate(over="ignore"):
            expected = array.astype(target)
        assert np.array_equal(cast(array, spec, "x"), expected, equal_nan=True)
        return
    limits: Any = np.iinfo(target) if target.kind != "b" else None
    low, high = (int(limits.min), int(limits.max)) if limits else (0, 1)
    fits = [number == number and low <= number <= high and int(number) == number for number in numbers]
    if all(fits):
        assert cast(array, spec, "x").tolist() == [target.type(int(number)).item() for number in numbers]
    else:
        with pytest.raises(SpecViolated) as refused:
            cast(array, spec, "x")
        assert refused.value.faults[0].path == f"x[{fits.index(False)}]"
