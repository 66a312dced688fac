"""Two small environments to learn with, in gymnasium under the names of a namespace of their own.

In:      nothing; `register_worlds` before an environment is looked up. Outside RLway, gymnasium's own form does it:
         `gymnasium.make("rlway_client.worlds:rlway/GridWorld-v0")`.
Out:     `rlway/GridWorld-v0` and `rlway/CardGame-v0`, known to gymnasium.

They live in the client because a policy is trained in one world and played in another (docs/decisions/0006): both have
this package. gymnasium itself is imported only when one of them is made.
"""

from __future__ import annotations

from contextlib import suppress

WORLDS = {
    # From the corner, the shortest way to the goal takes five steps and pays 1 − 4 · 0.04.
    "rlway/GridWorld-v0": ("rlway_client.worlds.grid_world:GridWorld", 100, 0.84),
    "rlway/CardGame-v0": ("rlway_client.worlds.card_game:CardGame", 25, None),
}


def register_worlds() -> None:
    """Makes them known to gymnasium, once."""
    import gymnasium

    for name, (entry_point, max_episode_steps, reward_threshold) in WORLDS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point=entry_point,
                max_episode_steps=max_episode_steps,
                reward_threshold=reward_threshold,
            )


with suppress(ModuleNotFoundError):  # whoever looks for an environment without gymnasium is told what to install
    register_worlds()
