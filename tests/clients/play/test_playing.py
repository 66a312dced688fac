"""`rlway play` and `rlway edge` in environments of all kinds; one that fails is named, whatever it raises."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.specs import TensorSpec
from rlway_client.envs.episodes import make_env
from tests.clients.conftest import Fail, Succeed
from tests.servers import RLWAY, Server, running_server
from tests.weighing import BLACKJACK, PAIR, weighing_policy

pytest.importorskip("ai_edge_litert")

VECTOR = [TensorSpec("observation", (2,), "float32")]
FAULTY = '''
import gymnasium, numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple


class Sound(gymnasium.Env):
    """Ends after three steps, each of which pays 1."""
    observation_space, action_space = Box(-1, 1, (2,)), Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        return np.zeros(2, np.float32), 1.0, self.count == 3, False, {}


class Strange(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


class Raises(Sound):
    def step(self, action):
        if self.count == 1:
            raise RuntimeError("the arm is\\nstuck " + 400 * "x")
        return super().step(action)


class Stops(Sound):
    def step(self, action):
        raise StopIteration


class Pipes(Sound):
    def step(self, action):
        raise BrokenPipeError("the simulator has gone")


class Leaves(Sound):
    def step(self, action):
        raise SystemExit(0)


class Unspeakable(Sound):
    def step(self, action):
        raise Strange


class Unset(Sound):
    def reset(self, **options):
        raise KeyError("start")


class OldReset(Sound):
    def reset(self, **options):
        super().reset(**options)
        return np.zeros(2, np.float32)


class OldStep(Sound):
    def step(self, action):
        return super().step(action)[:4]


class NoReward(Sound):
    def step(self, action):
        return (np.zeros(2, np.float32), None, False, False, {})


class Words(Sound):
    def step(self, action):
        return (np.zeros(2, np.float32), "1.0", False, False, {})


class NanReward(Sound):
    def step(self, action):
        return (np.zeros(2, np.float32), float("nan"), False, False, {})


class EndlessReward(Sound):
    def step(self, action):
        return (np.zeros(2, np.float32), np.float32("inf"), False, False, {})


class Unclosed(Sound):
    def close(self):
        raise OSError("still in use")


class Vague(Sound):
    def step(self, action):
        return (np.zeros(2, np.float32), 1.0, np.zeros(2, bool), False, {})


class Blind(Sound):
    def reset(self, **options):
        return super().reset(**options)[0][:1], {}


class Lost(Sound):
    def step(self, action):
        return (np.array([0, np.nan], np.float32), 1.0, False, False, {})


class OneButton(Sound):
    action_space = Discrete(1, start=5)


class Lever(Sound):
    action_space = Box(-1, 1, (1,))


class Buttons(Sound):
    action_space = MultiBinary(2)


class Unspaced(Sound):
    @property
    def action_space(self):
        raise NotImplementedError


class Paid(Sound):
    """As some environments pay, and say that they have ended."""
    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, np.array([reward]), np.bool_(terminated), 0, info


class Pair(Sound):
    observation_space = Tuple([Box(-9, 9, (2,)), Dict(hit=MultiBinary(1), near=Box(0, 1, (1,)))])

    def reset(self, **options):
        super().reset(**options)
        return self.seen(), {}

    def step(self, action):
        assert action == self.count % 2, "acted on something else"
        answer = super().step(action)
        return (self.seen(), *answer[1:])

    def seen(self):
        """Weighs 21 where an even number of steps has been made, else less than nothing."""
        return np.full(2, 0.0 if self.count % 2 == 0 else -9.0), {"hit": np.False_, "near": [np.float64(1)]}
'''

FAULTS = {
    "Raises": "its step() raised RuntimeError: the arm is stuck xxx",
    "Stops": "its step() raised StopIteration at step 1",
    "Pipes": "its step() raised BrokenPipeError: the simulator has gone at step 1",
    "Leaves": "its step() raised SystemExit: 0 at step 1",
    "Unspeakable": "its step() raised Strange at step 1",
    "Unset": "its reset() raised KeyError: 'start'",
    "OldReset": "reset(): expected (observation, info), got ",
    "OldStep": "step(): expected (observation, reward, terminated, truncated, info), got a tuple of 4 at step 1",
    "NoReward": "reward: expected a number, got None at step 1",
    "Words": "reward: expected a number, got '1.0' at step 1",
    "NanReward": "reward: expected a finite number, got nan at step 1",
    "EndlessReward": "reward: expected a finite number, got inf at step 1",
    "Unclosed": "its close() raised OSError: still in use",
    "Vague": "its step() raised ValueError",
    "Blind": "does not give what the policy observes: observation: expected float32[2], got ",
    "Lost": "does not give what the policy observes: observation[1]: expected ",
    "OneButton": "its action_space is Discrete(1, start=5), and the policy's action is 0 at step 1",
    "Lever": "its action_space is Box(-1.0, 1.0, (1,), float32), and the policy's action is 0 at step 1",
    "Buttons": "its action_space is MultiBinary(2), and the policy's action is 0 at step 1",
    "Unspaced": "NotImplementedError",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy of one array, and two policies of tuples, whose manifests name their environments."""
    models = tmp_path_factory.mktemp("playing") / "models"
    weighing_policy(models, VECTOR, "vector")
    weighing_policy(models, BLACKJACK, "blackjack", env="Blackjack-v1")
    weighing_policy(models, PAIR, "pair", env="faulty.py:Pair")
    return models


