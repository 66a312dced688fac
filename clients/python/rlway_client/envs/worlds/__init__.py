"""Small environments to learn with, in gymnasium under the names of a namespace of their own.

In:      nothing; `register_worlds` before an environment is looked up. Outside RLway, gymnasium's own form does it:
         `gymnasium.make("rlway_client.envs.worlds:rlway/GridWorld-v0")`.
Out:     `rlway/GridWorld-v0`, `rlway/CardGame-v0` and `rlway/CartPolePositions-v0`, known to gymnasium.

They live in the client because a policy is trained in one world and played in another (docs/decisions/0006): both have
this package. gymnasium itself is imported only when one of them is made.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

_WORLDS = "rlway_client.envs.worlds"
WORLDS: dict[str, dict[str, Any]] = {
    "rlway/GridWorld-v0": {
        "entry_point": f"{_WORLDS}.grid_world:GridWorld",
        "max_episode_steps": 100,
        # From the corner, the shortest way to the goal takes five steps and pays 1 − 4 · 0.04.
        "reward_threshold": 0.84,
    },
    "rlway/CardGame-v0": {"entry_point": f"{_WORLDS}.card_game:CardGame", "max_episode_steps": 25},
    "rlway/CartPolePositions-v0": {
        "entry_point": f"{_WORLDS}.cartpole_positions:CartPolePositions",
        "vector_entry_point": f"{_WORLDS}.cartpole_positions:CartPolePositionsVector",
        "max_episode_steps": 500,
        "reward_threshold": 475.0,  # CartPole-v1's own
    },
}


def register_worlds() -> None:
    """Makes them known to gymnasium, once."""
    import gymnasium

    for name, facts in WORLDS.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, **facts)


with suppress(ModuleNotFoundError):  # whoever looks for an environment without gymnasium is told what to install
    register_worlds()
