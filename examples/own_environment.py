"""A custom environment: written, trained in, exported and evaluated, all in this file.

    .venv-train/bin/python examples/own_environment.py

It writes a run to runs/docking and a version to models/docking, and prints what the policy achieves.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

import rlway_export
import rlway_train
from rlway_client import EdgePolicy, RlwayError


class Docking(gymnasium.Env[Any, Any]):
    """A boat on a line. It should reach 0 and stop there. It observes its position and its velocity."""

    observation_space = Box(np.array([-2, -1], np.float32), np.array([2, 1], np.float32))
    action_space = Discrete(3)  # thrust to the left, none, to the right

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)  # self.np_random now follows from the seed
        self.position, self.velocity = self.np_random.uniform(-1, 1), 0.0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.velocity = float(np.clip(0.95 * self.velocity + 0.05 * (int(action) - 1), -1, 1))
        self.position = float(np.clip(self.position + 0.2 * self.velocity, -2, 2))
        # observation, reward, terminated, truncated, info
        return self.observe(), -abs(self.position), False, False, {}

    def observe(self) -> Any:
        return np.array([self.position, self.velocity], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains, exports and evaluates a policy in a custom environment.")
    parser.add_argument("--run", type=Path, default=Path("runs/docking"))
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--steps", type=int, default=10_000)
    options = parser.parse_args()
    name = f"{__file__}:Docking"  # as for `rlway train dqn --env examples/own_environment.py:Docking`

    # The class never ends an episode, so a time limit is needed. It cannot render itself, so there are no films.
    settings = {"steps": options.steps, "time_limit": 50, "hidden": (64, 64), "films": False}
    trained = rlway_train.train(name, run=options.run, **settings)
    print(f"random actions: mean return {trained.run.random_return:.1f}")
    print(f"trained:        mean return {trained.run.final_return:.1f}")

    # A custom environment is code, so the exporter plays in it only if it is given here.
    bundle = rlway_export.export(trained.folder, options.models, "docking", env=Docking, evaluate=5)
    for compared in bundle.manifest.parity:
        print(f"{compared.file}: {compared.argmax_flips} of {compared.observations} actions differ from TensorFlow's")

    policy, env = EdgePolicy(bundle.path), Docking()
    observation, _ = env.reset(seed=1000)
    for _ in range(50):
        observation, *_ = env.step(policy.act(observation))
    print(f"{bundle.path}: the boat stops at {env.position:+.2f} with velocity {env.velocity:+.2f}")


if __name__ == "__main__":
    try:
        main()
    except RlwayError as error:
        sys.exit(str(error))
