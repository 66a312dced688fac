"""Runs a file that takes one row at a time.

In:      a session for one row; arrays of any number of rows.
Out:     the rows' results, run one after the other.
Refuses: what the session refuses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlway_client.contract.parity import rows_of
from rlway_client.contract.specs import AnyArray
from rlway_serve.backends.base import Session


class RowByRow:
    """A session for batches. A row is always run alone, so runs need no padding, and are batch-invariant."""

    def __init__(self, session: Session) -> None:
        self.name = session.name
        self.on_cpu = session.on_cpu
        self.signature = session.signature
        self._session = session

    def run(self, inputs: dict[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        rows = rows_of(inputs)
        if rows == 1:
            return self._session.run(inputs, outputs)
        results: list[list[AnyArray]] = []
        for i in range(rows):
            row = self._session.run({name: array[i : i + 1] for name, array in inputs.items()}, outputs)
            results.append([array.copy() for array in row])  # valid only until the next run
        return [np.concatenate(arrays) for arrays in zip(*results, strict=True)]
