"""Arrays that are made once hold what reading an observation anew gives, for observations of every kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.nesting import Tree, grow, is_tuple, read
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.observation_buffer import ObservationBuffer
from tests.weighing import BLACKJACK, PAIR, ROBOT

VECTOR = [TensorSpec("observation", (3,), "float32")]
DOUBLE = [TensorSpec("a", (2,), "float64", path=("a",)), TensorSpec("b", (), "float32", path=("b",))]
CARD = [TensorSpec("observation", (), "int64", lookup_minimum=0, lookup_maximum=9)]
PIXELS = [TensorSpec("observation", (2,), "uint8", 0, 255)]
COUNTS = [TensorSpec("a", (2,), "int64", path=("a",)), TensorSpec("b", (), "bool", path=("b",))]
SPECS = [VECTOR, DOUBLE, PIXELS, COUNTS, CARD, BLACKJACK, ROBOT, PAIR]
SOUND, NUMBERS = [0, 1], st.sampled_from([0, 1, -1, 7.5, 300, 1e30, 1e39, float("nan"), float("inf"), True, 2**63])
KINDS = ["float32", "float64", "int64", "int32", "uint8", "bool"]


@st.composite
def leaf(draw: Callable[..., Any], spec: TensorSpec) -> Any:
    """Often the tensor's own type and shape, otherwise anything near it, or values by name."""
    shape = spec.shape if draw(st.integers(0, 15)) else (*spec.shape, 2)
    dtype = spec.dtype if draw(st.integers(0, 3)) else draw(st.sampled_from(KINDS))
    numbers = NUMBERS if dtype != spec.dtype or draw(st.integers(0, 4)) == 0 else st.sampled_from(SOUND)
    with np.errstate(all="ignore"):
        array = np.array([draw(numbers) for _ in range(int(np.prod(shape)))], object).reshape(shape)
        array = array.astype(np.float64).astype(dtype)
    form = draw(st.sampled_from(["array", "array", "list", "number", "names"]))
    if form == "list":
        return array.tolist()
    if form == "names":
        return {
            name: number
            for name, number in zip("hgfedcba"[-array.size :], array.ravel(), strict=False)
            if draw(st.integers(0, 9))
        }
    return array if form == "array" or shape else draw(st.sampled_from([array[()], draw(numbers)]))


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
