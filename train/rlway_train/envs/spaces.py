"""Converts gymnasium's spaces to the contract's specs, and observations of any structure to one vector.

In:      a space; observations of it.
Out:     its tensors, each a `TensorSpec` with its path; float32 vectors, with the tensors in that order.
Refuses: spaces that are not made of tensors (EnvironmentFault).
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.specs import AnyArray, TensorSpec, make_spec


def leaves(name: str, space: Any, label: str = "observation", path: tuple[str, ...] = ()) -> list[TensorSpec]:
    """The space's tensors. Those of a dict are in the order of their keys, as in TensorFlow."""
    try:
        return _leaves(name, space, label, path)
    except ValueError as error:  # of TensorSpec
        raise EnvironmentFault(f"{name}: {label}: {error}.") from error


def _leaves(name: str, space: Any, label: str, path: tuple[str, ...]) -> list[TensorSpec]:
    if isinstance(space, Dict | Tuple):
        inner = sorted(space.spaces.items()) if isinstance(space, Dict) else enumerate(space.spaces)
        return [leaf for key, sub in inner for leaf in _leaves(name, sub, label, (*path, str(key)))]
    title = "_".join((label, *path)).replace("/", "_")
    match space:
        case Box():
            return [make_spec(title, space.shape, str(space.dtype), space.low, space.high, path)]
        case Discrete():
            return [make_spec(title, (), "int64", space.start, space.start + space.n - 1, path)]
        case MultiDiscrete():
            high = space.start + space.nvec - 1
            return [make_spec(title, space.shape, str(space.dtype), space.start, high, path)]
        case MultiBinary():
            return [make_spec(title, space.shape, str(space.dtype), 0, 1, path)]
        case _:
            raise EnvironmentFault(
                f"{name}: {label}: expected Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of them, "
                f"got {space}."
            )


def short(space: Any) -> str:
    """A space in a few words. gymnasium's own text has the bounds of every number."""
    match space:
        case Box():
            ends = [
                [f"{end:.4g}" for end in {float(bound.min()), float(bound.max())}] for bound in (space.low, space.high)
            ]
            bounds = f" from {ends[0][0]} to {ends[1][0]}" if all(len(end) == 1 for end in ends) else ""
            return f"Box {space.dtype}{list(space.shape)}{bounds}"
        case Dict():
            return f"a Dict of {len(space.spaces)}"
        case Tuple():
            return f"a Tuple of {len(space.spaces)}"
        case _:
            words = str(space)
            return words if len(words) <= 60 else type(space).__name__


def is_one_vector(specs: list[TensorSpec]) -> bool:
    """Whether the observation is one vector of numbers, not in a dict or a tuple."""
    return not specs[0].path and len(specs[0].shape) == 1 and specs[0].dtype != "bool"


def one_vector(specs: list[TensorSpec], is_image: bool = False) -> TensorSpec:
    """The spec of all tensors in one vector. A single vector keeps its spec; an image becomes a vector of bytes."""
    if is_image:
        (image,) = specs
        return TensorSpec("observation", (image.size,), "uint8", image.minimum, image.maximum)
    if is_one_vector(specs):
        return specs[0]
    bounds = [[bound.ravel() for bound in spec.bounds()] for spec in specs]
    low, high = (np.concatenate(side) for side in zip(*bounds, strict=True))
    return make_spec("observation", low.shape, "float32", low, high)


def image_shape(spec: TensorSpec) -> tuple[int, int, int]:
    """Height, width and channels of an image. One without channels has one."""
    height, width, *channels = spec.shape
    return height, width, channels[0] if channels else 1


def brightest(spec: TensorSpec) -> float:
    """The largest value of an image's bytes, by which networks divide: 255 of a picture, 1 of bits."""
    return max(1.0, float(spec.bounds()[1].max())) if spec.dtype == "uint8" else 1.0


def unpack(vectors: AnyArray, specs: list[TensorSpec]) -> dict[str, AnyArray]:  # [N, obs_dim] -> [N, …] by name
    """The tensors that were joined into vectors. Images are bytes; all others are float32."""
    ends = np.cumsum([spec.size for spec in specs])
    parts = np.split(vectors, ends[:-1], axis=1)
    return {spec.name: part.reshape(-1, *spec.shape) for spec, part in zip(specs, parts, strict=True)}


class OneVector(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Observes one vector in place of arrays of any shape, in dicts and tuples of any depth."""

    def __init__(self, env: gymnasium.Env[Any, Any], specs: list[TensorSpec], vector: TensorSpec) -> None:
        super().__init__(env)
        self._specs, self._dtype = specs, np.uint8 if vector.dtype == "uint8" else np.float32
        low, high = (bound.astype(self._dtype) for bound in vector.bounds())
        self.observation_space = Box(low, high, dtype=self._dtype)
        self._ends = float(low.min()), float(high.max())

    def observation(self, observation: Any) -> AnyArray:
        return np.concatenate([self._part(observation, spec) for spec in self._specs])

    def _part(self, observation: Any, spec: TensorSpec) -> AnyArray:
        part = observation
        for key in spec.path:
            part = part[int(key)] if isinstance(part, tuple | list) else part[key]
        if self._dtype == np.uint8:
            self._check_bytes(np.asarray(part), spec)
        values: AnyArray = np.asarray(part, self._dtype)
        if values.shape != spec.shape:
            raise ValueError(f"{spec.name}: expected the shape {list(spec.shape)}, got {list(values.shape)}")
        return values.ravel()

    def _check_bytes(self, image: AnyArray, spec: TensorSpec) -> None:
        """Casting to bytes would make zeros of fractions, and other numbers of what is too large."""
        lowest, highest = self._ends
        if image.dtype.kind not in "bui" or (image.size and (image.min() < lowest or image.max() > highest)):
            raise ValueError(
                f"{spec.name}: expected {spec.dtype} from {lowest:g} to {highest:g}, as its space says, got "
                f"{image.dtype} from {image.min():g} to {image.max():g}"
            )
