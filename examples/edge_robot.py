"""A control loop on a robot: reads sensors, asks the policy, drives motors, at a fixed rate.

    .venv/bin/python examples/edge_robot.py models/cartpole --rate-hz 50

The policy runs in this process, from its TFLite file: there is no server and no TensorFlow. On a robot, replace the
class `Robot` with one that talks to your hardware.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import gymnasium

from rlway_client import EdgePolicy, RlwayError


class Robot:
    """Stands in for hardware: a simulated cart that balances a pole."""

    def __init__(self) -> None:
        self._env = gymnasium.make("CartPole-v1")
        self._observation, _ = self._env.reset(seed=0)

    def read_sensors(self) -> Any:
        """What the policy observes: the same values, in the same order and units, as in training."""
        return self._observation

    def drive(self, action: Any) -> bool:
        """Applies one action. True if the robot fell and had to be set up again."""
        self._observation, _, fell, timed_out, _ = self._env.step(action)
        if fell or timed_out:
            self._observation, _ = self._env.reset()
        return bool(fell)


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs a policy at a fixed rate.")
    parser.add_argument("bundle", help="models/POLICY, or models/POLICY/VERSION")
    parser.add_argument("--rate-hz", type=float, default=50.0)
    parser.add_argument("--duration-s", type=float, default=5.0)
    options = parser.parse_args()

    policy = EdgePolicy(options.bundle)
    robot = Robot()
    period_s = 1 / options.rate_hz
    ticks = max(1, round(options.duration_s * options.rate_hz))
    late = falls = 0

    due_s = time.monotonic()
    for _ in range(ticks):
        action = policy.act(robot.read_sensors())
        if robot.drive(action):
            falls += 1
            policy.reset()  # a policy that keeps a state begins a new episode
        # Each tick is due one period after the last one was due, so a late tick does not delay those that follow.
        due_s += period_s
        remaining_s = due_s - time.monotonic()
        if remaining_s > 0:
            time.sleep(remaining_s)
        else:
            late += 1

    print(f"{ticks} actions at {options.rate_hz:g} Hz: {late} late, {falls} falls")


if __name__ == "__main__":
    try:
        main()
    except RlwayError as error:
        sys.exit(str(error))
