"""Observations that a policy visits now, where its training has left none of them, or few.

In:      the SavedModel; the environment that the user or the run names.
Out:     `ROWS` rows of every tensor of the observation, from episodes that the SavedModel plays greedily.
Refuses: an environment that is code and that only the run names (UsageError); one that cannot be made, fails, or does
         not give what the policy observes (EnvironmentFault).
"""

from __future__ import annotations

import numpy as np

from rlway_client.envs.consent import trained_environment
from rlway_client.episodes import observed
from rlway_client.parity import Arrays
from rlway_client.run import Job
from rlway_export.returns import SEED, Player, open_trained
from rlway_export.saved_policy import SavedPolicy

ROWS = 2048


def visit(policy: SavedPolicy, run: Job, env: str | None = None) -> Arrays:  # -> [ROWS, …] by name
    """Episode after episode, until there are enough rows. `env` is the environment that the user names, if any."""
    player = Player(policy.run_act, policy.interface)
    rows: list[Arrays] = []
    with open_trained(trained_environment(run.env, env), run) as opened:
        episode, ended = 0, True
        while len(rows) < ROWS:
            if ended:
                observation = opened.reset(SEED + episode)
                player.forget()
                episode += 1
            with observed(opened):
                rows.append(player.read(observation))
                action = player.act(observation)
            observation, _, ended = opened.step(action)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
