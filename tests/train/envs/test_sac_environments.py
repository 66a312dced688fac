"""SAC on a user's own environment, with the limits that both algorithms have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlway_client.cli.main import main

pytestmark = pytest.mark.slow

DRIFT = """
import gymnasium
import numpy as np
from gymnasium.spaces import Box


class Drift(gymnasium.Env):
    observation_space = Box(-10, 10, (1,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1)
        return np.array([self.x], np.float32), {}

    def step(self, action):
        self.x = float(np.clip(self.x + action[0], -10, 10))
        return np.array([self.x], np.float32), -abs(self.x), False, False, {}
"""


def run(*words: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return ended.value.code


def test_sac_takes_a_class_in_a_file_and_both_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """30 episodes of 10 steps in two environments end the training at some 300 of 100,000 steps."""
    (tmp_path / "drift.py").write_text(DRIFT)
    words = ["--env", f"{tmp_path / 'drift.py'}:Drift", "--time-limit", "10", "--episodes", "30", "--envs", "2"]
    words += ["--initial-steps", "100", "--block-steps", "20", "--block-iterations", "5", "--hidden", "8", "--no-films"]
    folder = tmp_path / "run"
    assert run("train", "sac", *words, "--run", str(folder), "--json") == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["algorithm"], done["steps"]) == ("sac", 300)
    assert (folder / "training_curve.png").is_file()
    assert not (folder / "q_values.png").exists()


@pytest.mark.parametrize("flag", ["--n-step", "--optimizer", "--target-episodes", "--online", "--discretize"])
def test_flags_of_dqn_alone_are_not_sacs(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are refused by name."""
    assert run("train", "sac", "--env", "Pendulum-v1", flag, "1") == 2
    assert flag in capsys.readouterr().err
