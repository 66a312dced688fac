"""The parts of an action as game engines take them: numbers from −1 to 1, and choices that are counted from 0.

In:      a policy's interface.
Out:     `Span`s, the continuous parts, and `Branches`, the discrete ones, in the order of the action.
Refuses: an action of truth values, and a choice whose number of values is not known (ExportRefused).

A continuous value with two finite bounds is moved: −1 stands for the lower one, 1 for the upper one. All others keep
their own numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.interface import Choice, Interface
from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec, describe_range

MOST_CHOICES = 4096  # of one element


class Span(NamedTuple):
    """A continuous part: what the engine gets is `(value - middle) / half`, element by element."""

    spec: TensorSpec
    middle: FloatArray  # [size]; 0 where a bound is missing
    half: FloatArray  # [size]; 1 where a bound is missing
    is_bounded: AnyArray  # bool[size]

    @property
    def is_moved(self) -> bool:
        """Whether the engine gets other numbers than the policy gives."""
        return bool((self.middle != 0).any() or (self.half != 1).any())

    def narrowed(self, value: AnyArray) -> FloatArray:  # [B, *shape] -> [B, size]
        """What the engine gets."""
        return ((value.reshape(len(value), -1) - self.middle) / self.half).astype(np.float32)

    def widened(self, value: FloatArray) -> AnyArray:  # [B, size] -> [B, *shape]
        """The policy's numbers again."""
        found: AnyArray = (self.middle + value * self.half).astype(self.spec.numpy_dtype)
        return found.reshape(len(value), *self.spec.shape)


class Branches(NamedTuple):
    """A discrete part: each of its elements is a choice among `sizes[i]`, of which number 0 stands for `lowest[i]`."""

    spec: TensorSpec
    sizes: tuple[int, ...]
    lowest: tuple[int, ...]
    scores: TensorSpec | None  # an output with a score for each choice; None where a file has to be told the action
    noise: slice | None  # the elements of the policy's noise that are added to the scores

    def actions(self, places: AnyArray) -> AnyArray:  # [B, elements] -> [B, *shape]
        """The policy's actions of the chosen places."""
        found: AnyArray = (places + np.array(self.lowest)).astype(self.spec.numpy_dtype)
        return found.reshape(len(places), *self.spec.shape)


Part = Span | Branches


def game_actions(interface: Interface, engine: str) -> list[Part]:
    """The parts in their order; `engine` is the format in messages. Raises ExportRefused."""
    choices = {choice.action.name: choice for choice in interface.choices}
    return [
        _branches(choices[spec.name], interface, engine) if spec.name in choices else _span(spec, engine)
        for spec in interface.actions
    ]


def _span(spec: TensorSpec, engine: str) -> Span:
    if spec.numpy_dtype.kind != "f":
        raise ExportRefused(
            f"{engine}: {spec.name}: expected numbers, got {spec.label}; leave {engine} out of --formats."
        )
    low, high = (bound.ravel() for bound in spec.bounds())
    bounded = np.isfinite(low) & np.isfinite(high) & (low < high)
    with np.errstate(invalid="ignore"):  # infinite bounds
        middle, half = np.where(bounded, (low + high) / 2, 0), np.where(bounded, (high - low) / 2, 1)
    return Span(spec, middle.astype(np.float32), half.astype(np.float32), bounded)


def _branches(choice: Choice, interface: Interface, engine: str) -> Branches:
    spec, scores = choice.action, choice.scores
    low, high = (bound.ravel() for bound in spec.bounds())
    if not np.isfinite(high - low).all() or (high - low).max() >= MOST_CHOICES:
        raise ExportRefused(
            f"{engine}: {spec.name}: expected at most {MOST_CHOICES:,} choices, whose number an engine has to know, "
            f"got {describe_range(low.min(), high.max())}; leave {engine} out of --formats."
        )
    sizes = tuple(int(size) for size in high - low + 1)
    is_scored = (
        scores is not None and {*sizes} == {scores.shape[-1]} and (interface.noise is None or choice.noise is not None)
    )
    return Branches(spec, sizes, tuple(map(int, low)), scores if is_scored else None, choice.noise)
