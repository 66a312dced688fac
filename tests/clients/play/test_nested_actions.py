"""`rlway play` and `rlway edge` in environments that take actions of several parts, and policies that read rewards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlway_client.contract.specs import TensorSpec
from tests.clients.conftest import Fail, Succeed
from tests.racing import racing_policy
from tests.servers import running_server

pytest.importorskip("ai_edge_litert")

ENVIRONMENTS = '''
import gymnasium, numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple


class Racing(gymnasium.Env):
    """Pays the number of the step; checks that the policy saw the last reward, and none at the first step."""
    observation_space = Box(-9, 9, (2,))
    action_space = Dict(gear=Discrete(2), steering=Box(-99, 99, (2,)))

    def reset(self, *, seed=None, options=None):
        self.count, self.reward, self.seen = 0, 0.0, np.array([-1, 0.5 * seed], np.float32)
        return self.seen, {}

    def step(self, action):
        assert type(action["gear"]) is int and action["steering"].dtype == np.float32
        assert action["gear"] == np.argmax(self.seen), action
        assert np.array_equal(action["steering"], self.seen + np.float32(self.reward)), action
        self.count += 1
        self.reward = float(self.count)
        return self.seen, self.reward, self.count == 3, False, {}


class Pair(Racing):
    action_space = Tuple([Discrete(2), Box(-99, 99, (2,))])

    def step(self, action):
        return super().step(dict(zip(("gear", "steering"), action)))


class OtherKeys(Racing):
    action_space = Dict(gear=Discrete(2), wheel=Box(-99, 99, (2,)))


class OtherGears(Racing):
    action_space = Dict(gear=Discrete(2, start=4), steering=Box(-99, 99, (2,)))


class Single(Racing):
    action_space = Discrete(2)
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("roads") / "roads.py"
    path.write_text(ENVIRONMENTS)
    return path


@pytest.mark.parametrize(("name", "paths"), [("Racing", ("gear", "steering")), ("Pair", ("0", "1"))])
def test_every_part_reaches_the_environment_and_every_reward_the_policy(
    name: str, paths: tuple[str, str], file: Path, tmp_path: Path, succeed: Succeed
) -> None:
    """In a dict or a tuple; over a server, and in this process from either file."""
    bundle = racing_policy(tmp_path / "models", "road", paths=paths)
    ways: list[list[str | Path]] = [["edge", bundle.path], ["edge", bundle.path, "--file", "model.onnx"]]
    with running_server(tmp_path / "models", tmp_path / "log") as server:
        ways.append(["play", "--url", server.url, "--policy", "road", "--envs", "2"])
        for words in ways:
            played = json.loads(succeed(*words, "--env", f"{file}:{name}", "--episodes", "4", "--json"))
            assert (played["returns"], played["steps"]) == ([6.0] * 4, 12)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("OtherKeys", "the policy's action is a dict of 'gear', 'steering' at step 1"),
        ("OtherGears", "the policy's action is 1 at 'gear' at step 1"),
        ("Single", "its action_space is Discrete(2), and the policy's action is a dict of 'gear', 'steering'"),
        ("Pair", "the policy's action is a dict of 'gear', 'steering'"),
    ],
)
def test_an_environment_with_other_actions_is_named(
    name: str, says: str, file: Path, tmp_path: Path, fail: Fail
) -> None:
    """The sentence says which part does not fit."""
    bundle = racing_policy(tmp_path, "road")
    said = fail("edge", bundle.path, "--env", f"{file}:{name}", "--episodes", "1")
    assert says in said
    assert len(said) < 300 + len(str(file))


def test_inspect_shows_where_each_part_lies(tmp_path: Path, succeed: Succeed) -> None:
    """In the action, and not in the observation."""
    bundle = racing_policy(tmp_path, observation=[TensorSpec("observation", (2,), "float32", path=("seen",))])
    shown = succeed("inspect", bundle.path)
    for words in ('observation["seen"]', 'action["gear"]', 'action["steering"]', "reads reward of the time step"):
        assert words in shown
    assert "noise holds 2 Gumbel numbers, then 2 standard normal numbers" in " ".join(shown.split())
