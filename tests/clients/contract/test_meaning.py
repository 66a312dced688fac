"""What a policy's numbers stand for: which meanings fit its tensors, and observations by name."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlway_client.contract.errors import BundleInvalid, SpecViolated
from rlway_client.contract.manifest import Manifest, decode_manifest, encode_manifest
from rlway_client.contract.named_values import in_order
from rlway_client.contract.nesting import grow
from rlway_client.contract.specs import TensorSpec

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
    tree = grow([JOINTS, SPEED])
    found = in_order({"joints": dict(pairs), "body": {"speed": 1.0}}, tree, {"joints": NAMES})
    assert found == {"joints": np.reshape(values, (2, 2)).tolist(), "body": {"speed": 1.0}}


def test_names_that_are_missing_or_unknown_are_told_by_their_path() -> None:
    """All of them at once."""
    with pytest.raises(SpecViolated) as refused:
        in_order({"joints": {"hip": 1, "knee": 2, "ankle": 3, "heel": 4}}, grow([JOINTS, SPEED]), {"joints": NAMES})
    paths = [(fault.path, fault.got) for fault in refused.value.faults]
    assert paths == [('observation["joints"]["toe"]', "nothing"), ('observation["joints"]["heel"]', "another name")]


def test_a_path_has_names_as_they_are_written() -> None:
    """Those of other alphabets as well, and no more than the beginning of a long one."""
    given = {"joints": dict.fromkeys(NAMES, 0) | {"κνήμη": 1, "x" * 99: 2}}
    with pytest.raises(SpecViolated) as refused:
        in_order(given, grow([JOINTS, SPEED]), {"joints": NAMES})
    assert [fault.path for fault in refused.value.faults] == [
        'observation["joints"]["κνήμη"]',
        f'observation["joints"]["{"x" * 64}"]',
    ]


def test_names_lie_within_a_tuple_as_well() -> None:
    """As an environment with a Tuple space gives it."""
    tree = grow([TensorSpec("at", (2,), "float32", path=("0",)), TensorSpec("speed", (), "float32", path=("1",))])
    assert in_order(({"y": 2, "x": 1}, 3), tree, {"at": ["x", "y"]}) == {"0": [1, 2], "1": 3}
