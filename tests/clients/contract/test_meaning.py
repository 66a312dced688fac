"""What a policy's numbers stand for: which meanings fit its tensors, and observations by name."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rlway_client.contract.errors import BundleInvalid, SpecViolated
from rlway_client.contract.manifest import Manifest, decode_manifest, encode_manifest
from rlway_client.contract.named_values import find_named_faults, in_order, keep_doubles
from rlway_client.contract.nesting import grow, read
from rlway_client.contract.specs import TensorSpec, find_faults

JOINTS = TensorSpec("joints", (2, 2), "float32", path=("joints",))
SPEED = TensorSpec("speed", (), "float32", path=("body", "speed"))
ACTION = TensorSpec("action", (), "int64", 0, 1)
NAMES = ["hip", "knee", "ankle", "toe"]


def manifest(**meaning: Any) -> bytes:
    made = Manifest(schema_version=1, policy="leg", version=1, algorithm=None, env=None, observation=[JOINTS, SPEED],
                    action=ACTION, noise=None)  # fmt: skip
    fields = msgspec.to_builtins(made) | {"meaning": meaning}
    return msgspec.json.encode(fields)


def test_a_meaning_is_kept_as_it_was_given() -> None:
    """It survives writing and reading."""
    tensors = {
        "joints": {"names": NAMES, "units": "rad", "kinds": ["angle"] * 4, "frame": "base_link"},
        "action": {"choices": ["brake", "go"]},
    }
    read = decode_manifest(manifest(control_period_s=0.02, tensors=tensors), "manifest.json")
    assert read.meaning is not None
    assert (read.meaning.control_period_s, read.meaning.names) == (0.02, {"joints": NAMES})
    again = decode_manifest(encode_manifest(read), "manifest.json")
    assert msgspec.to_builtins(again.meaning) == {"control_period_s": 0.02, "tensors": tensors}


@pytest.mark.parametrize(
    ("meaning", "says"),
    [
        ({"tensors": {"leg": {}}}, "tensors: expected names of the policy (joints, speed, action), got 'leg'"),
        ({"tensors": {"joints": {"names": ["hip"]}}}, "joints.names: expected 4, one per element, got 1"),
        ({"tensors": {"joints": {"units": ["m"] * 3}}}, "joints.units: expected 4, one per element, got 3"),
        ({"tensors": {"joints": {"names": [*NAMES[:3], "HIP"]}}}, "each name once, whatever its case, got 'hip' again"),
        ({"tensors": {"joints": {"names": ["1", "b", "c", "d"]}}}, "a letter first, got '1'"),
        ({"tensors": {"action": {"choices": ["go"]}}}, "action.choices: expected 2, one per action, got 1"),
        ({"tensors": {"speed": {"choices": ["a"]}}}, "it is no discrete action of one number"),
        ({"control_period_s": 0}, "Expected `float` > 0.0"),
        ({"control_period_s": "20 ms"}, "Expected `float | null`"),
        ({"periods": 1}, "unknown field"),
    ],
)
def test_a_meaning_that_does_not_fit_is_refused(meaning: dict[str, Any], says: str) -> None:
    """The sentence names the tensor and the field."""
    with pytest.raises(BundleInvalid) as refused:
        decode_manifest(manifest(**meaning), "manifest.json")
    assert says in str(refused.value)
    assert len(str(refused.value)) < 300


@settings(deadline=None)
@given(st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=4), st.randoms())
def test_values_by_name_are_those_in_order(values: list[float], chance: random.Random) -> None:
    """Whatever the order of the names, and wherever the tensor lies."""
    pairs = list(zip(NAMES, values, strict=True))
    chance.shuffle(pairs)
    assert in_order(dict(pairs), JOINTS, NAMES) == np.reshape(values, (2, 2)).tolist()
    observation = {"joints": dict(pairs), "body": {"speed": 1.0}}
    found = read(observation, grow([JOINTS, SPEED]), {"joints": NAMES})
    assert found["joints"].tolist() == np.reshape(values, (1, 2, 2)).tolist()
    assert found["speed"].tolist() == [1.0]


def test_names_that_are_missing_or_unknown_are_told_by_their_path() -> None:
    """All of them at once, and a value that does not fit beside them."""
    given = {"joints": {"hip": 1, "knee": "bent", "ankle": 3, "heel": 4}, "body": {"speed": 1.0}}
    with pytest.raises(SpecViolated) as refused:
        read(given, grow([JOINTS, SPEED]), {"joints": NAMES})
    assert [(fault.path, fault.got) for fault in refused.value.faults] == [
        ('observation["joints"]["heel"]', "an unknown name"),
        ('observation["joints"]["toe"]', "nothing"),
        ('observation["joints"]["knee"]', "a string"),
    ]


def test_a_misspelt_name_is_told_beside_the_one_that_it_resembles() -> None:
    """Only a name that is missing can be meant."""
    faults = find_named_faults({"hipp": 1, "nee": 2, "ankle": 3, "toe": 4, "toes": 5}, JOINTS, NAMES, "observation")
    assert {fault.path: fault.got for fault in faults} == {
        'observation["hipp"]': "a name close to hip",
        'observation["nee"]': "a name close to knee",
        'observation["toes"]': "an unknown name",
        'observation["hip"]': "nothing",
        'observation["knee"]': "nothing",
    }


SCALARS = st.one_of(st.floats(), st.integers(-4, 300), st.booleans(), st.none(), st.just("x"), st.just([1.0]))
SPECS = st.sampled_from(
    [
        JOINTS,
        TensorSpec("joints", (4,), "uint8"),
        TensorSpec("joints", (4,), "bool"),
        TensorSpec("joints", (2, 2), "int64", lookup_minimum=[0, None, 1, 2], lookup_maximum=9),
    ]
)


@settings(deadline=None)
@given(SPECS, st.lists(SCALARS, min_size=4, max_size=4), st.randoms())
def test_a_value_by_name_has_the_fault_that_it_has_in_a_list(
    spec: TensorSpec, values: list[Any], chance: random.Random
) -> None:
    """With its name in place of its index."""
    pairs = list(zip(NAMES, values, strict=True))
    chance.shuffle(pairs)
    places = dict(zip((str([*index]) for index in np.ndindex(spec.shape)), NAMES, strict=True))
    listed = find_faults(np.array([*values, None], object)[:-1].reshape(spec.shape).tolist(), spec, "")
    expected = {(places[fault.path.replace("][", ", ")], fault.expected, fault.got) for fault in listed}
    named = find_named_faults(dict(pairs), spec, NAMES, "at[1]")
    assert {(fault.path.removeprefix('at[1]["').removesuffix('"]'), fault.expected, fault.got) for fault in named} == (
        expected
    )


def test_values_that_are_arrays_of_one_length_are_no_numbers() -> None:
    """numpy takes four lists of four numbers for one larger array."""
    for value in ([1.0], [1.0, 2.0, 3.0, 4.0], np.ones(1), np.ones(4)):
        faults = find_named_faults(dict.fromkeys(NAMES, value), JOINTS, NAMES, "observation")
        assert [fault.got for fault in faults] == [f"an array of {len(value)}"] * 4
        with pytest.raises(
            SpecViolated, match='observation\\["joints"\\]\\["hip"\\]: expected float32, got an array of'
        ):
            read(
                {"joints": dict.fromkeys(NAMES, value), "body": {"speed": 1.0}},
                grow([JOINTS, SPEED]),
                {"joints": NAMES},
            )


@pytest.mark.parametrize("value", [1, np.float64(1), np.float32(1), np.array(1.0), np.int8(1), True])
def test_a_value_by_name_may_be_any_number_of_numpy(value: Any) -> None:
    """As robots read them from their drivers."""
    found = read(dict.fromkeys(NAMES, value), replace(JOINTS, path=()), {"joints": NAMES})
    assert found["joints"].tolist() == [[[1, 1], [1, 1]]]


def test_a_path_has_names_as_they_are_written() -> None:
    """Those of other alphabets as well, and no more than the beginning of a long one."""
    given = {"joints": dict.fromkeys(NAMES, 0) | {"κνήμη": 1, "x" * 99: 2}, "body": {"speed": 0}}
    with pytest.raises(SpecViolated) as refused:
        read(given, grow([JOINTS, SPEED]), {"joints": NAMES})
    assert [fault.path for fault in refused.value.faults] == [
        'observation["joints"]["κνήμη"]',
        f'observation["joints"]["{"x" * 64}"]',
    ]


def test_names_lie_within_a_tuple_as_well() -> None:
    """As an environment with a Tuple space gives it."""
    tree = grow([TensorSpec("at", (2,), "float32", path=("0",)), TensorSpec("speed", (), "float32", path=("1",))])
    found = read(({"y": 2, "x": 1}, 3), tree, {"at": ["x", "y"]})
    assert {name: array.tolist() for name, array in found.items()} == {"at": [[1, 2]], "speed": [3]}


def test_a_tensor_of_one_number_has_one_name() -> None:
    """It has no dimension that could be indexed."""
    assert in_order({"speed": 2.0}, SPEED, ["speed"]) == 2.0
    assert [fault.path for fault in find_named_faults({"speed": "fast"}, SPEED, ["speed"], "it")] == ['it["speed"]']


def test_a_doubled_key_of_json_is_remembered() -> None:
    """Python's json keeps the last value and says nothing."""
    text = '{"hip": 1, "knee": 2, "ankle": 3, "toe": 4, "knee": 5}'
    values = json.loads(text, object_pairs_hook=keep_doubles)
    assert values == json.loads(text)
    with pytest.raises(SpecViolated, match='observation\\["knee"\\]: expected each name once, got it twice'):
        in_order(values, JOINTS, NAMES)
    assert type(json.loads("{}", object_pairs_hook=keep_doubles)) is dict


def test_a_hostile_object_costs_little() -> None:
    """A thousand unknown keys of ten thousand letters, all of them doubled, beside ten thousand names: a few faults."""
    names = [f"n{i}" for i in range(10_000)]
    pairs: list[tuple[str, Any]] = [(str(i) + "x" * 10_000, 1) for i in range(1_000)]
    values = keep_doubles(pairs + pairs)
    faults = find_named_faults(values, TensorSpec("n", (10_000,), "float32"), names, "observation")
    assert len(faults) == 20
    assert all(len(fault.path) < 100 for fault in faults)
