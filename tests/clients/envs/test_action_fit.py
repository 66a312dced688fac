"""Which actions an environment's space takes, and as what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Text, Tuple

from rlway_client.envs.action_fit import as_taken, misfit

PUSH = Box(-1, 1, (2,))
GRID = MultiDiscrete([2, 3], start=[0, 5])
NEST = Dict(gear=Discrete(2), arms=Tuple([PUSH, MultiBinary(2)]))
ARRAY = np.array([1.0, -0.5])


@pytest.mark.parametrize(
    ("space", "action", "taken"),
    [
        (Discrete(2), 1, 1),
        (Discrete(2), np.array([1]), 1),
        (Discrete(3, start=4), np.int32(6), 6),
        (Discrete(3, start=-1), np.array([[-1]]), -1),
        (PUSH, ARRAY, ARRAY.astype(np.float32)),
        (PUSH, [1, -1], np.array([1, -1], np.float32)),
        (Box(-1, 1, (1,)), np.float64(0.5), np.array([0.5], np.float32)),
        (Box(-1, 1, ()), np.array([0.5]), np.array(0.5, np.float32)),
        (Box(0, 9, (1,), np.int64), 3, np.array([3])),
        (GRID, np.array([1, 7]), np.array([1, 7])),
        (MultiDiscrete([4]), 3, np.array([3])),
        (MultiBinary(2), np.array([1, 0]), np.array([1, 0], np.int8)),
        (MultiBinary(2), np.array([True, False]), np.array([1, 0], np.int8)),
        (NEST, {"gear": 0, "arms": (ARRAY, [1, 1])}, {"gear": 0, "arms": (ARRAY, [1, 1])}),
        (NEST, {"gear": [1], "arms": {"0": ARRAY, "1": [1, 1]}}, {"gear": 1, "arms": (ARRAY, [1, 1])}),
        (Dict({"0": Discrete(2), "1": Discrete(2)}), (1, 0), {"0": 1, "1": 0}),
        (Text(3), "abc", "abc"),
    ],
)
def test_an_action_is_taken_in_the_form_of_the_space(space: Space[Any], action: Any, taken: Any) -> None:
    """Nested as the space is, and of its shape and dtype."""
    assert misfit(action, space) is None
    found = as_taken(action, space)
    np.testing.assert_equal(found, taken)
    assert space.contains(found)


@pytest.mark.parametrize(
    ("space", "action", "says"),
    [
        (Discrete(2), 2, "2"),
        (Discrete(2), 0.0, "0.0"),
        (Discrete(2), np.array([0, 1]), "int64[2]"),
        (Discrete(3, start=4), 0, "0"),
        (PUSH, np.zeros(3), "float64[3]"),
        (PUSH, 0.5, "0.5"),
        (Box(-1, 1, (1,)), 0, "0"),
        (Box(0, 9, (1,), np.int64), 10, "10"),
        (Box(0, 9, (1,), np.int64), 0.5, "0.5"),
        (GRID, np.array([1, 2]), "int64[2]"),
        (GRID, np.array([1.0, 7.0]), "float64[2]"),
        (MultiBinary(2), np.array([2, 0]), "int64[2]"),
        (MultiBinary(2), np.array([0.5, 0]), "float64[2]"),
        (NEST, 3, "3"),
        (NEST, {"gear": 0}, "a dict of 'gear'"),
        (NEST, {"gear": 5, "arms": (ARRAY, [1, 1])}, "5 at 'gear'"),
        (NEST, {"gear": 1, "arms": (ARRAY, [1, 3])}, "[1, 3] at '1' at 'arms'"),
        (NEST, {"gear": 1, "arms": (ARRAY,)}, "a tuple of 1 at 'arms'"),
        (Tuple([Discrete(2)]), {"gear": 0}, "a dict of 'gear'"),
        (Text(3), 3, "3"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(space: Space[Any], action: Any, says: str) -> None:
    """In a few words."""
    assert misfit(action, space) == says
