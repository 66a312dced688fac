"""Episodes that a file plays: actions of several parts, and a policy that reads rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlway_client.contract.errors import EnvironmentFault, SpecViolated
from rlway_client.contract.interface import Interface
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec
from rlway_export.play.collection import ROWS, collect_observations
from rlway_export.play.environment import Environment
from rlway_export.play.rollout import Player, Rollout

ROAD = '''
import gymnasium, numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Tuple


class Road(gymnasium.Env):
    """Pays the number of the step; checks that the policy was told of the last reward, and of none at first."""
    observation_space = Box(-9, 9, (2,))
    action_space = Dict(gear=Discrete(2, start=4), wheel=Tuple([Box(-99, 99, (2,))]))

    def reset(self, *, seed=None, options=None):
        self.count, self.reward = 0, 0.0
        return np.array([-1, 1], np.float32), {}

    def step(self, action):
        assert action["gear"] == 5 and action["wheel"][0][0] == self.reward, action
        self.count += 1
        self.reward = float(self.count)
        return np.array([-1, 1], np.float32), self.reward, self.count == 3, False, {}


class Lorry(Road):
    action_space = Dict(gear=Discrete(8, start=4), wheel=Tuple([Box(-99, 99, (3,))]))
'''
ACTIONS = [
    TensorSpec("action_gear", (), "int64", 4, 5, ("gear",)),
    TensorSpec("action_wheel_0", (2,), "float32", -99, 99, ("wheel", "0")),
]
POLICY = Interface(
    [TensorSpec("observation", (2,), "float32")],
    ACTIONS,
    TensorSpec("noise", (2,), "float32"),
    [],
    [],
    [TensorSpec("reward", (), "float32"), TensorSpec("step_type", (), "int32")],
)


def run(inputs: Arrays) -> Arrays:
    """The better gear, and the reward at both ends of the wheel."""
    rows = inputs["observation"] + inputs["noise"]
    assert inputs["step_type"].dtype == np.int32
    return {
        "action_gear": 4 + rows.argmax(axis=1),
        "action_wheel_0": np.stack([inputs["reward"], inputs["reward"]], axis=1),
    }


@pytest.fixture
def road(tmp_path: Path) -> str:
    file = tmp_path / "roads.py"
    file.write_text(ROAD)
    return str(file)


def test_every_part_reaches_the_environment_and_every_reward_the_policy(road: str) -> None:
    """In the nesting of the environment's actions."""
    assert Rollout(Environment(f"{road}:Road", None, None), POLICY, 3).returns(run) == [6.0] * 3


def test_observations_are_collected_with_the_rewards_too(road: str) -> None:
    """The policy acts while they are collected, and the environment checks how."""

    class Policy:
        interface, run_act = POLICY, staticmethod(run)

    made: Any = Policy()
    assert collect_observations(made, Environment(f"{road}:Road", None, None))["observation"].shape == (ROWS, 2)


def test_the_player_says_nothing_where_nothing_is_known() -> None:
    """Neutral values, unless its caller gives others; and none that the policy does not read."""
    player = Player(run, POLICY)
    assert player.act([0.0, 1.0])["wheel"][0].tolist() == [0.0, 0.0]
    assert player.act([0.0, 1.0], {"reward": 2.0})["wheel"][0].tolist() == [2.0, 2.0]
    with pytest.raises(SpecViolated, match=r"time_step\.discount"):
        player.act([0.0, 1.0], {"discount": 2.0})


def test_an_environment_is_checked_with_both_ends_of_every_part(road: str) -> None:
    """The sentence names the part that does not fit."""
    Environment(f"{road}:Road", None, None).check(POLICY)
    with pytest.raises(EnvironmentFault, match=r"one of the policy's is float32\[2\] at '0' at 'wheel'"):
        Environment(f"{road}:Lorry", None, None).check(POLICY)
    far = POLICY._replace(actions=[TensorSpec("action_gear", (), "int64", 4, 9, ("gear",)), ACTIONS[1]])
    with pytest.raises(EnvironmentFault, match="one of the policy's is 9 at 'gear'"):
        Environment(f"{road}:Road", None, None).check(far)
