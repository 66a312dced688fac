"""The textbook's DQN, up to a policy on a server: CartPole-v1, 300 episodes, a target network copied every 20 of them.

    .venv-train/bin/python examples/tutorials/book_cartpole.py

The textbook builds its agent by hand. Here TF-Agents' DqnAgent has the same numbers: two hidden layers of 128, a replay
of 10,000 transitions, batches of 32, ε 0.1, γ 0.98. Each step of the environment is followed by one update. The total
reward and the mean loss of every episode are plotted. Then RLway exports and serves the policy, and it plays over HTTP.

The same training as one command: rlway train dqn --preset cartpole-book
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from served import film, play_both
from tf_agents.agents.dqn.dqn_agent import DqnAgent
from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
from tf_agents.environments import suite_gym
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.networks.q_network import QNetwork
from tf_agents.policies.policy_saver import PolicySaver
from tf_agents.replay_buffers.tf_uniform_replay_buffer import TFUniformReplayBuffer
from tf_agents.utils import common

import rlway_export

ENV = "CartPole-v1"
HIDDEN, GAMMA, LEARNING_RATE, EPSILON = (128, 128), 0.98, 5e-4, 0.1
REPLAY, BATCH, COPY_EVERY = 10_000, 32, 20
NEVER = 1 << 31  # updates


def main() -> None:
    parser = argparse.ArgumentParser(description="The textbook's DQN on CartPole-v1, exported and served.")
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--play", type=int, default=10, help="episodes over HTTP")
    parser.add_argument("--frames", type=int, default=500, help="pictures of the film")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/tutorial-book-cartpole"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tf.keras.utils.set_random_seed(options.seed)

    env = TFPyEnvironment(suite_gym.load(ENV))
    network, target = (QNetwork(env.observation_spec(), env.action_spec(), fc_layer_params=HIDDEN) for _ in range(2))
    agent = DqnAgent(
        env.time_step_spec(),
        env.action_spec(),
        q_network=network,
        target_q_network=target,
        target_update_period=NEVER,  # an agent counts updates, and the textbook counts episodes
        optimizer=tf.keras.optimizers.Adam(LEARNING_RATE),
        epsilon_greedy=EPSILON,
        gamma=GAMMA,
        td_errors_loss_fn=common.element_wise_squared_loss,
        train_step_counter=tf.Variable(0, dtype=tf.int64),
    )
    agent.initialize()
    agent.train = common.function(agent.train)
    replay = TFUniformReplayBuffer(agent.collect_data_spec, batch_size=1, max_length=REPLAY)
    collect = common.function(DynamicStepDriver(env, agent.collect_policy, [replay.add_batch], num_steps=1).run)
    batches = iter(replay.as_dataset(sample_batch_size=BATCH, num_steps=2).prefetch(3))

    rewards, mean_losses = [], []
    time_step = env.reset()
    for episode in range(1, options.episodes + 1):
        total, losses, ended = 0.0, [], False
        while not ended:
            time_step, _ = collect(time_step)
            total, ended = total + float(time_step.reward), bool(time_step.is_last())
            if int(replay.num_frames()) > BATCH:
                losses.append(float(agent.train(next(batches)[0]).loss))
        if episode % COPY_EVERY == 0:
            common.soft_variables_update(network.variables, target.variables, tau=1.0)
        rewards.append(total)
        mean_losses.append(np.mean(losses) if losses else np.nan)
        if episode % 10 == 0:
            print(f"episode {episode}: total reward {total:.0f}, mean loss {mean_losses[-1]:.3f}", flush=True)

    _, (above, below) = plt.subplots(2, sharex=True)
    above.plot(rewards)
    above.set_ylabel("total reward")
    below.plot(mean_losses)
    below.set_ylabel("mean loss")
    below.set_xlabel("episode")
    plt.savefig(options.out / "episodes.png")
    film(suite_gym.load(ENV), agent.policy, options.out / "greedy.mp4", options.frames)

    PolicySaver(agent.policy, train_step=agent.train_step_counter).save(str(options.out / "policy"))
    bundle = rlway_export.export(options.out / "policy", options.out / "models", "book-cartpole", log=print)
    play_both(bundle, lambda: suite_gym.load(ENV), agent.policy, options.play)


if __name__ == "__main__":
    main()
