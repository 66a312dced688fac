"""`rlway env check`, and training in users' own environments."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from rlway_client.cli.main import main
from rlway_train.envs.domain import find_domain

FILE = """
import gymnasium, numpy as np
from gymnasium.spaces import Box, Dict, Discrete

class Sound(gymnasium.Env):
    observation_space, action_space = Box(-1, 1, (2,), np.float32), Discrete(3)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observe(), {}
    def step(self, action):
        self.t += 1
        return self.observe(), self.pay(), self.t == 4, False, {}
    def observe(self):
        return np.array([self.t / 4, 0], np.float32)
    def pay(self):
        return 1.0

class Nested(Sound):
    observation_space = Dict(arm=Box(0, 1, (2,), np.float32), gripper=Discrete(2))
    def observe(self):
        return {"arm": np.zeros(2, np.float32), "gripper": 1}

class Leaves(Sound):
    def observe(self):
        return np.array([0, self.t], np.float32)

class Undefined(Sound):
    def observe(self):
        return np.array([np.nan if self.t == 3 else 0, 0], np.float32)

class Wide(Sound):
    def observe(self):
        return np.zeros(3, np.float32)

class Double(Sound):
    def observe(self):
        return np.zeros(2)

class Unpaid(Sound):
    def pay(self):
        return float("nan") if self.t == 2 else 0.0

class Wordy(Sound):
    def pay(self):
        return "much"

class Raises(Sound):
    def pay(self):
        return 1 / (self.t - 3)

class Old(Sound):
    def step(self, action):
        return self.observe(), 0.0, False, {}

class Dicey(Sound):
    def observe(self):
        return np.random.default_rng().uniform(0, 1, 2).astype(np.float32)

class Endless(Sound):
    def step(self, action):
        return self.observe(), 0.0, False, False, {}
"""
BREAKS = [
    ("Leaves", "observation[1]: expected -1 to 1, got 2 at step 2"),
    ("Undefined", "observation[0]: expected -1 to 1, got NaN at step 3"),
    ("Wide", "observation: expected float32[2], got float32[3] at reset()"),
    ("Double", "observation: expected float32[2], got float64[2] at reset()"),
    ("Unpaid", "reward: expected a finite number, got NaN at step 2"),
    ("Wordy", "reward: expected a number, got str much at step 1"),
    ("Raises", "its step() raised ZeroDivisionError: division by zero at step 3"),
    ("Old", "step(): expected (observation, reward, terminated, truncated, info), got tuple"),
    ("Dicey", "two different observations for one seed"),
    ("Endless", "did not end within 10,000 steps; set --time-limit"),
]
PY_ENVIRONMENT = """
import numpy as np
from tf_agents.environments import py_environment
from tf_agents.specs import array_spec
from tf_agents.trajectories import time_step as ts

class Count(py_environment.PyEnvironment):
    def action_spec(self):
        return array_spec.BoundedArraySpec((), np.int32, 0, 1)
    def observation_spec(self):
        return array_spec.BoundedArraySpec((1,), np.int32, 0, 3)
    def _reset(self):
        self.n = 0
        return ts.restart(self.seen())
    def _step(self, action):
        self.n += 1
        if self.n < 3:
            return ts.transition(self.seen(), float(action))
        return ts.termination(self.seen(), 5.0) if action else ts.truncation(self.seen(), 5.0)
    def seen(self):
        return np.array([self.n], np.int32)

class Nested(Count):
    def observation_spec(self):
        number = array_spec.BoundedArraySpec((), np.float32, 0, 3)
        return {"steps": {"taken": number, "left": number}, "constant": array_spec.ArraySpec((2,), np.float32)}
    def seen(self):
        return {
            "steps": {"taken": np.float32(self.n), "left": np.float32(3 - self.n)},
            "constant": np.array([7, 8], np.float32),
        }

class Bytes(Count):
    def observation_spec(self):
        return array_spec.ArraySpec((1,), np.uint8)
    def seen(self):
        return np.array([self.n], np.uint8)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "worlds.py"
    path.write_text(FILE)
    return path


