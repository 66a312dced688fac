"""TF-Agents' DQN tutorial, up to a policy on a server: CartPole-v0 with a Q-network of one hidden layer.

    .venv-train/bin/python examples/tutorials/dqn_cartpole.py

Environment, agent, metrics, replay buffer, drivers, training loop, plot and films are as in the tutorial "Train a Deep
Q Network with TF-Agents". Then PolicySaver saves the policy, RLway exports and serves it, and it plays over HTTP.

The same training as one command: rlway train dqn --preset cartpole-dqn
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import tensorflow as tf
from served import film, play_both
from tf_agents.agents.dqn.dqn_agent import DqnAgent
from tf_agents.drivers.dynamic_episode_driver import DynamicEpisodeDriver
from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
from tf_agents.environments import suite_gym
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.metrics.tf_metrics import AverageReturnMetric, EnvironmentSteps, NumberOfEpisodes
from tf_agents.networks.q_network import QNetwork
from tf_agents.policies.policy_saver import PolicySaver
from tf_agents.policies.random_tf_policy import RandomTFPolicy
from tf_agents.replay_buffers.tf_uniform_replay_buffer import TFUniformReplayBuffer
from tf_agents.utils import common

import rlway_export

ENV = "CartPole-v0"
INITIAL_STEPS, REPLAY, BATCH, LEARNING_RATE = 100, 100_000, 64, 1e-3
LOG_EVERY = 200


def main() -> None:
    parser = argparse.ArgumentParser(description="TF-Agents' DQN tutorial on CartPole-v0, exported and served.")
    parser.add_argument("--iterations", type=int, default=20_000)
    parser.add_argument("--eval-every", type=int, default=1_000, help="iterations between two evaluations")
    parser.add_argument("--episodes", type=int, default=10, help="of an evaluation, and over HTTP")
    parser.add_argument("--frames", type=int, default=600, help="pictures of each film")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/tutorial-dqn-cartpole"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tf.keras.utils.set_random_seed(options.seed)

    # Two environments: one to collect in, one to evaluate in. TFPyEnvironment makes tensors of numpy's arrays.
    eval_py_env = suite_gym.load(ENV)
    env, eval_env = TFPyEnvironment(suite_gym.load(ENV)), TFPyEnvironment(eval_py_env)
    print(f"observation: {env.observation_spec()}\naction: {env.action_spec()}")

    agent = DqnAgent(
        env.time_step_spec(),
        env.action_spec(),
        q_network=QNetwork(env.observation_spec(), env.action_spec(), fc_layer_params=(100,)),
        optimizer=tf.keras.optimizers.Adam(LEARNING_RATE),
        td_errors_loss_fn=common.element_wise_squared_loss,
        train_step_counter=tf.Variable(0, dtype=tf.int64),
    )
    agent.initialize()
    agent.train = common.function(agent.train)  # a graph; without this, every update runs operation by operation
    random_policy = RandomTFPolicy(env.time_step_spec(), env.action_spec())

    def evaluator(policy: Any) -> Any:
        average = AverageReturnMetric(buffer_size=options.episodes)
        episodes = DynamicEpisodeDriver(eval_env, policy, [average], num_episodes=options.episodes)
        run = common.function(episodes.run)

        def evaluate() -> float:
            average.reset()
            run()
            return float(average.result())

        return evaluate

    # Replay: a driver hands each step to its observers, the buffer and the metrics.
    replay = TFUniformReplayBuffer(agent.collect_data_spec, batch_size=env.batch_size, max_length=REPLAY)
    DynamicStepDriver(env, random_policy, [replay.add_batch], num_steps=INITIAL_STEPS).run()
    metrics = [NumberOfEpisodes(), EnvironmentSteps()]
    collector = DynamicStepDriver(env, agent.collect_policy, [replay.add_batch, *metrics], num_steps=1)
    collect = common.function(collector.run)
    batches = iter(replay.as_dataset(num_parallel_calls=3, sample_batch_size=BATCH, num_steps=2).prefetch(3))

    print(f"random actions: average return {evaluator(random_policy)():.1f}")
    evaluate = evaluator(agent.policy)
    returns = [evaluate()]
    for iteration in range(1, options.iterations + 1):
        collect()
        experience, _ = next(batches)
        loss = agent.train(experience).loss
        if iteration % LOG_EVERY == 0:
            counted = ", ".join(f"{metric.name} {int(metric.result())}" for metric in metrics)
            print(f"iteration {iteration}: loss {float(loss):.3f}, {counted}")
        if iteration % options.eval_every == 0:
            returns.append(evaluate())
            print(f"iteration {iteration}: average return {returns[-1]:.1f}", flush=True)

    plt.plot([i * options.eval_every for i in range(len(returns))], returns)
    plt.xlabel("iterations")
    plt.ylabel("average return")
    plt.ylim(0, 250)
    plt.savefig(options.out / "returns.png")
    film(eval_py_env, agent.policy, options.out / "trained.mp4", options.frames)
    film(eval_py_env, random_policy, options.out / "random.mp4", options.frames)

    # What the tutorial leaves out: the policy as a file, as a bundle with ONNX and TFLite, and on a server.
    PolicySaver(agent.policy, train_step=agent.train_step_counter).save(str(options.out / "policy"))
    bundle = rlway_export.export(options.out / "policy", options.out / "models", "dqn-cartpole", log=print)
    play_both(bundle, lambda: suite_gym.load(ENV), agent.policy, options.episodes)


if __name__ == "__main__":
    main()
