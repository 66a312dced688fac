"""Suggests known names in place of an unknown one.

In:      a name that is not known, and those that are.
Out:     up to three known names that look like it, the most alike first.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that look like this one; upper and lower case count as alike."""
    lower = {one.lower(): one for one in known}
    return [lower[found] for found in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]
