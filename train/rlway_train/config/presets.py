"""Presets: trainings that are known to work, by name.

In:      a preset's name.
Out:     its environment and settings.
Refuses: UsageError for an unknown name, with the nearest ones.
"""

from __future__ import annotations

import difflib

import msgspec

from rlway_client.contract.errors import UsageError
from rlway_train.config.settings import ALGORITHMS, Chosen, DqnSettings, SacSettings, TrainingSettings


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """An environment with settings that solve it. The class of the settings says which algorithm."""

    env: str
    summary: str
    settings: DqnSettings | SacSettings

    @property
    def algorithm(self) -> str:
        """The command that takes the preset."""
        return self.settings.algorithm


PRESETS = {
    "cartpole": Preset(
        env="CartPole-v1",
        summary="CartPole-v1 to its full return of 500, in well under a minute on two cores",
        # A good action and a bad one differ by a fraction of a Q-value near 200. Normalised observations, three rewards
        # in a row and four updates a step make the difference larger. A falling rate and averaged weights make its
        # error smaller. Clipped targets keep the policy from states whose values the network only extrapolates.
        # docs/results.md has the curves of many seeds.
        settings=DqnSettings(
            steps=60_000,
            hidden=(64, 64),
            block_iterations=256,
            normalize=True,
            clip_targets=True,
            n_step=3,
            loss="squared",
            gamma=0.995,
            learning_rate_end=1e-5,
            learning_rate_steps=30_000,
            average_window=16_000,
            eval_every=1_000,
            confirm_episodes=80,
            final_episodes=100,
            stop_return=500.0,
        ),
    ),
    "cartpole-rnn": Preset(
        env="rlway/CartPolePositions-v0",
        summary="CartPole-v1 without its velocities, which an LSTM estimates from past observations",
        # An LSTM's outputs are between -1 and 1. Q-values near 50 need large weights behind it, and it saturates before
        # it has learned anything from its observations. The scale of the rewards keeps Q-values between 0 and 1.
        # Two successive positions are nearly the same. Their difference is an input of its own, because an LSTM would
        # need large weights to take it.
        settings=DqnSettings(
            steps=60_000,
            block_iterations=128,
            hidden=(64,),
            lstm=32,
            sequence_length=10,
            burn_in=2,
            normalize=True,
            differences=True,
            reward_scale=0.005,
            clip_targets=True,
            n_step=3,
            loss="squared",
            gamma=0.995,
            learning_rate=1e-3,
            learning_rate_end=1e-5,
            learning_rate_steps=50_000,
            average_window=4_000,
            batch_size=32,
            target_period=1,
            target_tau=0.02,
            eval_every=1_000,
            confirm_episodes=80,
            final_episodes=100,
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
            # With blocks of 64, one seed in five stayed at 164. Smaller blocks update the collecting policy more often.
            block_steps=16,
            block_iterations=16,
            eval_every=1_000,
            eval_episodes=10,
        ),
    ),
    "pendulum-sac": Preset(
        env="Pendulum-v1",
        summary="Pendulum-v1 swung up and held, in 20,000 steps with one update a step",
        # 64 units are enough here, and an update takes a quarter of the time that the usual 256 take. At a constant
        # rate, one run lost a good policy for a while; at a falling rate, none of ten did.
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
    "minitaur-sac": Preset(
        env="MinitaurBulletEnv-v0",
        summary="TF-Agents' SAC tutorial: PyBullet's Minitaur walks, 100,000 updates, replay in Reverb; half an hour",
        # The tutorial alternates steps and updates. Here 50 steps run beside the 50 updates of the block before.
        settings=SacSettings(
            steps=110_000,
            envs=1,
            block_steps=50,
            block_iterations=50,
            collect_process=True,
            initial_steps=10_000,
            replay="reverb",
            replay_capacity=10_000,
            limiter="min-size",
            eval_every=10_000,
            confirm_episodes=0,
            save_every=5_000,
        ),
    ),
    "minitaur-sac-walk": Preset(
        env="MinitaurBulletEnv-v0",
        summary="PyBullet's Minitaur walks: normalised observations, scaled rewards; 120,000 steps",
        # Rewards are about 0.005 a step. Unscaled, the entropy term outweighs them until the temperature has fallen
        # from 1, which takes tens of thousands of updates. A step of PyBullet costs more than an update of 128-128.
        settings=SacSettings(
            steps=120_000,
            hidden=(128, 128),
            normalize=True,
            reward_scale=50.0,
            initial_alpha=0.1,
            learning_rate=7e-4,
            learning_rate_end=1e-4,
            target_tau=0.01,
            initial_steps=5_000,
            collect_process=True,
            eval_every=15_000,
            eval_episodes=5,
            confirm_episodes=0,
        ),
    ),
    "cartpole-book": Preset(
        env="CartPole-v1",
        summary="the textbook's DQN: one environment, 300 episodes, a target network copied every 20 of them",
        settings=DqnSettings(
            steps=150_000,
            episodes=300,
            double=False,
            loss="squared",
            gamma=0.98,
            learning_rate=5e-4,
            gradient_clip=None,
            batch_size=32,
            target_episodes=20,
            epsilon_start=0.1,
            epsilon_end=0.1,
            epsilon_steps=0,
            replay_capacity=10_000,
            initial_steps=32,
            envs=1,
            block_steps=4,
            block_iterations=4,
        ),
    ),
    "gridworld-qlearning": Preset(
        env="rlway/GridWorld-v0",
        summary="the textbook's Q-learning: no replay, no target network, one update a step, 1,000 episodes",
        settings=DqnSettings(
            steps=100_000,
            episodes=1_000,
            hidden=(100,),
            double=False,
            loss="squared",
            gamma=0.9,
            optimizer="sgd",
            learning_rate=0.01,
            gradient_clip=None,
            batch_size=1,
            target_period=1,
            epsilon_start=0.1,
            epsilon_end=0.1,
            epsilon_steps=0,
            online=True,
            initial_steps=0,
            envs=1,
            block_steps=1,
            block_iterations=1,
            eval_every=1_000,
            eval_episodes=2,
            confirm_episodes=0,
        ),
    ),
    "gridworld-dqn": Preset(
        env="rlway/GridWorld-v0",
        summary="the grid world with replay and a target network, in seconds",
        settings=DqnSettings(
            steps=10_000,
            hidden=(100,),
            gamma=0.9,
            epsilon_end=0.1,
            epsilon_steps=5_000,
            replay_capacity=10_000,
            eval_every=1_000,
            eval_episodes=2,
            confirm_episodes=0,
        ),
    ),
    "pendulum-dqn": Preset(
        env="Pendulum-v1",
        summary="swings the pendulum up with five torques in place of a continuous one",
        settings=DqnSettings(
            steps=60_000,
            gamma=0.98,
            learning_rate_end=1e-4,
            target_period=1,
            target_tau=0.01,
            discretize=5,
            eval_every=3_000,
        ),
    ),
    "minatar-breakout": Preset(
        env="MinAtar/Breakout-v1",
        summary="MinAtar's Breakout from its images of 10 × 10, by convolutions; minutes on one core",
        # The network is that of MinAtar's own DQN. That one has no n-step targets, and learns from five million steps.
        settings=DqnSettings(
            steps=300_000,
            conv="16x3x1",
            hidden=(128,),
            xla=False,
            n_step=3,
            learning_rate_end=1e-4,
            batch_size=32,
            target_period=250,
            block_iterations=32,
            initial_steps=5_000,
            epsilon_end=0.02,
            epsilon_steps=50_000,
            eval_every=20_000,
            confirm_episodes=20,
            final_episodes=100,
        ),
    ),
    "cardgame-dqn": Preset(
        env="rlway/CardGame-v0",
        summary="draw or stop, as close to 21 as it gets: the example of an environment of one's own",
        settings=DqnSettings(
            steps=60_000,
            hidden=(100,),
            loss="squared",
            gamma=1.0,
            learning_rate_end=1e-5,
            epsilon_end=0.2,
            eval_every=5_000,
            eval_episodes=200,
            confirm_episodes=1_000,
            final_episodes=2_000,
        ),
    ),
}


def presets_of(kind: type[Chosen]) -> dict[str, Preset]:
    """The presets of one algorithm."""
    return {name: preset for name, preset in PRESETS.items() if isinstance(preset.settings, kind)}


def find_preset(name: str, kind: type[Chosen]) -> tuple[str, Chosen]:
    """The environment and the settings of this preset. Its algorithm must be that of `kind`."""
    if name not in PRESETS:
        own = presets_of(kind)
        near = difflib.get_close_matches(name, own, n=3, cutoff=0.4) or sorted(own)
        raise UsageError(f"--preset: there is no preset {name!r}; did you mean {' or '.join(near)}?")
    preset = PRESETS[name]
    if not isinstance(preset.settings, kind):
        raise UsageError(f"--preset: {name!r} is one of `rlway train {preset.algorithm}`; use that command.")
    return preset.env, preset.settings


def kind_of(algorithm: str | None, preset: str | None) -> type[TrainingSettings]:
    """The settings class of the algorithm. Without an algorithm, the preset's; without a preset, DQN's."""
    if algorithm is None:
        algorithm = PRESETS[preset].algorithm if preset in PRESETS else "dqn"
    if algorithm not in ALGORITHMS:
        raise UsageError(f"--algorithm: expected {' or '.join(ALGORITHMS)}, got {algorithm}")
    return ALGORITHMS[algorithm]
