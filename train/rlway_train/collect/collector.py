"""Steps the environments and gathers transitions for replay.

In:      a policy.
Out:     transitions float32[n, width], exactly as many as asked for.

A row is observation, action, reward, discount, successor. The discount is 0 where the task terminated, and 1 where it
went on or the clock ended it: a truncated episode's last state keeps its value. What replay holds may be more than one
step each: see nstep and sequences.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from rlway_client.contract.specs import FloatArray
from rlway_train.collect.adders.base import Adder, TransitionAdder
from rlway_train.envs.vector import Environments
from rlway_train.policies.numpy import BatchPolicy, PolicyState, reset_state


class Collector:
    """Goes on where it stopped, episode after episode."""

    def __init__(self, environments: Environments, seed: int, adder: Adder | None = None) -> None:
        self._environments = environments
        self._observation = environments.reset(seed)
        self._adder = adder or TransitionAdder(self._observation.shape[1], environments.action_dim)
        self._spare: list[FloatArray] = []
        self._state: PolicyState = ()
        self._running = np.zeros(environments.n)
        self.taken = 0  # environment steps that the latest block stands for
        self.returns: list[float] = []  # of the episodes that ended, in order

    def collect(self, policy: BatchPolicy, n: int) -> FloatArray:  # -> [n, width]
        rows, gathered = self._spare, sum(map(len, self._spare))
        while gathered < n:
            rows.append(self._step(policy))
            gathered += len(rows[-1])
        together: FloatArray = np.concatenate([np.empty((0, self._adder.width), np.float32), *rows])
        # Parallel environments may gather a few more than asked for: they are the first of the next block.
        self._spare = [together[n:]]
        self.taken = n
        return together[:n]

    def collect_ahead(self, policy: BatchPolicy, n: int) -> FloatArray:  # -> [n, width]
        """The same; rlway_train.collect.collector_process begins the next block meanwhile."""
        return self.collect(policy, n)

    def end(self) -> None:
        """The training is over."""

    def close(self) -> None:
        with suppress(Exception):  # what has been collected is not worth less for how an environment ends
            self._environments.close()

    def _step(self, policy: BatchPolicy) -> FloatArray:  # -> [m, width]
        actions, state = policy(self._observation, self._state)
        step = self._environments.step(actions)
        self._state = reset_state(state, step.begins)
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
        return self._adder.push(rows, ended, step.real)
