"""Training rate of SAC on PyBullet's Minitaur, side by side: TF-Agents' tutorial loop, then `rlway train sac`.

In:      nothing but this machine: .venv-train/bin/python benchmarks/minitaur.py
Out:     one table row: iterations per second of both and their ratio, the medians of some rounds.

Both train TF-Agents' `SacAgent` with actor and critics of 256-256, Adam at 3e-4, batches of 256 drawn uniformly from
10,000 transitions in a Reverb server, one update per environment step. The tutorial alternates one step and one update;
RLway takes 50 steps in a process of its own, beside the 50 updates of the block before. Start-up, the first, tracing
call and evaluations are left out of both.
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
from statistics import median

BATCH, REPLAY, HIDDEN, RATE = 256, 10_000, (256, 256), 3e-4
INITIAL_STEPS = 1_000
BLOCK = 50


def tutorial_rate(iterations: int, folder: str) -> float:
    """Iterations per second of the loop as TF-Agents' SAC tutorial writes it: Actor, Reverb, Learner."""
    import reverb
    import tensorflow as tf
    from tf_agents.agents.ddpg.critic_network import CriticNetwork
    from tf_agents.agents.sac.sac_agent import SacAgent
    from tf_agents.agents.sac.tanh_normal_projection_network import TanhNormalProjectionNetwork
    from tf_agents.environments import suite_pybullet
    from tf_agents.networks.actor_distribution_network import ActorDistributionNetwork
    from tf_agents.policies.py_tf_eager_policy import PyTFEagerPolicy
    from tf_agents.policies.random_py_policy import RandomPyPolicy
    from tf_agents.replay_buffers.reverb_replay_buffer import ReverbReplayBuffer
    from tf_agents.replay_buffers.reverb_utils import ReverbAddTrajectoryObserver
    from tf_agents.train import actor, learner, triggers
    from tf_agents.train.utils import spec_utils, train_utils

    env = suite_pybullet.load("MinitaurBulletEnv-v0")
    observation, action, time_step = spec_utils.get_tensor_specs(env)
    train_step = train_utils.create_train_step()
    optimizers = {f"{name}_optimizer": tf.compat.v1.train.AdamOptimizer(RATE) for name in ("actor", "critic", "alpha")}
    agent = SacAgent(
        time_step,
        action,
        actor_network=ActorDistributionNetwork(
            observation, action, fc_layer_params=HIDDEN, continuous_projection_net=TanhNormalProjectionNetwork
        ),
        critic_network=CriticNetwork(
            (observation, action),
            joint_fc_layer_params=HIDDEN,
            kernel_initializer="glorot_uniform",
            last_kernel_initializer="glorot_uniform",
        ),
        target_update_tau=0.005,
        td_errors_loss_fn=tf.math.squared_difference,
        train_step_counter=train_step,
        **optimizers,
    )
    agent.initialize()
    table = reverb.Table(
        "uniform", reverb.selectors.Uniform(), reverb.selectors.Fifo(), REPLAY, reverb.rate_limiters.MinSize(1)
    )
    server = reverb.Server([table])
    replay = ReverbReplayBuffer(agent.collect_data_spec, sequence_length=2, table_name="uniform", local_server=server)
    dataset = replay.as_dataset(sample_batch_size=BATCH, num_steps=2).prefetch(50)
    observers = [ReverbAddTrajectoryObserver(replay.py_client, "uniform", sequence_length=2, stride_length=1)]
    explorer = RandomPyPolicy(env.time_step_spec(), env.action_spec())
    actor.Actor(env, explorer, train_step, steps_per_run=INITIAL_STEPS, observers=observers).run()
    collecting = actor.Actor(
        env,
        PyTFEagerPolicy(agent.collect_policy, use_tf_function=True),
        train_step,
        steps_per_run=1,
        metrics=actor.collect_metrics(10),
        summary_dir=folder,
        observers=observers,
    )
    saving = [
        triggers.PolicySavedModelTrigger(f"{folder}/policies", agent, train_step, interval=5_000),
        triggers.StepPerSecondLogTrigger(train_step, interval=1_000),
    ]
    learning = learner.Learner(folder, train_step, agent, lambda: dataset, triggers=saving)

    def iterate() -> None:
        collecting.run()
        learning.run(iterations=1)

    iterate()  # traces
    start_s = time.perf_counter()
    for _ in range(iterations):
        iterate()
    rate = iterations / (time.perf_counter() - start_s)
    observers[0].close()
    server.stop()
    return rate


def tutorial_process_rate(iterations: int) -> float:
    """The same in its own process: the threads of its server and input pipeline must have ended before ours runs."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, __file__, "--tutorial-iterations", str(iterations), "--tutorial-only", scratch]
        quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet)
    return float(done.stdout.split()[-1])


def rlway_rate(iterations: int) -> float:
    """Iterations per second that `rlway train sac` reports of itself."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            str(Path(sys.executable).parent / "rlway"), "train", "sac", "--json",
            "--preset", "minitaur-sac", "--run", str(Path(scratch) / "run"),
            "--hidden", ",".join(map(str, HIDDEN)), "--batch-size", str(BATCH), "--learning-rate", str(RATE),
            "--replay", "reverb", "--replay-capacity", str(REPLAY), "--initial-steps", str(INITIAL_STEPS),
            "--block-steps", str(BLOCK), "--block-iterations", str(BLOCK), "--steps", str(INITIAL_STEPS + iterations),
            "--eval-every", str(10 * iterations), "--eval-episodes", "1", "--final-episodes", "1",
        ]  # fmt: skip
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["iterations_per_s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tutorial-iterations", type=int, default=500)
    parser.add_argument("--rlway-iterations", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--tutorial-only", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tutorial_only:
        print(tutorial_rate(options.tutorial_iterations, options.tutorial_only))
        return
    # In turn, so that other load on the machine affects both.
    rates = [
        (tutorial_process_rate(options.tutorial_iterations), rlway_rate(options.rlway_iterations))
        for _ in range(options.rounds)
    ]
    tutorial, ours = (median(side) for side in zip(*rates, strict=True))
    row = {
        "tutorial_iterations_per_s": round(tutorial, 1),
        "rlway_iterations_per_s": round(ours, 1),
        "ratio": round(median(ours / tutorial for tutorial, ours in rates), 1),
    }
    if options.json:
        print(json.dumps(row | {"cpus": os.cpu_count(), "machine": platform.machine()}))
        return
    print("| SAC on Minitaur, batch 256, 256-256, Reverb, 1 update a step | TF-Agents' tutorial | rlway | ratio |")
    print("|---|---|---|---|")
    print(f"| iterations/s, {os.cpu_count()} CPUs | {tutorial:,.0f} | {ours:,.0f} | {row['ratio']}× |")


if __name__ == "__main__":
    main()
