"""Plays whole episodes of a policy, for their returns and the observations that it visits.

In:      a policy, a number of episodes, a seed.
Out:     `EvaluationResult`; visited observations, [N, obs_dim].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlway_client.contract.parity import spread
from rlway_client.contract.specs import AnyArray
from rlway_train.collect.confidence import mean_interval
from rlway_train.policies.numpy import BatchPolicy, PolicyState, reset_state

if TYPE_CHECKING:
    from rlway_train.envs.vector import Environments

VISITED_ROWS = 4_096  # observations kept for parity and calibration
MOST_BYTES = 1 << 28  # of one round's observations
MOST_TOGETHER = 500  # environments
LONGEST_EPISODE = 10_000  # steps; without a time limit an episode may never end


@dataclass(frozen=True)
class EvaluationResult:
    """Undiscounted returns and lengths, one per episode."""

    returns: AnyArray
    lengths: AnyArray

    @property
    def mean_return(self) -> float:
        return float(self.returns.mean())

    @property
    def std_return(self) -> float:
        return float(self.returns.std())

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% confidence interval of the mean return; None for one episode."""
        return mean_interval(self.returns)

    @property
    def mean_length(self) -> float:
        return float(self.lengths.mean())

    @property
    def episodes(self) -> int:
        return len(self.returns)

    def __add__(self, other: EvaluationResult) -> EvaluationResult:
        return EvaluationResult(np.append(self.returns, other.returns), np.append(self.lengths, other.lengths))


class Evaluator:
    """Plays in rounds: one episode in each of its environments."""

    def __init__(self, environments: Environments, make_more: Callable[[int], Environments] | None = None) -> None:
        """With `make_more`, more episodes than environments are played in one round of environments of its own.

        That is faster where a step of many environments costs hardly more than a step of few.
        """
        self._environments, self._make_more = environments, make_more
        self._more: dict[int, Environments] = {}
        self._kept: list[AnyArray] = []  # observations of the latest rounds, one array each

    def evaluate(self, policy: BatchPolicy, episodes: int, seed: int, keep: bool = True) -> EvaluationResult:
        """Plays the episodes. Without `keep`, their observations are not among those that `visited` returns."""
        environments = self._environments_for(episodes)
        rounds = -(-episodes // environments.n)
        done = []
        for turn in range(rounds):
            evaluation, visited = self._round(environments, policy, seed + turn * environments.n)
            done.append(evaluation)
            if keep:
                self._keep(visited)
        whole = sum(done[1:], done[0])
        return EvaluationResult(whole.returns[:episodes], whole.lengths[:episodes])

    def visited(self) -> AnyArray:  # -> [N, obs_dim]
        """The observations visited in the latest evaluations: `VISITED_ROWS`, or all while there are fewer."""
        together = np.concatenate(self._kept)
        return spread(together, VISITED_ROWS)

    def _keep(self, visited: list[AnyArray]) -> None:
        together = np.concatenate(visited)
        self._kept.append(spread(together, VISITED_ROWS))
        while sum(map(len, self._kept[1:])) >= VISITED_ROWS:
            del self._kept[0]

    def visit(self, policy: BatchPolicy, rows: int, seed: int) -> AnyArray:  # -> [rows, obs_dim]
        """Observations that the policy acted on, spread evenly over its episodes."""
        visited: list[AnyArray] = []
        turn = 0
        while sum(map(len, visited)) < rows:
            visited += self._round(self._environments, policy, seed + turn * self._environments.n)[1]
            turn += 1
        return spread(np.concatenate(visited), rows)

    def _environments_for(self, episodes: int) -> Environments:
        if self._make_more is None or episodes <= self._environments.n:
            return self._environments
        n = min(episodes, MOST_TOGETHER)
        if n not in self._more:
            self._more[n] = self._make_more(n)
        return self._more[n]

    def _round(
        self, environments: Environments, policy: BatchPolicy, seed: int
    ) -> tuple[EvaluationResult, list[AnyArray]]:
        n = environments.n
        returns, lengths = np.zeros(n), np.zeros(n, np.int64)
        running = np.ones(n, np.bool_)
        visited: list[AnyArray] = []
        state: PolicyState = ()
        observation = environments.reset(seed)
        stride, held = 1, 0
        for turn in range(LONGEST_EPISODE):
            if not running.any():
                break
            if turn % stride == 0:
                visited.append(observation[running])
                held += visited[-1].nbytes
            if held > MOST_BYTES:  # of images: every second turn is enough
                visited, stride, held = visited[::2], 2 * stride, held // 2
            actions, state = policy(observation, state)
            step = environments.step(actions)
            state = reset_state(state, step.begins)
            returns[running] += step.reward[running]
            lengths[running] += 1
            running &= ~(step.terminated | step.truncated)
            observation = step.observation
        return EvaluationResult(returns, lengths), visited
