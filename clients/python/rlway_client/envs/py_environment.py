"""Adapts TF-Agents' environments to gymnasium's interface.

In:      a PyEnvironment; a TFPyEnvironment or BatchedPyEnvironment, of which the first environment is taken; a
         TFEnvironment of one row.
Out:     a gymnasium.Env.
Refuses: an environment of several rows, one in processes of its own, specs of other things than numbers, actions
         without bounds, several rewards a step (EnvironmentFault).

A last step with discount 0 means that the episode terminated; with any other discount, the time limit truncated it.
Shapes and numbers of observations and actions stay as they are, so that a policy of TF-Agents plays here as it was
trained. This module imports TensorFlow only for an environment that has imported it already.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple

from rlway_client.contract.errors import EnvironmentFault

PACKAGE = "tf_agents.environments"
STEP_TYPES = ("FIRST", "MID", "LAST")  # by TF-Agents' numbers
MOST_COUNTED = 1 << 31  # an int32 without bounds has twice as many numbers


def derives_from(kind: Any, *names: str) -> bool:
    """Whether a class has one of these bases, named as `module.Class`; nothing is imported to find out."""
    bases = kind.__mro__ if isinstance(kind, type) else ()
    return any(f"{base.__module__}.{base.__name__}" in names for base in bases)


def is_tf_agents(kind: Any) -> bool:
    """Whether a class is one of TF-Agents' environments."""
    return derives_from(kind, f"{PACKAGE}.py_environment.PyEnvironment", f"{PACKAGE}.tf_environment.TFEnvironment")


def wraps_tf_agents(kind: Any) -> bool:
    """Whether a class is one of TF-Agents' wrappers, which take an environment."""
    wrappers = (f"{PACKAGE}.wrappers.PyEnvironmentBaseWrapper", f"{PACKAGE}.tf_wrappers.TFEnvironmentBaseWrapper")
    return derives_from(kind, *wrappers, f"{PACKAGE}.tf_py_environment.TFPyEnvironment")


class Adapted(gymnasium.Env[Any, Any]):
    """An environment of TF-Agents behind gymnasium's interface."""

    def __init__(self, made: Any) -> None:
        self._outer = made
        self._inner = _single(made)
        self._has_ended = False
        self._generators: Any = None  # states of the global generators, for a seeded environment without its own
        self.seedable = not isinstance(self._inner, Eager)  # a TFEnvironment takes no seed
        if not _is_array(self._inner.reward_spec()) or np.prod(self._inner.reward_spec().shape) != 1:
            raise EnvironmentFault(
                f"reward_spec: expected one number a step, got {_label(self._inner.reward_spec())}; wrap it in a "
                f"PyEnvironmentBaseWrapper that adds them up."
            )
        self._observation_spec, self._action_spec = self._inner.observation_spec(), self._inner.action_spec()
        self.observation_space = _observation_space(self._observation_spec)
        self.action_space = _action_space(self._action_spec)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        super().reset(seed=seed, options=options)
        if seed is not None:
            self._seed(seed)
        self._has_ended = False
        with self._own_generators():
            return _arrays(self._inner.reset().observation), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        with self._own_generators():
            step = self._inner.step(_action(action, self._action_spec))
        last, terminal = bool(step.is_last()), float(np.asarray(step.discount).item()) == 0.0
        reward = float(np.asarray(step.reward).item())
        self._has_ended = last
        return _arrays(step.observation), reward, last and terminal, last and not terminal, {}

    def step_on(self, action: Any) -> str | None:
        """The type of a step after the last one: FIRST, where the environment begins a new episode by itself.

        None if the latest step was not an episode's last: a time limit around the environment ended it, or a reset.
        """
        if not self._has_ended:
            return None
        with self._own_generators():
            step = self._inner.step(_action(action, self._action_spec))
        self._has_ended = bool(step.is_last())
        return STEP_TYPES[int(np.asarray(step.step_type).item())]

    def close(self) -> None:
        outer = self._outer
        if derives_from(type(outer), f"{PACKAGE}.tf_py_environment.TFPyEnvironment"):
            outer = outer.pyenv
        if hasattr(outer, "close"):  # a TFEnvironment need not have it
            outer.close()

    def _seed(self, seed: int) -> None:
        try:
            self._inner.seed(seed)
        except NotImplementedError:  # PyEnvironment's default; such environments draw from the global generators
            self._generators = random.Random(seed).getstate(), np.random.RandomState(seed % (1 << 32)).get_state()

    @contextmanager
    def _own_generators(self) -> Iterator[None]:
        """A block in which the global generators have this environment's state: others may be stepped in between."""
        if self._generators is None:
            yield
            return
        kept = random.getstate(), np.random.get_state()
        try:
            random.setstate(self._generators[0])
            np.random.set_state(self._generators[1])
            yield
        finally:
            self._generators = random.getstate(), np.random.get_state()
            random.setstate(kept[0])
            np.random.set_state(kept[1])


