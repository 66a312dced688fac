"""The scores of a policy's discrete actions in ONNX: one column for each choice.

In:      the wrapped policy, a discrete part of its action.
Out:     the name of float32[B, n] for each of the part's elements.

Where the policy gives no scores, they are `TAKEN` for its action and 0 for all others. An engine that draws from their
softmax then takes that action, too.
"""

from __future__ import annotations

import numpy as np

from rlway_client.contract.game_actions import Branches
from rlway_export.formats.games.wrapper import Wrapper

TAKEN = np.float32(1000)


def score_columns(wrapper: Wrapper, part: Branches, noise: str | None = None, greedy: bool = False) -> list[str]:
    """One for each element; `noise` is added to scores that the policy gives."""
    if part.scores is not None:
        rows = wrapper.float_rows(wrapper.result(part.scores, greedy), part.scores)
        if noise is not None and part.noise is not None:
            size = part.noise.stop - part.noise.start
            rows = wrapper.add("Add", rows, wrapper.columns(noise, part.noise.start, size))
        if len(part.sizes) == 1:
            return [rows]
        return [wrapper.columns(rows, i * size, size) for i, size in enumerate(part.sizes)]
    taken = wrapper.whole_rows(wrapper.result(part.spec, greedy), part.spec)
    return [_marks(wrapper, taken, i, part) for i in range(len(part.sizes))]


def _marks(wrapper: Wrapper, taken: str, i: int, part: Branches) -> str:
    """`TAKEN` for the action that is taken."""
    column = taken if len(part.sizes) == 1 else wrapper.columns(taken, i, 1)
    values = part.lowest[i] + np.arange(part.sizes[i])[None]
    is_taken = wrapper.add("Cast", wrapper.add("Equal", column, values), to=wrapper.FLOAT)
    return wrapper.add("Mul", is_taken, np.array(TAKEN))
