"""Observations that a policy visits now, where its training has left none of them, or few.

In:      the SavedModel; the environment that the run names.
Out:     `ROWS` rows of every tensor of the observation, from episodes that the SavedModel plays greedily.
Refuses: an environment that cannot be made, fails, or does not give what the policy observes (EnvironmentFault).
"""

from __future__ import annotations

from contextlib import closing

import numpy as np

from rlway_client.episodes import make_env
from rlway_client.errors import EnvironmentFault
from rlway_client.parity import Arrays
from rlway_client.run import Job
from rlway_export.returns import SEED, Player, playing
from rlway_export.saved_policy import SavedPolicy

ROWS = 2048


def visit(policy: SavedPolicy, run: Job) -> Arrays:  # -> [ROWS, …] by name
    """Episode after episode, until there are enough rows."""
    player = Player(policy.run_act, policy.interface)
    rows: list[Arrays] = []
    with playing(run.env), closing(make_env(run.env, run.action_values, run.max_episode_steps)) as env:
        episode, ended = 0, True
        while len(rows) < ROWS:
            if ended:
                observation, _ = env.reset(seed=SEED + episode)
                player.forget()
                episode += 1
            rows.append(player.leaves(observation))
            observation, _, terminated, truncated, _ = env.step(player.act(observation))
            ended = terminated or truncated
    found = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise EnvironmentFault(f"environment {run.env!r}: {name}: expected finite numbers, got NaN or infinity.")
    return found
