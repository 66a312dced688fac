"""Collects transitions: what every collector does, and the one that steps its environments in this process.

In:      a policy.
Out:     rows [n, width] for the replay, exactly as many as asked for; the returns of the episodes that ended.

The other two collectors are rlway_train.collect.collector_process and rlway_train.distributed.remote_collector.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

import numpy as np

from rlway_client.contract.specs import AnyArray
from rlway_train.collect.adders.base import Adder, TransitionAdder
from rlway_train.collect.transition import step_columns
from rlway_train.envs.vector import Environments
from rlway_train.policies.numpy import BatchPolicy, PolicyState, reset_state


class Collector(Protocol):
    """Collects block after block. A block continues the episodes of the block before."""

    taken: int  # environment steps of the latest block
    returns: list[float]  # of the episodes that ended, in order

    def collect(self, policy: BatchPolicy, n: int) -> AnyArray:  # -> [n, width]
        """The next `n` rows."""

    def collect_ahead(self, policy: BatchPolicy, n: int) -> AnyArray:  # -> [n, width]
        """The next rows. A collector that runs in parallel with the learner also begins the block after them."""

    def end(self) -> None:
        """Called when the training is over."""

    def close(self) -> None:
        """Closes the environments."""


class LocalCollector:
    """Steps its environments in this process."""

    def __init__(self, environments: Environments, seed: int, adder: Adder | None = None) -> None:
        self._environments = environments
        self._observation = environments.reset(seed)
        obs_dim, is_image = self._observation.shape[1], self._observation.dtype == np.uint8
        self._columns = step_columns(obs_dim, environments.action_dim, is_image)
        self._adder = adder or TransitionAdder(self._columns)
        self._spare: list[AnyArray] = []
        self._state: PolicyState = ()
        self._running = np.zeros(environments.n)  # returns of the unfinished episodes
        self.taken = 0
        self.returns: list[float] = []

    def collect(self, policy: BatchPolicy, n: int) -> AnyArray:  # -> [n, width]
        rows, collected = self._spare, sum(map(len, self._spare))
        while collected < n:
            rows.append(self._step(policy))
            collected += len(rows[-1])
        columns = self._adder.columns
        together: AnyArray = np.concatenate([np.empty((0, columns.width), columns.dtype), *rows])
        # Several environments may give a few rows more than `n`. The next block begins with those.
        self._spare = [together[n:]]
        self.taken = n
        return together[:n]

    def collect_ahead(self, policy: BatchPolicy, n: int) -> AnyArray:  # -> [n, width]
        return self.collect(policy, n)

    def end(self) -> None:
        pass

    def close(self) -> None:
        with suppress(Exception):  # the rows are good even if an environment fails to close
            self._environments.close()

    def _step(self, policy: BatchPolicy) -> AnyArray:  # -> [m, width]
        actions, state = policy(self._observation, self._state)
        step = self._environments.step(actions)
        self._state = reset_state(state, step.begins)
        self._running += step.reward * step.real
        ended = step.terminated | step.truncated
        for i in np.flatnonzero(ended & step.real):
            self.returns.append(float(self._running[i]))
            self._running[i] = 0.0
        discount = 1.0 - step.terminated.astype(np.float32)
        rows = self._columns.join(self._observation, actions, step.reward, discount, step.successor)
        self._observation = step.observation
        return self._adder.add(rows, ended, step.real)
