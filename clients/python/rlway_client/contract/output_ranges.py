"""How wide each of a policy's outputs ranges, so that differences of several outputs can be compared.

In:      a policy's interface, the SavedModel's outputs.
Out:     `OutputRanges`: the range of every compared output; differences as if each had the widest range.
Refuses: nothing.

A continuous action ranges between its bounds; what has no bounds ranges as far as its largest value, and at least to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rlway_client.contract.interface import Interface
from rlway_client.contract.specs import AnyArray

MASK = 1e30  # scores beyond it mean that a choice is not allowed


class OutputRanges(NamedTuple):
    """The ranges of the compared outputs: of the actions and scores, then of what the policy tells of them."""

    by_name: dict[str, AnyArray]  # of the action's shape, or ()
    widest: float  # of the actions and scores, if there are any
    largest: dict[str, float]  # of the outputs without bounds: what was taken as their largest value

    @classmethod
    def of(cls, interface: Interface, expected: Mapping[str, AnyArray], known: Mapping[str, float]) -> OutputRanges:
        """The ranges of these outputs. `known` are largest values of more rows, of which these are a part."""
        actions = {spec.name: spec for spec in interface.actions}
        by_name: dict[str, AnyArray] = {}
        largest: dict[str, float] = {}
        for name in (*interface.judged, *interface.info):
            most = known.get(name) or max(1.0, _largest(expected[name]))
            spec = actions.get(name)
            low, high = (-np.inf, np.inf) if spec is None else spec.bounds()
            bounded = np.isfinite(high - low) & (high > low)
            by_name[name] = np.where(bounded, high - low, most)
            if not bounded.all():
                largest[name] = most
        decisive = interface.judged or interface.info
        widest = max((float(by_name[name].max()) for name in decisive), default=0.0)
        return cls(by_name, widest, largest)

    def scale(self, name: str) -> AnyArray:
        """By what a difference in this output is multiplied."""
        return self.widest / self.by_name[name]


def _largest(values: AnyArray) -> float:
    """The largest absolute value, masks and what is not finite left out."""
    sizes = np.abs(values)
    with np.errstate(invalid="ignore"):
        return float(np.max(sizes, initial=0.0, where=sizes < MASK))
