"""TF-Agents' guide to environments, up to a policy on a server: a card game as a PyEnvironment of one's own.

    .venv-train/bin/python examples/tutorials/card_game.py

The steps are the guide's: write the game, validate it, play fixed actions, wrap another environment, make tensors of
it, play whole episodes. Then a DQN agent learns the game, RLway exports and serves its policy, and it plays over HTTP.

The same training as one command: rlway train dqn --preset cardgame-dqn --env examples/tutorials/card_game.py:CardGame
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from served import play, play_both
from tf_agents.agents.dqn.dqn_agent import DqnAgent
from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
from tf_agents.environments import suite_gym, utils, wrappers
from tf_agents.environments.py_environment import PyEnvironment
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.networks.q_network import QNetwork
from tf_agents.policies.policy_saver import PolicySaver
from tf_agents.policies.py_tf_eager_policy import PyTFEagerPolicy
from tf_agents.replay_buffers.tf_uniform_replay_buffer import TFUniformReplayBuffer
from tf_agents.specs.array_spec import BoundedArraySpec
from tf_agents.trajectories import time_step as ts
from tf_agents.utils import common

import rlway_export

DRAW, STOP = 0, 1


class CardGame(PyEnvironment):  # type: ignore[misc]  # TF-Agents has no types
    """Cards 1 to 10 from an endless deck. The player draws or stops, and should come close to 21 but not above it."""

    def __init__(self) -> None:
        super().__init__(handle_auto_reset=True)  # a step after the last one begins a new episode
        self._sum = 0

    def action_spec(self) -> Any:
        return BoundedArraySpec((), np.int32, DRAW, STOP, "action")

    def observation_spec(self) -> Any:
        return BoundedArraySpec((1,), np.int32, 0, 30, "observation")  # at 20, one more card makes at most 30

    def _reset(self) -> Any:
        self._sum = 0
        return ts.restart(self._seen())

    def _step(self, action: Any) -> Any:
        if action == DRAW:
            self._sum += np.random.randint(1, 11)
        if action == STOP or self._sum >= 21:
            return ts.termination(self._seen(), self._sum - 21 if self._sum <= 21 else -21)
        return ts.transition(self._seen(), 0.0)

    def _seen(self) -> Any:
        return np.array([self._sum], np.int32)


def look_around(episodes: int) -> None:
    """The guide's own steps, before anything is learned."""
    utils.validate_py_environment(CardGame(), episodes=episodes)
    fixed = iter([DRAW, DRAW, DRAW, STOP])
    print(f"three cards, then stop: return {play(CardGame(), lambda _: next(fixed), 1, seed=0)[0]:.0f}")

    pendulum = wrappers.ActionDiscretizeWrapper(suite_gym.load("Pendulum-v1"), num_actions=5)
    short = wrappers.TimeLimit(pendulum, duration=20)
    print(f"Pendulum-v1 with 5 actions: {short.action_spec()}")
    print(f"and with a time limit of 20: return {play(short, lambda _: 2, 1, seed=0)[0]:.0f}")

    env = TFPyEnvironment(CardGame())
    length, earned = 0, 0.0
    for _ in range(episodes):
        time_step = env.reset()
        while not time_step.is_last():
            time_step = env.step(tf.random.uniform([1], DRAW, STOP + 1, tf.int32))
            length, earned = length + 1, earned + float(time_step.reward)
    print(f"random actions: {length / episodes:.1f} steps, return {earned / episodes:.1f} over {episodes} episodes")


def main() -> None:
    parser = argparse.ArgumentParser(description="TF-Agents' guide to environments, with a policy learned and served.")
    parser.add_argument("--episodes", type=int, default=5, help="of the guide's steps")
    parser.add_argument("--iterations", type=int, default=10_000)
    parser.add_argument("--play", type=int, default=500, help="episodes of an evaluation, and over HTTP")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/tutorial-card-game"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tf.keras.utils.set_random_seed(options.seed)
    look_around(options.episodes)

    env = TFPyEnvironment(CardGame())
    scaled = tf.keras.layers.Lambda(lambda cards: tf.cast(cards, tf.float32) / 21.0)
    agent = DqnAgent(
        env.time_step_spec(),
        env.action_spec(),
        q_network=QNetwork(env.observation_spec(), env.action_spec(), scaled, fc_layer_params=(100,)),
        optimizer=tf.keras.optimizers.Adam(1e-3),
        epsilon_greedy=0.2,
        target_update_period=100,
        td_errors_loss_fn=common.element_wise_squared_loss,
        train_step_counter=tf.Variable(0, dtype=tf.int64),
    )
    agent.initialize()
    agent.train = common.function(agent.train)
    replay = TFUniformReplayBuffer(agent.collect_data_spec, batch_size=1, max_length=10_000)
    collect = common.function(DynamicStepDriver(env, agent.collect_policy, [replay.add_batch], num_steps=1).run)
    for _ in range(64):
        collect()
    batches = iter(replay.as_dataset(sample_batch_size=64, num_steps=2).prefetch(3))
    chosen, every = PyTFEagerPolicy(agent.policy, use_tf_function=True), max(1, options.iterations // 10)
    for iteration in range(1, options.iterations + 1):
        collect()
        agent.train(next(batches)[0])
        if iteration % every == 0:
            returns = play(CardGame(), lambda now: chosen.action(now).action, options.play, seed=iteration)
            print(f"iteration {iteration}: average return {np.mean(returns):.2f}", flush=True)

    PolicySaver(agent.policy, train_step=agent.train_step_counter).save(str(options.out / "policy"))
    # A class of one's own is code, so the exporter plays in it only if it is named.
    game = f"{__file__}:CardGame"
    bundle = rlway_export.export(options.out / "policy", options.out / "models", "card-game", env=game, log=print)
    play_both(bundle, CardGame, agent.policy, options.play)


if __name__ == "__main__":
    main()
