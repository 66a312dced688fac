"""Elements of the observation as inputs of their own, against the same numbers as one array."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from msgspec.structs import replace

from rlway_client.contract.errors import BodyTooLarge, SpecViolated
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import DTYPES, AnyArray, TensorSpec
from tests.naming import with_names
from tests.serve.codec.test_tensors import LINEAR, ROBOT, ROWS, faults, read

NAMES = ["hip", "knee", "ankle", "toe"]
NAMED = with_names(LINEAR, "observation", NAMES)
COLUMNS = dict(zip(NAMES, ROWS.T, strict=True))
ARM = with_names(ROBOT, "joints_arm", NAMES[:3])


def outcome(manifest: Manifest, tensors: dict[str, Any], batched: bool) -> Any:
    try:
        call = read(manifest, tensors, batched=batched)
    except SpecViolated as error:
        return {(fault.path, fault.expected, fault.got) for fault in error.faults}
    return call.rows, call.observations.dtype, np.asarray(call.observations).tolist()


@settings(deadline=None)
@given(st.data())
def test_elements_are_read_as_the_columns_of_the_whole_array(data: st.DataObject) -> None:
    """In any order and of any dtype, alone or in rows, as numbers of numpy or of JSON."""
    spec = TensorSpec("joints", (2, 2), data.draw(st.sampled_from(DTYPES)))
    manifest = replace(LINEAR, observation=[spec])
    batched, listed = data.draw(st.booleans()), data.draw(st.booleans())
    source = data.draw(st.sampled_from(DTYPES).map(np.dtype))
    limits: Any = {"allow_nan": False, "allow_infinity": False} if source.kind == "f" else {}
    rows = 3 if batched else 1
    array: AnyArray = data.draw(arrays.arrays(source, (rows, 4), elements=arrays.from_dtype(source, **limits)))
    with np.errstate(over="ignore", invalid="ignore"):
        array = array if np.isfinite(array.astype(spec.dtype)).all() else np.zeros_like(array)
    order = data.draw(st.permutations(range(4)))
    form = data.draw(st.sampled_from([lambda column: column, lambda column: column[:, None]]))
    root = data.draw(st.sampled_from(["", "joints/", "observation/", "0/observation/"]))
    whole = array.reshape(rows, 2, 2)
    columns = {root + NAMES[i]: (array[:, i] if listed else form(array[:, i])) for i in order}
    if not batched:
        whole, columns = whole[0], {name: column[0] for name, column in columns.items()}
    if listed:
        columns = {name: column.tolist() for name, column in columns.items()}
    expected = outcome(manifest, {"joints": whole.tolist() if listed else whole}, batched)
    found = outcome(with_names(manifest, "joints", NAMES), columns, batched)
    if isinstance(expected, tuple):
        assert found == expected
        return
    # Of an array only the first fault is told; each element tells its own.
    at = re.compile(r"joints(\[\d+\])?\[(\d)\]\[(\d)\]$")
    named = {
        (at.sub(lambda m: root + NAMES[2 * int(m[2]) + int(m[3])] + (m[1] or ""), path), *rest)
        for path, *rest in expected
    }
    assert isinstance(found, set)
    assert named <= found


def test_the_parts_of_an_observation_have_elements_by_their_paths() -> None:
    """Under each name that the part has, beside parts as whole arrays."""
    camera = np.array([[7, 255]])
    for root in ("joints_arm", "joints/arm", "observation/joints/arm", "0/observation/joints/arm"):
        call = read(ARM, {f"{root}/{name}": [float(i)] for i, name in enumerate(NAMES[:3])} | {"camera": camera})
        assert call.observations["joints_arm"].tolist() == [[0.0, 1.0, 2.0]]
        assert call.observations["camera"].tolist() == [[7, 255]]
    assert faults(ARM, {"camera": camera, "hip": [1.0]}) == [
        "hip: expected an input of the policy: camera, joints_arm, noise, reward, discount, step_type, "
        "got the end of joints/arm/hip"
    ]


def test_a_row_of_json_may_be_an_object_of_names() -> None:
    """With the path of the row in its faults."""
    rows = [dict(zip(reversed(NAMES), reversed(row), strict=True)) for row in ROWS.tolist()]
    assert read(NAMED, {"observation": rows}).observations.tolist() == ROWS.tolist()
    assert read(NAMED, {"observation": rows[1]}, batched=False).observations.tolist() == [ROWS[1].tolist()]
    assert faults(NAMED, {"observation": [rows[0], rows[1] | {"knee": "x"}]}) == [
        'observation[1]["knee"]: expected float32, got a string'
    ]
    assert faults(NAMED, {"observation": rows[0] | {"knee": None}}, batched=False) == [
        'observation["knee"]: expected float32, got null'
    ]


@pytest.mark.parametrize("key", ["noise", "reward", "observation"])
def test_an_input_goes_before_an_element_of_the_same_name(key: str) -> None:
    """The element then needs the name of its tensor before its own."""
    named = with_names(LINEAR, "observation", [key, *NAMES[1:]])
    columns = {f"observation/{name}": column for name, column in COLUMNS.items() if name != "hip"}
    value = {"noise": np.zeros((2, 2)), "reward": np.zeros(2), "observation": ROWS}[key]
    call = read(named, columns | {f"observation/{key}": COLUMNS["hip"]})
    assert np.array_equal(call.observations, ROWS)
    refused = faults(named, columns | {key: value})
    assert any(key in sentence for sentence in refused)


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        ({"knee": [0, np.nan]}, ["knee[1]: expected finite float32, got NaN"]),
        ({"knee": np.array([0, np.inf])}, ["knee[1]: expected finite float32, got Infinity"]),
        ({"knee": np.array([1e39, 0])}, ["knee[0]: expected finite float32, got 1e+39"]),
        ({"knee": np.array(["a", "b"])}, ["knee: expected float32, got an array of <U1"]),
        ({"knee": 1.0}, ["knee: expected an array of at least 1 float32, got 1"]),
        ({"knee": np.zeros((2, 2))}, ["knee: expected the shape [B], got [2, 2]"]),
        ({"knee": np.zeros((1, 2))}, ["knee: expected the shape [B], got [1, 2]"]),
        ({"observation": ROWS}, ["hip: expected either observation or its elements, got both"]),
        ({"observation/hip": [0, 0]}, ["observation/hip: expected hip once, got it twice"]),
        (
            {"knee": [0, 1, 2]},
            [f"{name}: expected 2 rows, as the elements before it, got 3" for name in ("knee",)],
        ),
        ({"noise": np.zeros((1, 2))}, ["observation: expected 1 rows, as the inputs before it, got 2"]),
    ],
)
def test_a_fault_is_told_by_the_name_of_the_element(change: dict[str, Any], sentences: list[str]) -> None:
    """As the request has it."""
    assert faults(NAMED, COLUMNS | change) == sentences


def test_missing_elements_are_told_behind_a_misspelt_one() -> None:
    """The first sentence is the one that people read."""
    columns = {("ankel" if name == "ankle" else name): column for name, column in COLUMNS.items()}
    inputs = "an input of the policy: observation, noise, reward, discount, step_type"
    assert faults(NAMED, columns) == [
        f"ankel: expected {inputs}, got a name close to ankle",
        "ankle: expected float32, got nothing",
    ]
    assert faults(NAMED, {f"observation/{name}": column for name, column in columns.items()}) == [
        f"observation/ankel: expected {inputs}, got a name close to observation/ankle",
        "observation/ankle: expected float32, got nothing",
    ]


def test_an_element_outside_its_table_is_refused_by_its_name() -> None:
    """Each element may have a table of its own."""
    spec = TensorSpec("observation", (2, 2), "int64", lookup_minimum=[0, None, 0, 0], lookup_maximum=[1, 2, 3, None])
    named = with_names(replace(LINEAR, observation=[spec]), "observation", NAMES)
    sound = dict(zip(NAMES, np.array([[0, -9, 3, 99], [1, 2, 0, 0]]).T, strict=True))
    assert read(named, sound).observations.tolist() == [[[0, -9], [3, 99]], [[1, 2], [0, 0]]]
    assert faults(named, sound | {"knee": np.array([3, 2]), "toe": [0, -1]}) == [
        "knee[0]: expected at most 2, as the policy looks it up in a table, got 3",
        "toe[1]: expected at least 0, as the policy looks it up in a table, got -1",
    ]


def test_too_many_rows_of_elements_are_refused() -> None:
    """As of whole arrays."""
    with pytest.raises(BodyTooLarge, match="hip: expected at most 8 rows, got 9"):
        read(NAMED, {name: np.zeros(9) for name in NAMES})


def test_many_elements_with_faults_cost_little() -> None:
    """A tensor of ten thousand names, each of them misspelt: a few faults."""
    spec = TensorSpec("observation", (10_000,), "float32")
    names = [f"n{i}" for i in range(10_000)]
    named = with_names(replace(LINEAR, observation=[spec]), "observation", names)
    wrong = [f"m{i}" for i in range(10_000)]
    random.Random(0).shuffle(wrong)
    assert len(faults(named, {name: [0.0] for name in wrong})) == 20
    assert len(faults(named, {name: [None] for name in names})) == 20
