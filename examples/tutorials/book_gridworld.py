"""The textbook's GridWorld with neural Q-learning, up to a policy on a server: one-hot states, SGD, no replay.

    .venv-train/bin/python examples/tutorials/book_gridworld.py

The world has 3×4 cells, of which the agent observes its own as one of 12 numbers. Each step is used for one update and
forgotten. The loss of 1,000 episodes is plotted, and Q(s, a) is drawn with arrows for the greedy action. Then RLway
exports and serves the policy, and it plays over HTTP.

A similar training as one command: rlway train dqn --preset gridworld-qlearning
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from served import play_both
from tf_agents.agents.dqn.dqn_agent import DqnAgent
from tf_agents.environments.py_environment import PyEnvironment
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.environments.wrappers import TimeLimit
from tf_agents.networks.q_network import QNetwork
from tf_agents.policies.policy_saver import PolicySaver
from tf_agents.specs.array_spec import BoundedArraySpec
from tf_agents.trajectories import Transition
from tf_agents.trajectories import time_step as ts
from tf_agents.utils import common

import rlway_export

ROWS, COLUMNS = 3, 4
START, WALL, GOAL, TRAP = (2, 0), (1, 1), (0, 3), (1, 3)
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # up, down, left, right
GAMMA, LEARNING_RATE, EPSILON = 0.9, 0.01, 0.1
CELLS = np.eye(ROWS * COLUMNS, dtype=np.float32)  # what the agent observes in each cell


class GridWorld(PyEnvironment):  # type: ignore[misc]  # TF-Agents has no types
    """The goal ends an episode and pays 1; the trap pays −1 each time. Whoever walks into a wall stays."""

    def __init__(self) -> None:
        super().__init__(handle_auto_reset=True)
        self._at = START

    def action_spec(self) -> Any:
        return BoundedArraySpec((), np.int32, 0, len(MOVES) - 1, "action")

    def observation_spec(self) -> Any:
        return BoundedArraySpec((ROWS * COLUMNS,), np.float32, 0.0, 1.0, "observation")

    def _reset(self) -> Any:
        self._at = START
        return ts.restart(self._seen())

    def _step(self, action: Any) -> Any:
        y, x = (a + b for a, b in zip(self._at, MOVES[int(action)], strict=True))
        if 0 <= y < ROWS and 0 <= x < COLUMNS and (y, x) != WALL:
            self._at = y, x
        if self._at == GOAL:
            return ts.termination(self._seen(), 1.0)
        return ts.transition(self._seen(), -1.0 if self._at == TRAP else 0.0)

    def _seen(self) -> Any:
        return CELLS[self._at[0] * COLUMNS + self._at[1]]


def draw(q_values: Any, path: Path) -> None:  # [12, 4]
    """Writes each Q(s, a) on the side of its cell to which the action leads, and an arrow for the greatest."""
    figure, axes = plt.subplots(figsize=(8, 6))
    for y, x in np.ndindex(ROWS, COLUMNS):
        name = {WALL: "wall", GOAL: "goal", TRAP: "trap"}.get((y, x), "")
        axes.add_patch(plt.Rectangle((x, y), 1, 1, facecolor="lightgrey" if name else "white", edgecolor="black"))
        axes.text(x + 0.05, y + 0.15, name)
        if (y, x) in (WALL, GOAL):
            continue
        of_cell = q_values[y * COLUMNS + x]
        for (dy, dx), value in zip(MOVES, of_cell, strict=True):
            axes.text(x + 0.5 + 0.33 * dx, y + 0.5 + 0.4 * dy, f"{value:.2f}", ha="center", va="center", fontsize=8)
        dy, dx = MOVES[int(np.argmax(of_cell))]
        axes.arrow(x + 0.5, y + 0.5, 0.12 * dx, 0.12 * dy, head_width=0.06, color="tab:blue")
    axes.set(
        xlim=(0, COLUMNS), ylim=(ROWS, 0), aspect="equal", xticks=(), yticks=(), title="Q(s, a) and the greedy action"
    )
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="The textbook's Q-learning in GridWorld, exported and served.")
    parser.add_argument("--episodes", type=int, default=1_000)
    parser.add_argument("--play", type=int, default=10, help="episodes over HTTP; a greedy policy repeats one")
    parser.add_argument("--time-limit", type=int, default=10_000, help="steps of a training episode; the book has none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/tutorial-book-gridworld"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tf.keras.utils.set_random_seed(options.seed)

    env = TFPyEnvironment(TimeLimit(GridWorld(), options.time_limit))
    network = QNetwork(env.observation_spec(), env.action_spec(), fc_layer_params=(100,))
    agent = DqnAgent(
        env.time_step_spec(),
        env.action_spec(),
        q_network=network,
        optimizer=tf.keras.optimizers.SGD(LEARNING_RATE),
        epsilon_greedy=EPSILON,
        gamma=GAMMA,
        target_update_period=1,  # there is no target network: the agent's always equals the network
        td_errors_loss_fn=common.element_wise_squared_loss,
        train_step_counter=tf.Variable(0, dtype=tf.int64),
    )
    agent.initialize()

    @common.function  # type: ignore[untyped-decorator]
    def learn(now: Any) -> Any:
        """One step of the environment, and one update from this step alone."""
        chosen = agent.collect_policy.action(now)
        after = env.step(chosen.action)
        return after, agent.train(Transition(now, chosen._replace(state=(), info=()), after)).loss

    mean_losses = []
    for episode in range(1, options.episodes + 1):
        now, losses = env.reset(), []
        while not now.is_last():
            now, loss = learn(now)
            losses.append(float(loss))
        mean_losses.append(np.mean(losses))
        if episode % max(1, options.episodes // 10) == 0:
            print(f"episode {episode}: {len(losses)} steps, mean loss {mean_losses[-1]:.5f}", flush=True)
    plt.plot(mean_losses)
    plt.xlabel("episode")
    plt.ylabel("mean loss")
    plt.savefig(options.out / "loss.png")
    draw(network(CELLS)[0].numpy(), options.out / "q_values.png")

    PolicySaver(agent.policy, train_step=agent.train_step_counter).save(str(options.out / "policy"))
    world = f"{__file__}:GridWorld"  # a class of one's own is code, so the exporter plays in it only if it is named
    bundle = rlway_export.export(
        options.out / "policy", options.out / "models", "book-gridworld", env=world, time_limit=50, log=print
    )
    # An untrained policy may walk into a wall for ever.
    play_both(bundle, lambda: TimeLimit(GridWorld(), duration=50), agent.policy, options.play)


if __name__ == "__main__":
    main()
