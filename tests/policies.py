"""Small policies for the tests of collectors and evaluators."""

from __future__ import annotations

import numpy as np

from rlway_client.contract.specs import AnyArray, FloatArray, IntArray
from rlway_train.policies.numpy import BatchPolicy, PolicyState, StatelessPolicy


class Always(StatelessPolicy):
    """Takes the same action for every observation."""

    def __init__(self, action: int) -> None:
        self._action = action

    def act(self, observations: FloatArray) -> IntArray:
        return np.full(len(observations), self._action, np.int64)


class Counting(BatchPolicy):
    """Counts the steps of its episode in its policy state, and records the count with each observation."""

    def __init__(self) -> None:
        self.seen: list[tuple[AnyArray, AnyArray]] = []

    def __call__(self, observations: FloatArray, state: PolicyState = ()) -> tuple[IntArray, PolicyState]:
        count = state[0] if state else np.zeros((len(observations), 1), np.float32)
        self.seen.append((observations.copy(), count[:, 0].copy()))
        return np.zeros(len(observations), np.int64), (count + 1,)
