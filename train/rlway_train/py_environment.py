"""TF-Agents' environments, as gymnasium's: adapted once, where they enter.

In:      a class derived from TF-Agents' PyEnvironment.
Out:     what makes a gymnasium.Env of it.
Refuses: specs that are not one bounded array each (EnvironmentFault).

A last step with discount 0 terminated its episode; with any other discount the clock ended it.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from rlway_client.errors import EnvironmentFault
from rlway_client.specs import AnyArray


def adapt(found: Any) -> Any:
    """What makes a gymnasium.Env of the class, or None for a class of another kind."""
    # A module that derives from PyEnvironment has imported it; everyone else is spared TensorFlow's start.
    module = sys.modules.get("tf_agents.environments.py_environment")
    if module is None or not isinstance(found, type) or not issubclass(found, module.PyEnvironment):
        return None
    return partial(Adapted, found)


class Adapted(gymnasium.Env[AnyArray, Any]):
    """A PyEnvironment behind gymnasium's interface."""

    def __init__(self, kind: Any) -> None:
        self._inner = kind()
        if self._inner.batched:
            raise EnvironmentFault(f"{kind.__name__}: expected an environment without a batch dimension.")
        self.observation_space = _box(self._inner.observation_spec(), "observation")
        spec = self._inner.action_spec()
        if np.dtype(getattr(spec, "dtype", np.float32)).kind in "iu" and spec.shape in ((), (1,)):
            low, high = int(np.min(spec.minimum)), int(np.max(spec.maximum))
            self.action_space = Discrete(high - low + 1, start=low)
        else:
            self.action_space = _box(spec, "action")
        self._action = spec

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[AnyArray, Any]:
        super().reset(seed=seed, options=options)
        if seed is not None:
            try:
                self._inner.seed(seed)
            except NotImplementedError:  # PyEnvironment's own answer; such environments draw from numpy's generator
                np.random.seed(seed)
        return self._observe(self._inner.reset()), {}

    def step(self, action: Any) -> tuple[AnyArray, float, bool, bool, dict[str, Any]]:
        step = self._inner.step(np.asarray(action, self._action.dtype).reshape(self._action.shape))
        last, terminal = bool(step.is_last()), float(step.discount) == 0.0
        return self._observe(step), float(step.reward), last and terminal, last and not terminal, {}

    def close(self) -> None:
        self._inner.close()

    def _observe(self, step: Any) -> AnyArray:
        observation = np.asarray(step.observation)
        return observation if observation.ndim else observation.reshape(1)


def _box(spec: Any, what: str) -> Box:
    if not hasattr(spec, "shape"):
        raise EnvironmentFault(f"{what}_spec: expected one array, got {spec}; flatten it.")
    dtype: Any = np.dtype(spec.dtype)
    lowest, highest = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    shape = tuple(spec.shape) or (1,)
    low = np.broadcast_to(getattr(spec, "minimum", lowest), shape).astype(dtype)
    high = np.broadcast_to(getattr(spec, "maximum", highest), shape).astype(dtype)
    return Box(low, high, shape, dtype)
