"""Arrays that are made once hold what reading an observation anew gives, for observations of every kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.nesting import Tree, arrange_action, grow, is_tuple, neutral_observation, read
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_client.local.observation_buffer import ObservationBuffer
from tests.weighing import BLACKJACK, PAIR, ROBOT

VECTOR = [TensorSpec("observation", (3,), "float32")]
DOUBLE = [TensorSpec("a", (2,), "float64", path=("a",)), TensorSpec("b", (), "float32", path=("b",))]
CARD = [TensorSpec("observation", (), "int64", lookup_minimum=0, lookup_maximum=9)]
PIXELS = [TensorSpec("observation", (2,), "uint8", 0, 255)]
COUNTS = [TensorSpec("a", (2,), "int64", path=("a",)), TensorSpec("b", (), "bool", path=("b",))]
MIXED = [
    TensorSpec(dtype, shape, dtype, path=(dtype,))
    for dtype, shape in (("float16", (2,)), ("float32", (1,)), ("float64", (3,)), ("int32", (2,)), ("uint8", (1, 2)))
]
SPECS = [VECTOR, DOUBLE, PIXELS, COUNTS, CARD, BLACKJACK, ROBOT, PAIR, MIXED]
SOUND, NUMBERS = [0, 1], st.sampled_from([0, 1, -1, 7.5, 300, 1e30, 1e39, float("nan"), float("inf"), True, 2**63])
KINDS = ["float32", "float64", "float16", "int64", "int32", "uint32", "uint8", "bool"]
FORMS = ["array", "array", "array", "list", "number", "strided", "reversed", "swapped", "frozen", "masked", "octets"]


@st.composite
def leaf(draw: Callable[..., Any], spec: TensorSpec) -> Any:
    """Often the tensor's own type and shape, otherwise anything near it, or values by name."""
    shape = spec.shape if draw(st.integers(0, 15)) else (*spec.shape, 2)
    dtype = spec.dtype if draw(st.integers(0, 3)) else draw(st.sampled_from(KINDS))
    numbers = NUMBERS if dtype != spec.dtype or draw(st.integers(0, 4)) == 0 else st.sampled_from(SOUND)
    with np.errstate(all="ignore"):
        array = np.array([draw(numbers) for _ in range(int(np.prod(shape)))], object).reshape(shape)
        array = array.astype(np.float64).astype(dtype)
    form = draw(st.sampled_from([*FORMS, "names"]))
    if form == "names":
        return {
            name: number
            for name, number in zip("hgfedcba"[-array.size :], array.ravel(), strict=False)
            if draw(st.integers(0, 9))
        }
    if form == "number" and not shape:
        return draw(st.sampled_from([array[()], draw(numbers)]))
    return shaped(array, form)


def shaped(array: AnyArray, form: str) -> Any:
    """The same values in another form."""
    match form:
        case "list":
            return array.tolist()
        case "strided" if array.ndim:
            return np.repeat(array, 2, axis=-1)[..., ::2]
        case "reversed" if array.ndim:
            return array[..., ::-1]
        case "swapped":
            return array.astype(array.dtype.newbyteorder())
        case "frozen":
            array.flags.writeable = False
        case "masked":
            return np.ma.masked_array(array)
        case "octets":
            return array.tobytes()
    return array


@st.composite
def observation(draw: Callable[..., Any], tree: Tree) -> Any:
    if isinstance(tree, TensorSpec):
        return draw(leaf(tree))
    parts = {key: draw(observation(branch)) for key, branch in tree.items() if draw(st.integers(0, 15))}
    if not draw(st.integers(0, 15)):
        parts["more"] = 0
    if is_tuple(tree) and draw(st.booleans()):
        return draw(st.sampled_from([tuple, list]))(parts.values())
    return parts