@pytest.fixture(scope="module")
def playing(models: Path) -> Iterator[Server]:
    with running_server(models, models.with_name("log")) as running:
        yield running


@pytest.fixture(params=["play", "edge"])
def play(request: pytest.FixtureRequest, models: Path, playing: Server) -> Callable[..., list[str | Path]]:
    """The words of either command for a policy."""

    def words(policy: str, *more: str) -> list[str | Path]:
        if request.param == "edge":
            return ["edge", models / policy, *more]
        return ["play", "--url", playing.url, "--policy", policy, *more]

    return words


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("faulty") / "faulty.py"
    file.write_text(FAULTY)
    return file


Play = Callable[..., list[str | Path]]


@pytest.mark.parametrize("name", FAULTS)
def test_an_environment_that_fails_is_named_in_one_sentence(name: str, play: Play, faulty: Path, fail: Fail) -> None:
    """Exit status 1, and the sentence does not blame RLway."""
    said = fail(*play("vector", "--env", f"{faulty}:{name}", "--episodes", "3"))
    assert said.startswith(f"rlway: {faulty}:{name}: ")
    assert FAULTS[name] in said
    assert len(said) < 300 + len(str(faulty))


@pytest.mark.parametrize("name", ["Sound", "Paid"])
def test_an_environment_that_does_not_fail_is_played(name: str, play: Play, faulty: Path, succeed: Succeed) -> None:
    """A reward that is an array of one number is a number, too."""
    played = json.loads(succeed(*play("vector", "--env", f"{faulty}:{name}", "--episodes", "5", "--json")))
    assert (played["returns"], played["steps"]) == ([3.0] * 5, 15)


def test_blackjack_is_played_as_gymnasium_gives_it(play: Play, succeed: Succeed) -> None:
    """The policy observes a tuple of three numbers, and always sticks: its weight is never below zero."""
    played = json.loads(succeed(*play("blackjack", "--episodes", "30", "--json")))
    assert played["steps"] == 30
    assert set(played["returns"]) <= {-1.0, 0.0, 1.0, 1.5}
    assert played == json.loads(succeed(*play("blackjack", "--episodes", "30", "--json"))) | {
        "wall_s": played["wall_s"],
        "actions_per_s": played["actions_per_s"],
    }


def test_tuples_and_dicts_reach_the_policy_as_they_are(play: Play, faulty: Path, succeed: Succeed) -> None:
    """The environment checks that the policy acted on the observation that it gave."""
    played = json.loads(succeed(*play("pair", "--env", f"{faulty}:Pair", "--episodes", "4", "--json")))
    assert played["returns"] == [3.0] * 4