def run(*words: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return ended.value.code


def test_a_sound_environment_is_described(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Specs with shapes, dtypes and bounds, and statistics of random episodes."""
    assert run("env", "check", f"{file}:Sound", "--episodes", "3", "--json") == 0
    checked = json.loads(capsys.readouterr().out)
    expected = {"name": "observation", "shape": [2], "dtype": "float32", "minimum": -1.0, "maximum": 1.0, "path": []}
    assert [leaf | expected for leaf in checked["observation"]] == checked["observation"]
    assert len(checked["observation"]) == 1
    assert (checked["action"][0]["maximum"], checked["action"][0]["dtype"]) == (2, "int64")
    assert (checked["episodes"], checked["steps"], checked["mean_return"], checked["terminated"]) == (3, 12, 4.0, 3)


def test_a_nested_observation_is_described_leaf_by_leaf(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each leaf has its path, in the table and in the JSON."""
    assert run("env", "check", f"{file}:Nested") == 0
    table = capsys.readouterr().out
    assert "observation[arm]" in table
    assert "observation[gripper]" in table


def test_a_time_limit_ends_an_endless_episode(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Truncated episodes are counted apart from terminated ones."""
    assert run("env", "check", f"{file}:Endless", "--time-limit", "7", "--episodes", "2", "--json") == 0
    checked = json.loads(capsys.readouterr().out)
    assert (checked["max_episode_steps"], checked["steps"], checked["truncated"]) == (7, 14, 2)


@pytest.mark.parametrize(("name", "says"), BREAKS)
def test_an_environment_that_breaks_its_specs_is_told_where(
    name: str, says: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence with the step and the value, and exit status 1."""
    assert run("env", "check", f"{file}:{name}") == 1
    printed = capsys.readouterr()
    assert says in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Leaves", "observation[1] is 2 at step 4, outside of its own observation_space"),
        ("Undefined", "observation[0] is NaN at step 6"),
        ("Unpaid", "the reward of step 4 is NaN"),
        ("Raises", "its step() raised ZeroDivisionError: division by zero at step 6"),
    ],
)
def test_training_stops_at_the_step_that_breaks(
    name: str, says: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run ends in one sentence with the step, counted over both environments, and the value."""
    words = ["train", "dqn", "--env", f"{file}:{name}", "--envs", "2", "--eval-episodes", "2", "--run"]
    words += [str(tmp_path / "run"), "--no-xla"]
    assert run(*words) == 1
    assert says in capsys.readouterr().err


def test_a_tf_agents_environment_can_be_trained_on(tmp_path: Path) -> None:
    """A last step with discount 0 is terminated, with discount 1 truncated. Its specs keep their bounds."""
    path = tmp_path / "counting.py"
    path.write_text(PY_ENVIRONMENT)
    domain = find_domain(f"{path}:Count")
    assert (domain.n_actions, domain.observation.minimum, domain.observation.maximum) == (2, 0.0, 3.0)
    for action, ended in ((1, (True, False)), (0, (False, True))):
        env = domain.make()
        assert env.reset(seed=0)[0].tolist() == [0]
        steps = [env.step(action) for _ in range(3)]
        assert [step[1] for step in steps] == [action, action, 5.0]
        assert steps[-1][2:4] == ended
        assert steps[-1][0].tolist() == [3]


@pytest.mark.parametrize(
    ("body", "got"),
    [
        ("return self.reset() if self.n == 3 else super()._step(action)", None),
        ("return super()._step(action)", "LAST"),
        ("return ts.transition(self.seen(), 0.0) if self.n == 3 else super()._step(action)", "MID"),
        ("return 1 / 0 if self.n == 3 else super()._step(action)", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_tf_agents_environment_should_begin_a_new_episode_by_itself(
    body: str, got: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """TF-Agents' drivers step on after an episode's last step. It is a warning: training here resets by itself."""
    path = tmp_path / "counting.py"
    path.write_text(f"{PY_ENVIRONMENT}\nclass Again(Count):\n    def _step(self, action):\n        {body}\n")
    assert run("env", "check", f"{path}:Again", "--json") == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert len(warnings) == (got is not None)
    assert all(f"got {got}; return self.reset() there, or call" in warning for warning in warnings)
    # A time limit before the last step: nothing is stepped after it.
    assert run("env", "check", f"{path}:Again", "--time-limit", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == []


def test_a_warning_is_shown_below_the_specs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And gymnasium's environments have none: their API asks for a reset."""
    path = tmp_path / "counting.py"
    path.write_text(PY_ENVIRONMENT)
    assert run("env", "check", f"{path}:Count") == 0
    assert "warning: step() after an episode's last step" in capsys.readouterr().out.splitlines()[-1]
    assert run("env", "check", "CartPole-v1") == 0
    assert "warning" not in capsys.readouterr().out


def test_bytes_without_bounds_go_from_0_to_255(tmp_path: Path) -> None:
    """The range of a dtype need not be symmetric."""
    path = tmp_path / "bytes.py"
    path.write_text(PY_ENVIRONMENT)
    observation = find_domain(f"{path}:Bytes").observation
    assert (observation.minimum, observation.maximum) == (0.0, 255.0)


def test_a_time_limit_replaces_the_environments_own() -> None:
    """In the vectorised form, too."""
    domain = find_domain("CartPole-v1", time_limit=5)
    assert domain.max_episode_steps == 5
    many = domain.make_many(2)
    many.reset(0)
    ends = [many.step(np.array([t % 2, t % 2])).truncated.tolist() for t in range(5)]
    assert ends == [[False, False]] * 4 + [[True, True]]


def test_the_checker_has_nothing_against_what_gymnasium_ships(capsys: pytest.CaptureFixture[str]) -> None:
    """Classic control and toy text pass, whatever their spaces."""
    for name in ("CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0", "Blackjack-v1", "FrozenLake-v1"):
        assert run("env", "check", name, "--episodes", "2") == 0
        assert name in capsys.readouterr().out
    assert isinstance(gymnasium.make("CartPole-v1"), gymnasium.Env)


def test_a_tf_agents_environment_may_observe_a_dict(tmp_path: Path) -> None:
    """Of any depth, and with scalars."""
    path = tmp_path / "nested.py"
    path.write_text(PY_ENVIRONMENT)
    domain = find_domain(f"{path}:Nested")
    assert [(leaf.path, leaf.shape) for leaf in domain.leaves] == [
        (("constant",), (2,)),
        (("steps", "left"), ()),
        (("steps", "taken"), ()),
    ]
    environments = domain.make_many(1)
    assert environments.reset(seed=0).tolist() == [[7, 8, 3, 0]]
    assert environments.step(np.array([1])).observation.tolist() == [[7, 8, 2, 1]]
