"""Observations collected for this export, where the training left none or too few.

In:      the SavedModel; the environment.
Out:     `ROWS` rows of every tensor of the observation, from episodes that the SavedModel plays greedily.
Refuses: an environment that cannot be made, that fails, or that does not give the policy's observation
         (EnvironmentFault).
"""

from __future__ import annotations

import numpy as np

from rlway_client.contract.parity import Arrays
from rlway_client.contract.time_step import time_step_of
from rlway_client.envs.episodes import observed
from rlway_export.play.environment import SEED, Environment
from rlway_export.play.rollout import Player
from rlway_export.reference.base import Reference

ROWS = 2048


def collect_observations(policy: Reference, environment: Environment) -> Arrays:  # -> [ROWS, …] by name
    """Plays one episode after the other until there are enough rows."""
    player = Player(policy.run_act, policy.interface)
    rows: list[Arrays] = []
    with environment.open() as opened:
        episode, ended = 0, True
        while len(rows) < ROWS:
            if ended:
                observation = opened.reset(SEED + episode)
                player.reset()
                episode += 1
                reward, first = 0.0, True
            with observed(opened):
                rows.append(player.read(observation))
                action = player.act(observation, time_step_of(policy.interface.time_step, reward, first))
            observation, reward, ended = opened.step(action)
            first = False
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
