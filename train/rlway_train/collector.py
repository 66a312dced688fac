"""Steps the environments and gathers transitions for replay.

In:      a policy.
Out:     transitions float32[n, width], exactly as many as asked for.

A row is observation, action, reward, discount, successor. The discount is 0 where the task terminated, and 1 where it
went on or the clock ended it: a truncated episode's last state keeps its value. With n-step returns, see nstep.
"""

from __future__ import annotations

import numpy as np

from rlway_client.specs import FloatArray
from rlway_train.acting import Memory, Policy, forget
from rlway_train.environment import Environments
from rlway_train.nstep import NSteps


def row_width(obs_dim: int, action_dim: int) -> int:
    """The columns of a transition row."""
    return 2 * obs_dim + action_dim + 2


class Collector:
    """Goes on where it stopped, episode after episode."""

    def __init__(self, environments: Environments, seed: int, n_step: int = 1, gamma: float = 1.0) -> None:
        self._environments = environments
        self._observation = environments.reset(seed)
        obs_dim = self._observation.shape[1]
        self._n_steps = NSteps(n_step, gamma, environments.n, obs_dim, environments.action_dim) if n_step > 1 else None
        self._spare: list[FloatArray] = []
        self._memory: Memory = ()
        self._running = np.zeros(environments.n)
        self.returns: list[float] = []  # of the episodes that ended, in order

    def collect(self, policy: Policy, n: int) -> FloatArray:  # -> [n, width]
        rows, gathered = self._spare, sum(map(len, self._spare))
        while gathered < n:
            rows.append(self._step(policy))
            gathered += len(rows[-1])
        width = row_width(self._observation.shape[1], self._environments.action_dim)
        together: FloatArray = np.concatenate([np.empty((0, width), np.float32), *rows])
        # Parallel environments may gather a few more than asked for: they are the first of the next block.
        self._spare = [together[n:]]
        return together[:n]

    def _step(self, policy: Policy) -> FloatArray:  # -> [m, width]
        actions, memory = policy(self._observation, self._memory)
        step = self._environments.step(actions)
        self._memory = forget(memory, step.begins)
        self._running += step.reward * step.real
        ended = step.terminated | step.truncated
        for i in np.flatnonzero(ended & step.real):
            self.returns.append(float(self._running[i]))
            self._running[i] = 0.0
        columns = (
            self._observation,
            actions.reshape(len(actions), -1).astype(np.float32),
            step.reward[:, None],
            1.0 - step.terminated[:, None].astype(np.float32),
            step.successor,
        )
        rows: FloatArray = np.concatenate(columns, axis=1)
        self._observation = step.observation
        if self._n_steps is not None:
            return self._n_steps.push(rows, ended, step.real)
        return rows if step.real.all() else rows[step.real]
