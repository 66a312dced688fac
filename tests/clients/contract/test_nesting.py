"""Actions as environments take them, whatever their nesting."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Dict, Discrete, Tuple
from hypothesis import example, given
from hypothesis import strategies as st

from rlway_client import TensorSpec
from rlway_client.contract.nesting import arrange_action, grow, leaves, nest, row_of
from tests.clients.contract.generated import THOROUGH
from tests.clients.contract.interfaces import ROWS, actions, interfaces, make_rows

KEYS = st.text(st.sampled_from("abc012/é"), min_size=1, max_size=3)
TREES: st.SearchStrategy[Any] = st.recursive(
    st.just(None),
    lambda inner: (
        st.dictionaries(KEYS, inner, min_size=1, max_size=3)
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {str(i): part for i, part in enumerate(parts)})
    ),
    max_leaves=6,
)


def specs_of(tree: Any, path: tuple[str, ...] = ()) -> list[TensorSpec]:
    """One number for each leaf."""
    if tree is None:
        return [TensorSpec(f"action{''.join(f'_{key}' for key in path)}", (), "int64", path=path)]
    return [spec for key, inner in tree.items() for spec in specs_of(inner, (*path, key))]


def paths_of(action: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Each leaf by the keys under which it lies."""
    if isinstance(action, dict):
        parts = action.items()
    elif isinstance(action, tuple):
        parts = {str(i): part for i, part in enumerate(action)}.items()
    else:
        return {path: action}
    return {found: leaf for key, part in parts for found, leaf in paths_of(part, (*path, key)).items()}


@THOROUGH
@given(tree=TREES)
@example(tree={"a": {"0": None, "1": {"0": None}}})  # parts of different depths within a tuple
def test_each_part_of_an_action_lies_where_its_path_says(tree: Any) -> None:
    """In dicts, or in tuples where the keys are "0", "1", …, at any depth."""
    specs = specs_of(tree)
    arrays = {f"{i}": np.array([i, -1]) for i in range(len(specs))}
    named = [TensorSpec(f"{i}", (), "int64", path=spec.path) for i, spec in enumerate(specs)]
    action = row_of(arrays, grow(named))
    assert paths_of(action) == {spec.path: i for i, spec in enumerate(specs)}
    assert all(type(leaf) is int for leaf in paths_of(action).values())


@THOROUGH
@given(specs=actions())
def test_an_actions_parts_are_ints_or_arrays_of_their_dtypes(specs: list[TensorSpec]) -> None:
    """One whole number is an int; any other part keeps its shape and dtype."""
    arrays = {spec.name: np.ones((3, *spec.shape), spec.dtype) for spec in specs}
    action = row_of(arrays, grow(specs), 2)
    for spec in specs:
        part = paths_of(action)[spec.path]
        if spec.is_discrete and not spec.shape:
            assert type(part) is int
        else:
            assert (part.shape, str(part.dtype)) == (spec.shape, spec.dtype)


@THOROUGH
@given(interface=interfaces(), seed=st.integers(0, 100))
def test_an_arranged_action_is_found_again_by_its_specs(interface: Any, seed: int) -> None:
    """`leaves` takes apart what `arrange_action` has put together, also for whole batches."""
    outputs = make_rows(interface, seed)[1]
    tree = grow(interface.actions)
    batch = arrange_action(nest(outputs, tree))
    for spec, part, _ in leaves(batch, tree):
        assert part is outputs[spec.name]
        assert len(part) == ROWS
    for spec, part, _ in leaves(row_of(outputs, tree), tree):
        np.testing.assert_array_equal(part, outputs[spec.name][0])


def test_gymnasiums_spaces_contain_the_actions() -> None:
    """As `step` takes them."""
    space = Dict(gear=Discrete(3), legs=Tuple([Discrete(2), Discrete(4, start=2)]))
    paths = [("gear",), ("legs", "0"), ("legs", "1")]
    specs = [TensorSpec("_".join(("action", *path)), (), "int64", path=path) for path in paths]
    action = row_of({spec.name: np.array([i + 1]) for i, spec in enumerate(specs)}, grow(specs))
    assert action == {"gear": 1, "legs": (2, 3)}
    assert not space.contains(action)  # 2 is no Discrete(2)
    assert space.contains({"gear": 1, "legs": (1, 3)})
