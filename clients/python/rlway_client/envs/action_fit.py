"""Whether an environment takes a policy's action, and in which form.

In:      an action, as rlway_client.contract.nesting arranges it; gymnasium's action space.
Out:     the action in the space's own form and dtype, or what does not fit in a few words.
Refuses: nothing.

A space of one number takes it in any shape of one element: TF-Agents' policies often act with shape [1]. But a Box of
real numbers takes a whole number only in its own shape, as it may be an index. Bounds of a Box may be exceeded, as by
rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlway_client.common.quote import clipped


def misfit(action: Any, space: Any) -> str | None:
    """What an action is that the space does not take, with its place within the action; None if it fits."""
    from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

    if isinstance(space, Dict | Tuple):
        inner, parts = _spaces(space), _parts(action)
        if parts is None or parts.keys() != inner.keys():
            return shown(action)
        wrong = ((key, misfit(parts[key], inner[key])) for key in inner)
        return next((f"{found} at {key!r}" for key, found in wrong if found is not None), None)
    array = np.asarray(action)
    if isinstance(space, Discrete):
        takes = array.size == 1 and array.dtype.kind in "iu"
        takes = takes and bool(space.start <= array.item() < space.start + space.n)
    elif isinstance(space, MultiDiscrete):
        takes = _has_shape(array, space) and array.dtype.kind in "iu"
        takes = takes and _within(array, space.start, space.start + space.nvec - 1)
    elif isinstance(space, MultiBinary):
        takes = _has_shape(array, space) and array.dtype.kind in "iub" and _within(array, 0, 1)
    elif isinstance(space, Box):
        alike = (array.dtype.kind == "f") == (space.dtype.kind == "f")
        takes = (array.shape == space.shape or (alike and _has_shape(array, space))) and _converts(array, space)
    else:
        takes = space.contains(action)
    return None if takes else shown(action)


def as_taken(action: Any, space: Any) -> Any:
    """An action that fits, in the form of the space: nested as it is, and of its shape and dtype."""
    from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

    if isinstance(space, Dict):
        parts = _parts(action) or {}
        return {key: as_taken(parts[str(key)], inner) for key, inner in space.spaces.items()}
    if isinstance(space, Tuple):
        parts = _parts(action) or {}
        return tuple(as_taken(parts[str(i)], inner) for i, inner in enumerate(space.spaces))
    if isinstance(space, Discrete):
        return int(np.asarray(action).item())
    if isinstance(space, Box | MultiBinary | MultiDiscrete):
        return np.asarray(action, space.dtype).reshape(space.shape)
    return action


def shown(value: Any) -> str:
    """A value in a few words: its shape, or its repr."""
    if isinstance(value, np.ndarray) and value.size > 1:
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    if isinstance(value, Mapping):
        return clipped(f"a dict of {', '.join(repr(str(key)) for key in value)}")
    try:
        return clipped(value.item() if isinstance(value, np.generic) else repr(value))
    except Exception:  # raised by the value's own __repr__
        return f"a {type(value).__name__}"


def _spaces(space: Any) -> dict[str, Any]:
    """The spaces within a Dict or a Tuple, by key."""
    inner = space.spaces
    return {str(key): inner[key] for key in (inner if isinstance(inner, Mapping) else range(len(inner)))}


def _parts(action: Any) -> dict[str, Any] | None:
    """The parts by key. The keys "0", "1", … may also be a tuple's; None for an action without parts."""
    if isinstance(action, Mapping):
        return {str(key): part for key, part in action.items()}
    return {str(i): part for i, part in enumerate(action)} if isinstance(action, tuple | list) else None


def _has_shape(array: Any, space: Any) -> bool:
    return bool(array.shape == space.shape or array.size == np.prod(space.shape) == 1)


def _within(array: Any, low: Any, high: Any) -> bool:
    return bool(((array.ravel() >= np.ravel(low)) & (array.ravel() <= np.ravel(high))).all())


def _converts(array: Any, space: Any) -> bool:
    """Whether the space's dtype can hold these numbers."""
    if array.dtype.kind in "iu" and space.dtype.kind in "iu":
        return bool(((array >= space.low) & (array <= space.high)).all())
    return np.can_cast(array.dtype, space.dtype, "same_kind")
