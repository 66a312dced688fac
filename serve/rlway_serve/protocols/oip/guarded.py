"""How answers say that the policy's guard has changed an action: a parameter of the action's output tensor.

In:      the rules that the action violated.
Out:     the value of the parameter, since parameters are no lists: `out_of_range,too_fast`.
"""

from __future__ import annotations

from collections.abc import Sequence

GUARDED = "guarded"


def in_words(rules: Sequence[str]) -> str:
    """The rules with commas between them."""
    return ",".join(rules)
