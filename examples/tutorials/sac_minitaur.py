"""TF-Agents' SAC tutorial, up to a policy on a server: PyBullet's Minitaur with the Actor-Learner API.

    .venv-train/bin/python examples/tutorials/sac_minitaur.py         # hours; --iterations 2000 shows that it works

Environments, networks, agent, replay in Reverb, actors with their metrics, triggers, learner, training loop, plot and
film are as in the tutorial "SAC minitaur with the Actor-Learner API". PolicySavedModelTrigger saves the policies; RLway
exports its folder as it is and serves the greedy policy, which plays over HTTP.

The same training as one command: rlway train sac --preset minitaur-sac
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import reverb
import tensorflow as tf
from reverb import rate_limiters, selectors
from served import film, play_both
from tf_agents.agents.ddpg.critic_network import CriticNetwork
from tf_agents.agents.sac.sac_agent import SacAgent
from tf_agents.agents.sac.tanh_normal_projection_network import TanhNormalProjectionNetwork as Squashed
from tf_agents.environments import suite_pybullet
from tf_agents.networks.actor_distribution_network import ActorDistributionNetwork
from tf_agents.policies.greedy_policy import GreedyPolicy
from tf_agents.policies.py_tf_eager_policy import PyTFEagerPolicy
from tf_agents.policies.random_py_policy import RandomPyPolicy
from tf_agents.replay_buffers.reverb_replay_buffer import ReverbReplayBuffer
from tf_agents.replay_buffers.reverb_utils import ReverbAddTrajectoryObserver
from tf_agents.train import actor, learner, triggers
from tf_agents.train.utils import spec_utils, strategy_utils, train_utils

import rlway_export

ENV = "MinitaurBulletEnv-v0"
BATCH, REPLAY, HIDDEN, LEARNING_RATE = 256, 10_000, (256, 256), 3e-4
GLOROT = {"kernel_initializer": "glorot_uniform", "last_kernel_initializer": "glorot_uniform"}


def main() -> None:
    parser = argparse.ArgumentParser(description="TF-Agents' SAC tutorial on Minitaur, exported and served.")
    parser.add_argument("--iterations", type=int, default=100_000)
    parser.add_argument("--initial-steps", type=int, default=10_000, help="with random actions")
    parser.add_argument("--episodes", type=int, default=20, help="of an evaluation")
    parser.add_argument("--eval-every", type=int, default=10_000, help="iterations between two evaluations")
    parser.add_argument("--save-every", type=int, default=5_000, help="iterations between two saved policies")
    parser.add_argument("--episode-steps", type=int, help="fewer than the environment's own 1,000")
    parser.add_argument("--frames", type=int, default=300, help="pictures of the film; PyBullet draws two a second")
    parser.add_argument("--play", type=int, default=3, help="episodes over HTTP")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/tutorial-sac-minitaur"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tf.keras.utils.set_random_seed(options.seed)

    def make_env() -> Any:
        return suite_pybullet.load(ENV, max_episode_steps=options.episode_steps)

    collect_env, eval_env = make_env(), make_env()
    observation, action, time_step = spec_utils.get_tensor_specs(collect_env)
    strategy = strategy_utils.get_strategy(tpu=False, use_gpu=bool(tf.config.list_physical_devices("GPU")))
    with strategy.scope():
        train_step = train_utils.create_train_step()
        agent = SacAgent(
            time_step,
            action,
            critic_network=CriticNetwork((observation, action), joint_fc_layer_params=HIDDEN, **GLOROT),
            actor_network=ActorDistributionNetwork(
                observation, action, fc_layer_params=HIDDEN, continuous_projection_net=Squashed
            ),
            actor_optimizer=tf.keras.optimizers.Adam(LEARNING_RATE),
            critic_optimizer=tf.keras.optimizers.Adam(LEARNING_RATE),
            alpha_optimizer=tf.keras.optimizers.Adam(LEARNING_RATE),
            target_update_tau=0.005,
            td_errors_loss_fn=tf.math.squared_difference,
            gamma=0.99,
            train_step_counter=train_step,
        )
        agent.initialize()

    table = reverb.Table("uniform", selectors.Uniform(), selectors.Fifo(), REPLAY, rate_limiters.MinSize(1))
    store = reverb.Server([table])
    replay = ReverbReplayBuffer(agent.collect_data_spec, "uniform", sequence_length=2, local_server=store)
    added = ReverbAddTrajectoryObserver(replay.py_client, "uniform", sequence_length=2, stride_length=1)
    dataset = replay.as_dataset(sample_batch_size=BATCH, num_steps=2).prefetch(50)

    random_policy = RandomPyPolicy(collect_env.time_step_spec(), collect_env.action_spec())
    actor.Actor(collect_env, random_policy, train_step, steps_per_run=options.initial_steps, observers=[added]).run()
    collect_actor = actor.Actor(
        collect_env,
        PyTFEagerPolicy(agent.collect_policy, use_tf_function=True),
        train_step,
        steps_per_run=1,
        metrics=actor.collect_metrics(10),
        summary_dir=str(options.out / learner.TRAIN_DIR),
        observers=[added],
    )
    greedy = GreedyPolicy(agent.policy)  # the tutorial evaluates the one that draws; this one is deployed
    eval_actor = actor.Actor(
        eval_env,
        PyTFEagerPolicy(greedy, use_tf_function=True),
        train_step,
        episodes_per_run=options.episodes,
        metrics=actor.eval_metrics(options.episodes),
        summary_dir=str(options.out / "eval"),
    )
    saved = options.out / learner.POLICY_SAVED_MODEL_DIR
    saving = triggers.PolicySavedModelTrigger(str(saved), agent, train_step, interval=options.save_every)
    firing = [saving, triggers.StepPerSecondLogTrigger(train_step, interval=1_000)]
    learning = learner.Learner(str(options.out), train_step, agent, lambda: dataset, triggers=firing, strategy=strategy)

    def evaluate() -> float:
        eval_actor.run_and_log()
        results = {metric.name: float(metric.result()) for metric in eval_actor.metrics}
        print(f"iteration {learning.train_step_numpy}: {results}", flush=True)
        return results["AverageReturn"]

    returns = [evaluate()]
    for iteration in range(1, options.iterations + 1):
        collect_actor.run()
        learning.run(iterations=1)
        if iteration % options.eval_every == 0:
            returns.append(evaluate())
    saving(learning.train_step_numpy, force_trigger=True)  # the last interval may have been cut short
    added.close()
    store.stop()
    plt.plot([i * options.eval_every for i in range(len(returns))], returns)
    plt.xlabel("iterations")
    plt.ylabel("average return")
    plt.savefig(options.out / "returns.png")
    film(eval_env, greedy, options.out / "trained.mp4", options.frames, fps=60)

    # The trigger's folder: its greedy policy, with the weights of its latest checkpoint.
    bundle = rlway_export.export(saved, options.out / "models", "sac-minitaur", log=print)
    play_both(bundle, make_env, greedy, options.play)


if __name__ == "__main__":
    main()
