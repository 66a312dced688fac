"""Trainings that are known to work, by name.

In:      a preset's name.
Out:     its environment and settings.
Refuses: UsageError for an unknown name, with the nearest ones.
"""

from __future__ import annotations

import difflib

import msgspec

from rlway_client.errors import UsageError
from rlway_train.settings import DqnSettings


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """An environment with the settings that solve it."""

    env: str
    summary: str
    settings: DqnSettings


PRESETS = {
    "cartpole": Preset(
        env="CartPole-v1",
        summary="CartPole-v1 to its full return of 500, in well under a minute on two cores",
        # Squared loss and a horizon of 50 steps lead out of the plateau near 100 sooner than Huber and 0.99 do. DQN
        # forgets what it can already do; a rate that falls tenfold settles the seeds that have not ended by then.
        settings=DqnSettings(
            loss="squared",
            gamma=0.98,
            learning_rate_end=1e-4,
            target_period=64,
            eval_every=1_000,
            confirm_episodes=80,
            stop_return=500.0,
        ),
    ),
    "cartpole-dqn": Preset(
        env="CartPole-v0",
        summary="TF-Agents' DQN tutorial: CartPole-v0, one hidden layer of 100, one update a step, 20,000 of them",
        settings=DqnSettings(
            steps=20_100,
            hidden=(100,),
            double=False,
            loss="squared",
            gamma=1.0,
            gradient_clip=None,
            target_period=1,
            epsilon_start=0.1,
            epsilon_end=0.1,
            epsilon_steps=0,
            initial_steps=100,
            eval_every=1_000,
            eval_episodes=10,
        ),
    ),
}


def find_preset(name: str) -> Preset:
    """The preset of this name."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.4) or sorted(PRESETS)
        raise UsageError(f"--preset: there is no preset {name!r}; did you mean {' or '.join(near)}?")
    return PRESETS[name]
