"""Adapts PyBullet's environments to gymnasium's interface.

In:      an id such as MinitaurBulletEnv-v0 or HalfCheetahBulletEnv-v0, which pybullet_envs registers in the old gym.
Out:     gymnasium's EnvSpec, with the id's own time limit and reward threshold.
Refuses: pybullet not installed (UsageError), an id that pybullet_envs does not have (EnvironmentFault).

The old gym's `done` says that an episode ended, and `info["TimeLimit.truncated"]` that the time limit ended it. What
PyBullet and gym print (build times, arguments, advice to migrate) is muted.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Discrete

from rlway_client.common.muting import muted
from rlway_client.common.packages import TRAINING, missing
from rlway_client.common.suggest import near
from rlway_client.contract.errors import EnvironmentFault, UsageError
from rlway_client.contract.specs import AnyArray

# The software renderer's time grows with the pixels: at 960 × 720, a film of some environments would take a minute.
FILM_PIXELS = {"RENDER_WIDTH": 480, "RENDER_HEIGHT": 360}


def bullet_spec(name: str) -> EnvSpec:
    """The environment of this id, as `gymnasium.make` takes it."""
    known = _registered()
    if name not in known:
        alike = near(name, known)
        hint = f"did you mean {' or '.join(alike)}?" if alike else f"PyBullet has {', '.join(sorted(known))}."
        raise EnvironmentFault(f"there is no environment {name!r}; {hint}")
    spec = known[name]
    return EnvSpec(
        id=name,
        entry_point=partial(BulletEnv, spec.entry_point, spec.kwargs),
        max_episode_steps=spec.max_episode_steps,
        reward_threshold=spec.reward_threshold,
    )


def _registered() -> dict[str, Any]:
    """The old gym's specs of PyBullet's environments, by id."""
    try:
        with _contained():
            import_module("pybullet_envs")
            gym = import_module("gym")
    except ModuleNotFoundError as error:
        package = f"PyBullet (module {error.name})"
        raise UsageError(missing("this environment", package, "rlway-client[pybullet]", TRAINING)) from error
    gym.logger.set_level(gym.logger.ERROR)
    specs = gym.envs.registration.registry.env_specs
    return {name: spec for name, spec in specs.items() if str(spec.entry_point).startswith("pybullet_envs.")}


class BulletEnv(gymnasium.Env[AnyArray, Any]):
    """One of pybullet_envs' environments behind gymnasium's interface."""

    def __init__(self, entry_point: str, kwargs: dict[str, Any], render_mode: str | None = None) -> None:
        module_name, _, kind = entry_point.partition(":")
        with _contained():
            self._inner = getattr(import_module(module_name), kind)(**kwargs)
        for constant, pixels in FILM_PIXELS.items():
            defined = sys.modules[type(self._inner).__module__]
            if hasattr(defined, constant):
                setattr(defined, constant, pixels)
        rate = self._inner.metadata.get("video.frames_per_second", 60)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": rate}
        self.render_mode = render_mode
        # The old gym checks no bounds, and Minitaur's motors turn beyond theirs.
        self.observation_space = Box(-np.inf, np.inf, self._inner.observation_space.shape, np.float32)
        self.action_space = _action_space(self._inner.action_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[AnyArray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        if seed is not None:
            self._inner.seed(seed)
        with muted(), _global_generators(int(self.np_random.integers(1 << 32))):
            observation = self._inner.reset()
        return np.asarray(observation, np.float32), {}

    def step(self, action: Any) -> tuple[AnyArray, float, bool, bool, dict[str, Any]]:
        observation, reward, done, info = self._inner.step(action)
        truncated = bool(info.get("TimeLimit.truncated", False))
        return np.asarray(observation, np.float32), float(reward), bool(done) and not truncated, truncated, info

    def render(self) -> AnyArray:  # -> uint8[height, width, 3]
        return np.asarray(self._inner.render(mode="rgb_array"), np.uint8)

    def close(self) -> None:
        self._inner.close()


def _action_space(space: Any) -> Box | Discrete:
    return Discrete(int(space.n)) if hasattr(space, "n") else Box(space.low, space.high, space.shape, np.float32)


@contextmanager
def _contained() -> Iterator[None]:
    """A block for imports: muted, and without the folders that pybullet_envs puts at the front of sys.path."""
    path = [*sys.path]
    try:
        with muted():
            yield
    finally:
        sys.path[:] = path


@contextmanager
def _global_generators(seed: int) -> Iterator[None]:
    """A block in which Python's and numpy's global generators, from which a reset draws, are seeded."""
    kept = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
