"""Several frames as one observation."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary

from rlway_client.contract.errors import EnvironmentFault
from rlway_client.envs.frame_stack import FrameStack


class Clock(gymnasium.Env[Any, Any]):
    """Each observation is full of the step's number. It is the same array every time."""

    action_space: Any = Discrete(2)

    def __init__(self, space: Any) -> None:
        self.observation_space = space
        self._shown = np.zeros(space.shape or (), space.dtype)

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        self._shown[...] = 0
        return self._shown, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:  # noqa: ARG002
        self._shown += 1
        return self._shown, 0.0, False, False, {}


@pytest.mark.parametrize(
    ("space", "shape", "dtype"),
    [
        (Box(0, 255, (3, 4, 2), np.uint8), (3, 4, 6), np.uint8),
        (Box(0, 255, (3, 4), np.uint8), (3, 4, 3), np.uint8),
        (Box(-9, 9, (5,), np.float32), (15,), np.float32),
        (MultiBinary((2, 2)), (2, 2, 3), np.uint8),
    ],
)
def test_the_newest_frame_is_the_last_channel(space: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """The first frame stands for those before it, and a new episode knows nothing of the one before."""
    env = FrameStack("clock", Clock(space), 3)
    assert (env.observation_space.shape, env.observation_space.dtype) == (shape, dtype)
    for _ in range(2):
        seen = [env.reset()[0], *(env.step(0)[0] for _ in range(3))]
        assert all(one.shape == shape and one.dtype == dtype for one in seen)
        frames = [one.reshape(-1, shape[-1])[0][:: shape[-1] // 3].tolist() for one in seen]
        assert frames == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]


def test_only_single_arrays_are_stacked() -> None:
    """A dict of arrays is refused in one sentence."""
    with pytest.raises(EnvironmentFault, match="--frame-stack needs observations that are one array"):
        FrameStack("clock", Clock(Dict({"image": Box(0, 255, (3, 4), np.uint8)})), 3)
