"""Observations and actions of episodes that are played for this export.

In:      the SavedModel; the environment.
Out:     `ROWS` rows of every tensor of the observation, or of the action, from episodes that the SavedModel plays
         greedily.
Refuses: an environment that cannot be made, that fails, or that does not give the policy's observation
         (EnvironmentFault).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rlway_client.contract.parity import Arrays
from rlway_client.contract.time_step import time_step_of
from rlway_client.envs.episodes import observed
from rlway_export.play.environment import SEED, Environment
from rlway_export.play.rollout import Player
from rlway_export.reference.base import Reference

ROWS = 2048


def collect_observations(policy: Reference, environment: Environment) -> Arrays:  # -> [ROWS, …] by name
    """The observations, where the training left none or too few."""
    return _join([step.observation for episode in _play(policy, environment) for step in episode])


def collect_actions(policy: Reference, environment: Environment) -> list[Arrays]:  # -> [steps, …] by name
    """The actions of each episode; the last one may be cut short."""
    return [_join([step.action for step in episode]) for episode in _play(policy, environment)]


class Step(NamedTuple):
    """One row of each tensor, by name."""

    observation: Arrays
    action: Arrays


def _play(policy: Reference, environment: Environment) -> list[list[Step]]:
    """Plays one episode after the other until there are enough rows."""
    outputs: Arrays = {}

    def run(inputs: Arrays) -> Arrays:
        outputs.update(policy.run_act(inputs))
        return outputs

    player = Player(run, policy.interface)
    names = [spec.name for spec in policy.interface.actions]
    episodes: list[list[Step]] = []
    steps, ended = 0, True
    with environment.open() as opened:
        while steps < ROWS:
            if ended:
                observation = opened.reset(SEED + len(episodes))
                player.reset()
                episodes.append([])
                reward, first = 0.0, True
            with observed(opened):
                row = player.read(observation)
                action = player.act(observation, time_step_of(policy.interface.time_step, reward, first))
            episodes[-1].append(Step(row, {name: outputs[name] for name in names}))
            observation, reward, ended = opened.step(action)
            steps, first = steps + 1, False
    return episodes


def _join(rows: list[Arrays]) -> Arrays:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
