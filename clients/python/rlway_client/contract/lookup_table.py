"""The values that a policy looks up in a table, in words.

In:      a spec.
Out:     `0 to 9`, or one range for each element; an empty text if the policy looks nothing up.
"""

from __future__ import annotations

from rlway_client.contract.specs import TensorSpec, describe_range

SHOWN = 8  # elements, if their ranges differ


def looked_up(spec: TensorSpec) -> str:
    """The range that each element can be looked up in: `0 to 9; any; at most 4`; empty if none is looked up."""
    if not spec.is_lookup:
        return ""
    sides = [[float(bound)] * spec.size if not bound.shape else bound.ravel() for bound in spec.lookup_bounds()]
    words = [describe_range(low, high) for low, high in zip(*sides, strict=True)]
    return words[0] if len(set(words)) == 1 else "; ".join(words[:SHOWN]) + ("; …" if len(words) > SHOWN else "")
