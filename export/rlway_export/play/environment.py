"""The environment in which an export plays its policy: for the returns of `--evaluate`, and to collect observations.

In:      what the source says about its training; `--env` and `--time-limit`.
Out:     `Environment`, which can be made as often as episodes need one.
Refuses: no environment at all, one that is code and that only the source names (UsageError); one that cannot be made,
         that does not give the policy's observation, or that does not take its actions (EnvironmentFault).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.interface import Interface
from rlway_client.contract.nesting import grow, read, row_of
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec
from rlway_client.envs.action_fit import misfit
from rlway_client.envs.consent import is_same, trained_environment
from rlway_client.envs.episodes import make_env, observed, open_env
from rlway_client.envs.named import NamedEnv
from rlway_client.envs.names import portable
from rlway_export.common.provenance import Provenance

SEED = 1000  # as in `rlway edge` and `rlway play`


class Environment(NamedTuple):
    """An environment by its name, as the policy is played in it."""

    name: str
    action_values: list[float] | None  # of a discretised environment: the value behind each discrete action
    max_episode_steps: int | None  # None keeps the environment's own limit
    frame_stack: int = 1  # how many of its frames are one observation

    @classmethod
    def find(cls, trained: Provenance, named: str | None = None, time_limit: int | None = None) -> Environment:
        """The one that the user names, else that of the training. The training's time limit holds only in its own."""
        name = trained_environment(trained.env, named)
        limit = trained.max_episode_steps if is_same(name, trained.env) else None
        return cls(name, trained.action_values, time_limit or limit, trained.frame_stack)

    def open(self) -> NamedEnv:
        return open_env(*self)

    def check(self, interface: Interface | None) -> None:
        """Checks that it can be made and that it fits the policy, as far as the policy is already known."""
        if interface is None:
            self.open().close()
            return
        env = make_env(*self)
        with NamedEnv(self.name, env) as opened:
            observation = opened.reset(SEED)
            with observed(opened):
                read(observation, grow(interface.observation))
            for action in _ends(interface.actions):
                taken = misfit(action, env.action_space)
                if taken is not None:
                    space = clipped(env.action_space)
                    raise EnvironmentFault(
                        f"{self.name}: takes actions of {space}, and one of the policy's is {taken}."
                    )

    def notes(self, trained: Provenance) -> tuple[str, ...]:
        """What a reader of the manifest has to know where it names the environment of the training."""
        if trained.env is None:
            return ()
        if not is_same(self.name, trained.env):
            return (f"it was played in {portable(self.name)} for this export, and trained in {trained.env}.",)
        if self.max_episode_steps != trained.max_episode_steps:
            return (f"its episodes were ended after {self.max_episode_steps} steps for this export.",)
        return ()

    def complete(self, trained: Provenance) -> Provenance:
        """The provenance, with this environment where the source names none."""
        if trained.env is not None:
            return trained
        return trained._replace(env=portable(self.name), max_episode_steps=self.max_episode_steps)


def _ends(specs: list[TensorSpec]) -> list[Any]:
    """A policy's lowest and highest action; an unbounded element takes its value nearest to 0."""
    ends: Arrays = {}
    for spec in specs:
        low, high = spec.bounds()
        neutral = np.clip(np.zeros(spec.shape), low, high)
        ends[spec.name] = np.array([np.where(np.isfinite(end), end, neutral) for end in (low, high)], spec.numpy_dtype)
    return [row_of(ends, grow(specs), row) for row in range(2)]
