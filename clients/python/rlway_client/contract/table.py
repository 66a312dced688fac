"""The values that a policy looks up in a table, in words.

In:      a spec.
Out:     `0 to 9`, or that of each element; nothing where any value is taken.
"""

from __future__ import annotations

import math

from rlway_client.specs import TensorSpec

SHOWN = 8  # elements, where they differ


def looked_up(spec: TensorSpec) -> str:
    """What can be looked up of each element: `0 to 9; any; at most 4`."""
    if not spec.is_lookup:
        return ""
    sides = [[float(bound)] * spec.size if not bound.shape else bound.ravel() for bound in spec.lookup_bounds()]
    words = [_range(float(low), float(high)) for low, high in zip(*sides, strict=True)]
    return words[0] if len(set(words)) == 1 else "; ".join(words[:SHOWN]) + ("; …" if len(words) > SHOWN else "")


def _range(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return "any"
    if math.isinf(low):
        return f"at most {high:.0f}"
    return f"at least {low:.0f}" if math.isinf(high) else f"{low:.0f} to {high:.0f}"