def outcome(function: Callable[[Any], Any], value: Any) -> Any:
    try:
        arrays = function(value)
    except SpecViolated as error:
        return str(error)
    return {name: (array.dtype, array.tolist()) for name, array in arrays.items()}


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_it_holds_what_is_read_or_refuses_likewise(data: st.DataObject) -> None:
    """The same buffer is used for one observation after the other, sound or not."""
    specs = data.draw(st.sampled_from(SPECS))
    tree, named = grow(specs), data.draw(st.booleans())
    names = {spec.name: [*"abcdefgh"[: spec.size]] for spec in specs if named}
    buffer = ObservationBuffer(tree, names)
    for _ in range(3):
        value = data.draw(observation(tree))
        with np.errstate(all="ignore"):
            assert outcome(buffer.fill, value) == outcome(lambda one: read(one, tree, names), value)


@pytest.mark.parametrize(
    "dtype", ["longdouble", "complex64", "M8[s]", "O", "S4", "U1", "f4,f4", ">f4", "2f4", "f8", "i4"]
)
@pytest.mark.parametrize("spec", [VECTOR[0], PIXELS[0], *ROBOT, DOUBLE[1], COUNTS[1]], ids=lambda spec: spec.label)
def test_arrays_of_other_types_are_read_the_long_way(spec: TensorSpec, dtype: str) -> None:
    """Whatever they are: a type that has no octets to copy, or one whose numbers do not fit the tensor's."""
    tree, zeros = grow([replace(spec, path=())]), np.zeros(spec.shape, dtype)
    for value in (zeros, zeros if zeros.dtype.kind == "V" else np.full(spec.shape, 300.5).astype(dtype)):
        with np.errstate(all="ignore"):
            assert outcome(ObservationBuffer(tree, {}).fill, value) == outcome(lambda one: read(one, tree), value)


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (PIXELS[0], b"ab"),
        (PIXELS[0], [1, "2"]),
        (ROBOT[1], "3"),
        (ROBOT[1], 3.5),
        (ROBOT[3], "3"),
        (ROBOT[3], None),
        (ROBOT[3], math.nan),
        (ROBOT[3], np.float32(math.inf)),
        (DOUBLE[0], np.array([0, -math.inf])),
        *((VECTOR[0], np.array(np.roll([0, 0, math.nan], i), np.float32)) for i in range(3)),
    ],
)
def test_what_is_no_number_is_refused(spec: TensorSpec, value: Any) -> None:
    """Though numpy would make one of it."""
    tree = grow([replace(spec, path=())])
    refusal = outcome(ObservationBuffer(tree, {}).fill, value)
    assert isinstance(refusal, str)
    assert refusal == outcome(lambda one: read(one, tree), value)


@pytest.mark.parametrize("spec", [VECTOR[0], ROBOT[0], TensorSpec("observation", (1, 3, 2), "float64")])
@pytest.mark.parametrize("shape", [(), (1,), (2,), (3,), (1, 3), (1, 2), (2, 1), (1, 1, 2), (3, 2), (6,), (0,)])
def test_arrays_of_another_shape_are_refused(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    """Also where numpy would repeat their elements in the tensor's shape."""
    tree, value = grow([replace(spec, path=())]), np.zeros(shape, spec.dtype)
    assert outcome(ObservationBuffer(tree, {}).fill, value) == outcome(lambda one: read(one, tree), value)


@pytest.mark.parametrize("specs", [DOUBLE, COUNTS, BLACKJACK, ROBOT, PAIR, MIXED], ids=lambda specs: specs[0].name)
def test_an_observation_of_more_or_fewer_parts_is_refused(specs: list[TensorSpec]) -> None:
    """Whatever else fits."""
    tree = grow(specs)
    buffer, sound = ObservationBuffer(tree, {}), arrange_action(neutral_observation(specs))
    if isinstance(sound, tuple):
        wrong: list[Any] = [(*sound, 0), sound[1:], {**dict(enumerate(sound)), "more": 0}]
    else:
        wrong = [{**sound, "more": 0}, dict([*sound.items()][1:])]
    assert isinstance(outcome(buffer.fill, sound), dict)
    for value in wrong:
        refusal = outcome(buffer.fill, value)
        assert isinstance(refusal, str)
        assert refusal == outcome(lambda one: read(one, tree), value)
