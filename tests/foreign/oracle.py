"""The policies in this process: what a client's actions have to equal.

In:      a bundle's `model.onnx`, and the observations that a client has recorded.
Out:     their actions, each from a run of one row without noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from rlway_client.contract.specs import AnyArray

Arrays = Mapping[str, AnyArray]


class InProcessPolicy:
    """A bundle's ONNX file, run by onnxruntime and nothing of RLway."""

    def __init__(self, models: Path, policy: str) -> None:
        self._session = onnxruntime.InferenceSession(models / policy / "1/model.onnx")
        self._noise = {
            value.name: np.zeros([1, *value.shape[1:]], np.float32)
            for value in self._session.get_inputs()
            if value.name == "noise"
        }

    def act(self, observations: Arrays) -> AnyArray:  # by input name [rows, …] -> [rows, …]
        """The actions of a policy without state."""
        rows = len(next(iter(observations.values())))
        row_by_row = [self._run({name: value[i : i + 1] for name, value in observations.items()}) for i in range(rows)]
        return np.concatenate([run["action"] for run in row_by_row])

    def walk(self, observations: AnyArray) -> AnyArray:  # float32[steps, 4] -> int64[steps]
        """The actions of `summing` over one episode, from its first step on."""
        actions, state = [], np.zeros((1, 4), np.float32)
        for i, observation in enumerate(observations):
            run = self._run({"observation": observation[None], "sum": state, "reset": np.array([i == 0])})
            state = run["next_sum"]
            actions.append(run["action"])
        return np.concatenate(actions)

    def _run(self, inputs: Arrays) -> dict[str, Any]:
        names = [value.name for value in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, {**inputs, **self._noise}), strict=True))
