"""Turns n steps into one transition.

In:      transitions float32[E, width], one of each environment; how each step ended.
Out:     transitions that reach n steps ahead: the discounted sum of n rewards, the product of n discounts, and the
         n-th successor.

    row t:   s_t, a_t, r_t + γ r_{t+1} + … + γ^{n-1} r_{t+n-1}, γ^{n-1} d_{t+n-1}, s_{t+n}

The agent multiplies by γ and by the successor's value as it does for one step, so the factor is γ^n in total. The
discount of a terminated step is 0 and ends the sum. Where an episode is truncated, the rows that are still waiting
reach fewer steps ahead, with their own power of γ.

TF-Agents' own n-step update samples sequences of n + 1 steps and computes the sum each time. Here it is computed once,
while collecting: replay and learner are the same as for one step.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from rlway_client.contract.specs import AnyArray
from rlway_train.collect.transition import DISCOUNT, REWARD, TransitionColumns


class NStepAdder:
    """Keeps the last n − 1 rows of each environment until they reach n steps ahead, or their episode ends."""

    def __init__(self, n: int, gamma: float, envs: int, columns: TransitionColumns) -> None:
        self._n, self._gamma, self.columns = n, gamma, columns
        self._waiting: list[deque[AnyArray]] = [deque() for _ in range(envs)]

    def add(self, rows: AnyArray, ended: AnyArray, real: AnyArray) -> AnyArray:  # [E, width] -> [m, width]
        successor, numbers = self.columns.successor, self.columns.numbers(rows)
        done: list[AnyArray] = []
        for i in np.flatnonzero(real):
            waiting = self._waiting[i]
            for age, row in enumerate(reversed(waiting), start=1):
                earlier = self.columns.numbers(row[None])[0]
                earlier[REWARD] += self._gamma**age * numbers[i, REWARD]
                earlier[DISCOUNT] = self._gamma**age * numbers[i, DISCOUNT]
                row[successor] = rows[i, successor]
            waiting.append(rows[i].copy())
            if ended[i]:
                done += waiting
                waiting.clear()
            elif len(waiting) == self._n:
                done.append(waiting.popleft())
        return np.array(done, self.columns.dtype).reshape(-1, self.columns.width)
