"""Several steps as one transition.

In:      transition rows float32[E, width], one per environment and step, see collector; how each step ended.
Out:     rows that reach n steps ahead: the discounted sum of n rewards, the product of n discounts, the n-th successor.

    row t:   s_t, a_t, r_t + γ r_{t+1} + … + γ^{n-1} r_{t+n-1}, γ^{n-1} d_{t+n-1}, s_{t+n}

The agent then multiplies by γ and the successor's value as for one step, which makes γ^n in all. A terminated step's
discount is 0 and so ends the sum; at a truncated one the rows that still wait reach fewer steps ahead, with their own
power of γ. TF-Agents' own n-step update takes sequences of n + 1 steps instead, and computes the same sum anew every
time a sequence is drawn; summed once while collecting, replay and learner stay those of one step.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from rlway_client.contract.specs import AnyArray, FloatArray


class NStepAdder:
    """Holds the last n − 1 rows of each environment back."""

    def __init__(self, n: int, gamma: float, envs: int, obs_dim: int, action_dim: int) -> None:
        self._n, self._gamma = n, gamma
        self.width = 2 * obs_dim + action_dim + 2
        self._reward = obs_dim + action_dim
        self._discount, self._successor = self._reward + 1, self._reward + 2
        self._waiting: list[deque[FloatArray]] = [deque() for _ in range(envs)]

    def push(self, rows: FloatArray, ended: AnyArray, real: AnyArray) -> FloatArray:  # [E, width] -> [m, width]
        """The rows that are complete now. Where `real` is False the environment took no step."""
        done: list[FloatArray] = []
        for i in np.flatnonzero(real):
            waiting = self._waiting[i]
            for age, row in enumerate(reversed(waiting), start=1):
                row[self._reward] += self._gamma**age * rows[i, self._reward]
                row[self._discount] = self._gamma**age * rows[i, self._discount]
                row[self._successor :] = rows[i, self._successor :]
            waiting.append(rows[i].copy())
            if ended[i]:
                done += waiting
                waiting.clear()
            elif len(waiting) == self._n:
                done.append(waiting.popleft())
        return np.array(done, np.float32).reshape(-1, rows.shape[1])
