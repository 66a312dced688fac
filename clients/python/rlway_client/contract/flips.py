"""Which discrete actions a file changes, and how near the alternatives were.

In:      a policy's interface, its inputs, the outputs of the SavedModel and of a file.
Out:     `Flips`.
Refuses: nothing.

An action is the largest of its scores plus its noise. Where it cannot be told which elements of the noise belong to it,
the scores alone are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rlway_client.contract.interface import Choice, Interface
from rlway_client.contract.output_ranges import OutputRanges
from rlway_client.contract.specs import AnyArray

NamedArrays = Mapping[str, AnyArray]


class Flips(NamedTuple):
    """The rows with another discrete action, and for each of their changed actions the gap of its two best scores."""

    changed: AnyArray  # bool[rows]
    gaps: AnyArray  # as differences are scaled; infinite where no scores are known

    @property
    def rows(self) -> int:
        return int(np.count_nonzero(self.changed))

    @property
    def smallest_gap(self) -> float | None:
        """The smallest gap; None if no scores are known, or nothing was changed."""
        known = self.gaps[np.isfinite(self.gaps)]
        return float(known.min()) if len(known) else None


def find_flips(
    interface: Interface, ranges: OutputRanges, inputs: NamedArrays, expected: NamedArrays, found: NamedArrays
) -> Flips:
    """The differences between the discrete actions of two policies."""
    rows = len(expected[interface.actions[0].name])
    changed, gaps = np.zeros(rows, np.bool_), [np.zeros(0)]
    for choice in interface.choices:
        name = choice.action.name
        flipped = np.asarray(expected[name] != found[name]).reshape(rows, -1)  # [rows, elements]
        changed |= flipped.any(axis=1)
        if flipped.any():
            gaps.append(_gaps(choice, ranges, inputs, expected, flipped))
    return Flips(changed, np.concatenate(gaps))


def _gaps(
    choice: Choice, ranges: OutputRanges, inputs: NamedArrays, expected: NamedArrays, flipped: AnyArray
) -> AnyArray:  # -> one for each flipped element
    if choice.scores is None:
        return np.full(np.count_nonzero(flipped), np.inf)
    scores = expected[choice.scores.name]
    if choice.noise is not None:
        scores = scores + inputs["noise"][:, choice.noise].reshape(scores.shape)
    best = np.sort(scores.reshape(*flipped.shape, -1)[flipped], axis=-1)
    if best.shape[-1] < 2:
        return np.full(len(best), np.inf)
    return np.asarray((best[:, -1] - best[:, -2]) * ranges.scale(choice.scores.name))