def test_a_tuple_is_an_array_or_an_object_in_json(playing: Server, models: Path, succeed: Succeed) -> None:
    """On the command line; load tests and control loops make their own observations."""
    for policy, observation, action in (
        ("blackjack", "[14, 10, 0]", 0),
        ("blackjack", '{"0": -14, "1": 10, "2": -9}', 1),
        ("pair", '[[-9, -9], {"hit": false, "near": [1]}]', 1),
        ("pair", '{"0": [0, 0], "1": {"hit": false, "near": [1]}}', 0),
    ):
        assert succeed("act", "--url", playing.url, "--policy", policy, observation) == f"{action}\n"
    for policy in ("blackjack", "pair"):
        words = ["bench", "--url", playing.url, "--policy", policy, "--duration-s", "0.1", "--connections", "1"]
        assert json.loads(succeed(*words, "--json"))["errors"] == 0
        words = ["edge", str(models / policy), "--rate-hz", "100", "--duration-s", "0.1", "--json"]
        assert json.loads(succeed(*words))["ticks"] == 10


def test_debug_shows_where_the_environment_failed(play: Play, faulty: Path) -> None:
    """The traceback of the environment's own exception, and of the error that it became."""
    words = play("vector", "--env", f"{faulty}:Raises", "--debug")
    done = subprocess.run([RLWAY, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "RuntimeError: the arm is\nstuck" in done.stderr
    assert "faulty.py" in done.stderr


def test_one_environment_that_fails_ends_the_others(playing: Server, tmp_path: Path, fail: Fail) -> None:
    """All are closed, and only the failure is reported: the second of four fails at its first step."""
    file = tmp_path / "many.py"
    file.write_text(
        FAULTY
        + f"""
made = []

class Many(Sound):
    def __init__(self):
        made.append(self)
        self.number = len(made)

    def step(self, action):
        if self.number == 2:
            raise RuntimeError("the second")
        return (*super().step(action)[:2], False, False, {{}})

    def close(self):
        open({str(tmp_path / "closed")!r}, "a").write(f"{{self.number}} ")
"""
    )
    words = ["play", "--url", playing.url, "--policy", "vector", "--env", f"{file}:Many", "--envs", "4"]
    assert "its step() raised RuntimeError: the second at step 1" in fail(*words)
    assert sorted((tmp_path / "closed").read_text().split()) == ["1", "2", "3", "4"]


def test_an_environment_that_cannot_take_the_actions_values_is_refused(faulty: Path) -> None:
    """The actions of a discretised policy stand for values of one number."""
    make_env(f"{faulty}:Lever", [-1.0, 0.0, 1.0]).close()
    for name in ("Sound", "Buttons"):
        with pytest.raises(EnvironmentFault, match=f"{name}: its action_space is .* stand for 3 values"):
            make_env(f"{faulty}:{name}", [-1.0, 0.0, 1.0])


def test_no_command_runs_code_because_a_bundle_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, succeed: Succeed, fail: Fail
) -> None:
    """play, edge, act, bench, inspect and serve; play and edge say how to allow it, and the test then does."""
    mark, file = tmp_path / "it ran", tmp_path / "trap.py"
    file.write_text(f"open({str(mark)!r}, 'w')\n{FAULTY}")
    bundle = weighing_policy(tmp_path / "models", VECTOR, "trapped", env=f"{file}:Sound")
    with running_server(tmp_path / "models", tmp_path / "log") as server:
        asked = ["--url", server.url]
        succeed("inspect", bundle.path)
        succeed("act", *asked, "[1, 2]")
        succeed("bench", *asked, "--duration-s", "0.1", "--connections", "1")
        succeed("edge", bundle.path, "--rate-hz", "100", "--duration-s", "0.1")
        for words in (["play", *asked], ["edge", bundle.path]):
            said = fail(*words, "--episodes", "1", status=2)
            assert said.rstrip().endswith(f"say so with --env {file}:Sound")
            assert not mark.exists()
            played = json.loads(succeed(*words, "--episodes", "1", "--json", "--env", f"{file}:Sound"))
            assert played["returns"] == [3.0]
            assert mark.exists()
            mark.unlink()
            monkeypatch.delitem(sys.modules, "rlway_environment_trap")
