"""TF-Agents' environments, as gymnasium's: adapted once, where they enter.

In:      a class derived from TF-Agents' PyEnvironment.
Out:     what makes a gymnasium.Env of it.
Refuses: an action that is not one bounded array, an observation that is not one array or dicts of them
         (EnvironmentFault).

A last step with discount 0 terminated its episode; with any other discount the clock ended it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from rlway_client.errors import EnvironmentFault


def adapt(found: Any) -> Any:
    """What makes a gymnasium.Env of the class, or None for a class of another kind."""
    # A module that derives from PyEnvironment has imported it; everyone else is spared TensorFlow's start.
    module = sys.modules.get("tf_agents.environments.py_environment")
    if module is None or not isinstance(found, type) or not issubclass(found, module.PyEnvironment):
        return None
    return partial(Adapted, found)


class Adapted(gymnasium.Env[Any, Any]):
    """A PyEnvironment behind gymnasium's interface."""

    def __init__(self, kind: Any) -> None:
        self._inner = kind()
        if self._inner.batched:
            raise EnvironmentFault(f"{kind.__name__}: expected an environment without a batch dimension.")
        self.observation_space = _space(self._inner.observation_spec())
        spec = self._inner.action_spec()
        if np.dtype(getattr(spec, "dtype", np.float32)).kind in "iu" and spec.shape in ((), (1,)):
            low, high = int(np.min(spec.minimum)), int(np.max(spec.maximum))
            self.action_space = Discrete(high - low + 1, start=low)
        else:
            self.action_space = _box(spec, "action")
        self._action = spec

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        super().reset(seed=seed, options=options)
        if seed is not None:
            try:
                self._inner.seed(seed)
            except NotImplementedError:  # PyEnvironment's own answer; such environments draw from numpy's generator
                np.random.seed(seed)
        return self._observe(self._inner.reset()), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        step = self._inner.step(np.asarray(action, self._action.dtype).reshape(self._action.shape))
        last, terminal = bool(step.is_last()), float(step.discount) == 0.0
        return self._observe(step), float(step.reward), last and terminal, last and not terminal, {}

    def close(self) -> None:
        self._inner.close()

    def _observe(self, step: Any) -> Any:
        return _arrays(step.observation)


def _space(spec: Any) -> Any:
    if isinstance(spec, Mapping):
        return Dict({key: _space(inner) for key, inner in spec.items()})
    return _box(spec, "observation")


def _arrays(observation: Any) -> Any:
    """Numbers without a dimension become vectors of one, as in `_box`."""
    if isinstance(observation, Mapping):
        return {key: _arrays(inner) for key, inner in observation.items()}
    return np.atleast_1d(np.asarray(observation))


def _box(spec: Any, what: str) -> Box:
    if not hasattr(spec, "shape"):
        raise EnvironmentFault(f"{what}_spec: expected one array, got {spec}; flatten it.")
    dtype: Any = np.dtype(spec.dtype)
    lowest, highest = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    shape = tuple(spec.shape) or (1,)
    low = np.broadcast_to(getattr(spec, "minimum", lowest), shape).astype(dtype)
    high = np.broadcast_to(getattr(spec, "maximum", highest), shape).astype(dtype)
    return Box(low, high, shape, dtype)
