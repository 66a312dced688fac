"""Trainings that are known to work, by name.

In:      a preset's name.
Out:     its environment and settings.
Refuses: UsageError for an unknown name, with the nearest ones.
"""

from __future__ import annotations

import difflib

import msgspec

from rlway_client.errors import UsageError
from rlway_train.settings import Chosen, DqnSettings, SacSettings


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """An environment with the settings that solve it; their kind is the algorithm's."""

    env: str
    summary: str
    settings: DqnSettings | SacSettings

    @property
    def algorithm(self) -> str:
        """The command that takes it."""
        return "sac" if isinstance(self.settings, SacSettings) else "dqn"


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
    "pendulum-sac": Preset(
        env="Pendulum-v1",
        summary="Pendulum-v1 swung up and held, in 20,000 steps with one update a step",
        # Networks of 64 units are enough here, and an update of them takes a quarter of the usual 256's. At a constant
        # rate a policy that had been good was lost for a while in one run; at a falling one in none of ten.
        settings=SacSettings(
            steps=20_000,
            hidden=(64, 64),
            learning_rate=1e-3,
            learning_rate_end=1e-4,
            envs=4,
            block_steps=20,
            block_iterations=20,
        ),
    ),
}


def presets_of(kind: type[Chosen]) -> dict[str, Preset]:
    """Those of one algorithm."""
    return {name: preset for name, preset in PRESETS.items() if isinstance(preset.settings, kind)}


def find_preset(name: str, kind: type[Chosen]) -> tuple[str, Chosen]:
    """The environment and the settings of this preset, of the algorithm that `kind` sets."""
    if name not in PRESETS:
        own = presets_of(kind)
        near = difflib.get_close_matches(name, own, n=3, cutoff=0.4) or sorted(own)
        raise UsageError(f"--preset: there is no preset {name!r}; did you mean {' or '.join(near)}?")
    preset = PRESETS[name]
    if not isinstance(preset.settings, kind):
        raise UsageError(f"--preset: {name!r} is one of `rlway train {preset.algorithm}`; use that command.")
    return preset.env, preset.settings