class Eager:
    """A TFEnvironment of one row with the interface of a PyEnvironment, run eagerly."""

    batched = False

    def __init__(self, env: Any) -> None:
        if env.batch_size != 1:
            raise EnvironmentFault(
                f"expected a TFEnvironment of one row, got {env.batch_size}; make it with batch_size=1, and choose how "
                f"many there are with --envs."
            )
        import tensorflow as tf
        from tf_agents.specs import tensor_spec

        self._env, self._tf = env, tf
        self._arrays = tensor_spec.to_nest_array_spec

    def observation_spec(self) -> Any:
        return self._arrays(self._env.observation_spec())

    def action_spec(self) -> Any:
        return self._arrays(self._env.action_spec())

    def reward_spec(self) -> Any:
        return self._arrays(self._env.reward_spec())

    def seed(self, seed: int) -> None:
        """Has no effect: TensorFlow's functions draw with the seed with which they were traced."""

    def reset(self) -> Any:
        return self._row(self._env.reset())

    def step(self, action: Any) -> Any:
        rows = self._tf.nest.map_structure(lambda part: self._tf.convert_to_tensor(part[None]), action)
        return self._row(self._env.step(rows))

    def _row(self, step: Any) -> Any:
        return self._tf.nest.map_structure(lambda tensor: tensor.numpy()[0], step)


def _single(made: Any) -> Any:
    """The environment of one row inside the wrappers. Raises EnvironmentFault if it has several."""
    kind = type(made)
    if derives_from(kind, f"{PACKAGE}.tf_py_environment.TFPyEnvironment"):
        return _single(made.pyenv)
    if derives_from(kind, f"{PACKAGE}.batched_py_environment.BatchedPyEnvironment"):
        return _single(made.envs[0])
    if derives_from(kind, f"{PACKAGE}.tf_environment.TFEnvironment"):
        return Eager(made)
    if made.batched:
        made.close()
        raise EnvironmentFault(
            f"a {kind.__name__} is several environments in one; name the class or function that makes a single one, "
            f"and choose how many there are with --envs."
        )
    return made


def _is_array(spec: Any) -> bool:
    return hasattr(spec, "shape") and hasattr(spec, "dtype")


def _fields(nest: Any) -> Any:
    """A named tuple as a dict of its fields, a list as a tuple, anything else unchanged."""
    if isinstance(nest, tuple) and hasattr(nest, "_asdict"):
        return nest._asdict()
    return tuple(nest) if isinstance(nest, list) else nest


def _observation_space(spec: Any) -> Any:
    spec = _fields(spec)
    if isinstance(spec, Mapping):
        return Dict({str(key): _observation_space(inner) for key, inner in spec.items()})
    if isinstance(spec, tuple):
        return Tuple([_observation_space(inner) for inner in spec])
    low, high = _bounds(spec, "observation_spec")
    return Box(low, high, spec.shape, np.dtype(spec.dtype).type)


def _action_space(spec: Any) -> Any:
    spec = _fields(spec)
    if isinstance(spec, Mapping):
        return Dict({str(key): _action_space(inner) for key, inner in spec.items()})
    if isinstance(spec, tuple):
        return Tuple([_action_space(inner) for inner in spec])
    low, high = _bounds(spec, "action_spec")
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return Box(low, high, spec.shape, dtype.type)
    counts = [int(most) - int(least) + 1 for least, most in zip(low.ravel(), high.ravel(), strict=True)]
    if max(counts) > MOST_COUNTED:
        raise EnvironmentFault(
            f"action_spec: expected a minimum and a maximum, got every {dtype.name} there is; make it a "
            f"BoundedArraySpec with both."
        )
    if not spec.shape:
        return Discrete(counts[0], start=int(low))
    return MultiDiscrete(np.reshape(counts, spec.shape), start=low.astype(np.int64))


def _bounds(spec: Any, what: str) -> tuple[Any, Any]:
    """The lowest and the highest of each number, in the spec's shape and dtype."""
    dtype = np.dtype(spec.dtype) if _is_array(spec) else np.dtype(object)
    if dtype.kind not in "fiub":
        raise EnvironmentFault(f"{what}: expected arrays of numbers, got {_label(spec)}; show it as numbers.")
    lowest: Any = {"f": -np.inf, "b": False}.get(dtype.kind)
    highest: Any = {"f": np.inf, "b": True}.get(dtype.kind)
    if dtype.kind in "iu":
        lowest, highest = np.iinfo(dtype).min, np.iinfo(dtype).max
    low = np.broadcast_to(getattr(spec, "minimum", lowest), spec.shape).astype(dtype)
    high = np.broadcast_to(getattr(spec, "maximum", highest), spec.shape).astype(dtype)
    return low, high


def _label(spec: Any) -> str:
    return f"{np.dtype(spec.dtype)}{list(spec.shape)}" if _is_array(spec) else f"a {type(spec).__name__}"


def _arrays(observation: Any) -> Any:
    """A copy: an environment may return the same array every time and change its content."""
    observation = _fields(observation)
    if isinstance(observation, Mapping):
        return {str(key): _arrays(inner) for key, inner in observation.items()}
    if isinstance(observation, tuple):
        return tuple(_arrays(inner) for inner in observation)
    return np.array(observation)


def _action(action: Any, spec: Any) -> Any:
    """An action of the gymnasium space, nested and typed as the spec."""
    if isinstance(spec, Mapping):
        return {key: _action(action[str(key)], inner) for key, inner in spec.items()}
    if isinstance(spec, tuple) and hasattr(spec, "_asdict"):
        return type(spec)(**{key: _action(action[key], inner) for key, inner in spec._asdict().items()})
    if isinstance(spec, list | tuple):
        parts = [_action(part, inner) for part, inner in zip(action, spec, strict=True)]
        return parts if isinstance(spec, list) else tuple(parts)
    return np.asarray(action, spec.dtype).reshape(spec.shape)
