"""Training rate of DQN, side by side: TF-Agents' tutorial loop, then `rlway train dqn`, one after the other.

In:      nothing but this machine: .venv-train/bin/python benchmarks/training.py
Out:     one table row: iterations per second of both, and their ratio.

Both train TF-Agents' `DqnAgent` on CartPole-v0: a network of one hidden layer of 100, Adam at 1e-3, batches of 64 from
a replay of 100,000, squared loss, one update per environment step. Start-up and the first, tracing call are left out
of both, and so are evaluations. The tutorial alternates one step and one update; RLway takes 64 steps of 8 environments
side by side, then 64 updates in one call.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

INITIAL_STEPS = 100
BATCH, REPLAY, HIDDEN = 64, 100_000, 100


def tutorial_rate(iterations: int) -> float:
    """Iterations per second of the loop as TF-Agents' DQN tutorial writes it: one step, one batch, one update."""
    import tensorflow as tf
    from tf_agents.agents.dqn.dqn_agent import DqnAgent
    from tf_agents.environments import suite_gym
    from tf_agents.environments.tf_py_environment import TFPyEnvironment
    from tf_agents.networks.q_network import QNetwork
    from tf_agents.policies.random_tf_policy import RandomTFPolicy
    from tf_agents.replay_buffers.tf_uniform_replay_buffer import TFUniformReplayBuffer
    from tf_agents.trajectories import trajectory
    from tf_agents.utils import common

    env = TFPyEnvironment(suite_gym.load("CartPole-v0"))
    agent = DqnAgent(
        env.time_step_spec(),
        env.action_spec(),
        q_network=QNetwork(env.observation_spec(), env.action_spec(), fc_layer_params=(HIDDEN,)),
        optimizer=tf.compat.v1.train.AdamOptimizer(learning_rate=1e-3),
        td_errors_loss_fn=common.element_wise_squared_loss,
        train_step_counter=tf.Variable(0),
    )
    agent.initialize()
    replay = TFUniformReplayBuffer(agent.collect_data_spec, batch_size=env.batch_size, max_length=REPLAY)

    def step(policy: Any) -> None:
        now = env.current_time_step()
        chosen = policy.action(now)
        replay.add_batch(trajectory.from_transition(now, chosen, env.step(chosen.action)))

    explorer = RandomTFPolicy(env.time_step_spec(), env.action_spec())
    for _ in range(INITIAL_STEPS):
        step(explorer)
    dataset = replay.as_dataset(num_parallel_calls=3, sample_batch_size=BATCH, num_steps=2).prefetch(3)
    batches = iter(dataset)
    agent.train = common.function(agent.train)  # as the tutorial does; bare, it would run eagerly

    def iterate() -> None:
        step(agent.collect_policy)
        experience, _ = next(batches)
        agent.train(experience)

    iterate()  # traces
    start_s = time.perf_counter()
    for _ in range(iterations):
        iterate()
    return iterations / (time.perf_counter() - start_s)


def rlway_rate(iterations: int) -> float:
    """Iterations per second that `rlway train dqn` reports of itself."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            str(Path(sys.executable).parent / "rlway"), "train", "dqn", "--json",
            "--preset", "cartpole-dqn", "--env", "CartPole-v0", "--run", str(Path(scratch) / "run"),
            "--hidden", str(HIDDEN), "--batch-size", str(BATCH), "--learning-rate", "1e-3",
            "--loss", "squared", "--no-double",
            "--replay-capacity", str(REPLAY), "--initial-steps", str(INITIAL_STEPS),
            "--block-steps", "64", "--block-iterations", "64", "--steps", str(INITIAL_STEPS + iterations),
        ]  # fmt: skip
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["iterations_per_s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tutorial-iterations", type=int, default=2_000)
    parser.add_argument("--rlway-iterations", type=int, default=20_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--tutorial-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tutorial_only:
        print(tutorial_rate(options.tutorial_iterations))
        return
    # In a process of its own: the threads of its input pipeline must have ended before ours runs.
    command = [sys.executable, __file__, "--tutorial-only", "--tutorial-iterations", str(options.tutorial_iterations)]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    tutorial = float(subprocess.run(command, check=True, capture_output=True, text=True, env=quiet).stdout.split()[-1])
    ours = rlway_rate(options.rlway_iterations)
    row = {
        "tutorial_iterations_per_s": round(tutorial, 1),
        "rlway_iterations_per_s": ours,
        "ratio": round(ours / tutorial, 1),
    }
    if options.json:
        print(json.dumps(row | {"cpus": os.cpu_count(), "machine": platform.machine()}))
        return
    print("| DQN, batch 64, hidden 100, 1 update a step | TF-Agents' tutorial | rlway train dqn | ratio |")
    print("|---|---|---|---|")
    print(f"| iterations/s, {os.cpu_count()} CPUs | {tutorial:,.0f} | {ours:,.0f} | {row['ratio']}× |")


if __name__ == "__main__":
    main()
