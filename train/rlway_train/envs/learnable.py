"""Whether an environment can be learned, and what to do if it cannot.

In:      an environment; its spaces.
Out:     the observation's tensors, the action's spec.
Refuses: EnvironmentFault for observations that are not arrays of numbers or are pictures, and for actions that the
         algorithm cannot choose. Each sentence names the wrapper that helps, gymnasium's or TF-Agents'.
"""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import msgspec
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.specs import TensorSpec
from rlway_client.envs.py_environment import Adapted
from rlway_train.envs.spaces import leaves, short

MOST_ACTIONS = 10_000  # at most, for DQN: its network has one output for each
SAVED_KEY = re.compile(r"[A-Za-z0-9_.\-/]+")
PICTURE = 255  # the largest value in a picture
FEW_CHANNELS, SMALLEST_SIDE = (1, 3, 4), 16  # of an image whose first dimension seems to be its channels
PY_WRAPPER = "a PyEnvironmentBaseWrapper (tf_agents.environments.wrappers)"


def observation_leaves(name: str, env: gymnasium.Env[Any, Any]) -> list[TensorSpec]:
    """The observation's tensors in TensorFlow's order, that of their paths. Bits are bool, all others float32."""
    space = env.observation_space
    unsupported = next((part for part in _parts(space) if not isinstance(part, Box | MultiBinary)), None)
    if unsupported is not None:
        raise EnvironmentFault(
            f"{name}: expected observations that are arrays of numbers (a Box, or a Dict or Tuple of Boxes), got "
            f"{short(unsupported)}; {_observation_remedy(unsupported)}."
        )
    if isinstance(space, Box) and _is_picture(space):
        flat = f"{PY_WRAPPER} whose observation_spec is a vector" if _is_py_environment(env) else "FlattenObservation"
        raise EnvironmentFault(
            f"{name}: observes pictures ({short(space)}), which need convolutions: learn them by DQN with "
            f"rlway train dqn --conv; or put {flat} around it to learn from every pixel by itself."
        )
    found = leaves(name, space)
    if not found:
        raise EnvironmentFault(f"{name}: expected observations of one array at least, got {short(space)}.")
    names = [leaf.name for leaf in found]
    duplicate = next((one for one in names if names.count(one) > 1), None)
    if duplicate is not None:
        raise EnvironmentFault(f"{name}: two of its arrays would both be called {duplicate}; rename one of their keys.")
    bad_key = next((key for leaf in found for key in leaf.path if not SAVED_KEY.fullmatch(key)), None)
    if bad_key is not None:
        wrapper = PY_WRAPPER if _is_py_environment(env) else "a gymnasium.ObservationWrapper"
        raise EnvironmentFault(
            f"{name}: expected keys of letters, digits, '_', '.', '-' and '/', which TF-Agents can save, got "
            f"{clipped(repr(bad_key))}; put {wrapper} around it that renames it."
        )
    # Paths are compared as text: a tuple's tenth element comes before its second.
    ordered = sorted(found, key=lambda leaf: leaf.path)
    return [leaf if leaf.dtype == "bool" else msgspec.structs.replace(leaf, dtype="float32") for leaf in ordered]


def image_leaf(name: str, env: gymnasium.Env[Any, Any]) -> TensorSpec:
    """The observation as one image, [height, width] or [height, width, channels], of bytes or bits."""
    space = env.observation_space
    wrapper = PY_WRAPPER if _is_py_environment(env) else "a gymnasium.ObservationWrapper"
    if not isinstance(space, Box | MultiBinary) or len(space.shape or ()) not in (2, 3) or not _is_of_bytes(space):
        raise EnvironmentFault(
            f"{name}: --conv needs observations that are one image of uint8 or bool, [height, width, channels], got "
            f"{short(space)}; leave --conv out, or put {wrapper} around it."
        )
    spec = leaves(name, space)[0]
    if len(spec.shape) == 3 and spec.shape[0] in FEW_CHANNELS and min(spec.shape[1:]) >= SMALLEST_SIDE:
        raise EnvironmentFault(
            f"{name}: --conv needs the channels of an image last, and {short(space)} seems to have them first; put "
            f"{wrapper} around it that transposes them."
        )
    return msgspec.structs.replace(spec, dtype="uint8" if spec.dtype == "uint8" else "bool")


