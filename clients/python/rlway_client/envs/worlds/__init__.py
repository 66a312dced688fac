"""Small environments to learn with, registered in gymnasium in the namespace `rlway`.

In:      nothing; RLway calls `register_worlds` before it looks for an environment. Elsewhere, importing this module
         does it: `gymnasium.make("rlway_client.envs.worlds:rlway/GridWorld-v0")`.
Out:     `rlway/GridWorld-v0`, `rlway/CardGame-v0` and `rlway/CartPolePositions-v0`, known to gymnasium.

They belong to the client because a policy is trained in one Python environment and played in another
(docs/decisions/0006), and both have this package.
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
    """Registers them in gymnasium, once."""
    import gymnasium

    for name, facts in WORLDS.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, **facts)


with suppress(ModuleNotFoundError):  # without gymnasium, `find_environment` says what to install
    register_worlds()