def discrete_action(name: str, env: gymnasium.Env[Any, Any]) -> TensorSpec:
    """The action of DQN: the environment's own numbers, which need not begin at 0, in its own shape."""
    space = env.action_space
    if isinstance(space, Box) and _is_float(space):
        raise EnvironmentFault(
            f"{name}: DQN chooses among a few actions, and this environment's are continuous ({short(space)}); "
            f"{_continuous_remedy(space, env)}."
        )
    wrapper = _action_wrapper(env, "Discrete(n)", "one whole number from 0 to n - 1")
    numbers = leaves(name, space, "action") if isinstance(space, Discrete | Box | MultiDiscrete | MultiBinary) else []
    if len(numbers) != 1 or numbers[0].size != 1:
        raise EnvironmentFault(
            f"{name}: DQN chooses one number, and this environment's actions are {short(space)}; put {wrapper} around "
            f"it, that numbers what can be done."
        )
    spec = numbers[0]
    lowest, highest = (bound.item() for bound in spec.bounds())
    if not highest - lowest < MOST_ACTIONS:
        raise EnvironmentFault(
            f"{name}: DQN chooses among {MOST_ACTIONS:,} actions at most, and this environment's are {short(space)}; "
            f"put {wrapper} around it, that numbers the best of them."
        )
    return TensorSpec("action", spec.shape, "int64", int(lowest), int(highest))


def continuous_action(name: str, env: gymnasium.Env[Any, Any]) -> TensorSpec:
    """The action of SAC: numbers with bounds, in the environment's own shape."""
    space = env.action_space
    if isinstance(space, Discrete):
        raise EnvironmentFault(
            f"{name}: SAC chooses continuous actions, and this environment's are {short(space)}; "
            f"use DQN (rlway train dqn)."
        )
    wrapper = _action_wrapper(env, "a Box of floats with both bounds", "floats with a minimum and a maximum")
    if not isinstance(space, Box) or not _is_float(space):
        raise EnvironmentFault(
            f"{name}: expected actions that are floats (a Box), got {short(space)}; put {wrapper} around it."
        )
    spec = _box_spec(name, space)
    if not np.isfinite(spec.bounds()).all():
        raise EnvironmentFault(
            f"{name}: SAC needs bounds on every action, got {short(space)}; put {wrapper} around it."
        )
    return spec


def _parts(space: Any) -> list[Any]:
    """The spaces within its dicts and tuples."""
    if isinstance(space, Dict | Tuple):
        inner = space.spaces.values() if isinstance(space, Dict) else space.spaces
        return [part for sub in inner for part in _parts(sub)]
    return [space]


def _is_float(space: Box) -> bool:
    return np.dtype(space.dtype).kind == "f"


def _is_py_environment(env: gymnasium.Env[Any, Any]) -> bool:
    return isinstance(env.unwrapped, Adapted)


def _is_picture(space: Box) -> bool:
    return space.dtype == np.uint8 and len(space.shape) > 1 and int(space.high.max()) == PICTURE


def _is_of_bytes(space: Box | MultiBinary) -> bool:
    return isinstance(space, MultiBinary) or np.dtype(space.dtype) in (np.dtype(np.uint8), np.dtype(np.bool_))


def _observation_remedy(space: Any) -> str:
    """Needed only for gymnasium's spaces: observations of TF-Agents' environments are always arrays."""
    if getattr(space, "is_np_flattenable", False):
        return "put gymnasium.wrappers.FlattenObservation around the environment"
    return "put a gymnasium.ObservationWrapper around the environment whose observation_space is a Box"


def _box_spec(name: str, space: Box) -> TensorSpec:
    return msgspec.structs.replace(leaves(name, space, "action")[0], dtype="float32")


def _continuous_remedy(space: Box, env: gymnasium.Env[Any, Any]) -> str:
    if not np.isfinite(_box_spec("", space).bounds()).all():
        return f"put {_action_wrapper(env, 'Discrete(n)', 'one whole number from 0 to n - 1')} around it"
    if space.low.size == 1:
        return "use SAC (rlway train sac), or --discretize N to choose among N of its values"
    return "use SAC (rlway train sac)"


def _action_wrapper(env: gymnasium.Env[Any, Any], space: str, spec: str) -> str:
    if _is_py_environment(env):
        return f"{PY_WRAPPER} whose action_spec is {spec}"
    return f"a gymnasium.ActionWrapper whose action_space is {space}"
