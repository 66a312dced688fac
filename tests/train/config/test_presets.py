"""The presets, and the settings that they and flags may have."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest

from rlway_client.cli.main import main
from rlway_train.agents.dqn import DqnLearner
from rlway_train.agents.factory import make_replay
from rlway_train.collect.transition import TransitionColumns
from rlway_train.config.presets import PRESETS
from rlway_train.config.settings import DqnSettings, SacSettings
from rlway_train.config.validation import checked
from rlway_train.envs.domain import domain_of, find_domain

pytestmark = pytest.mark.slow


def run(*words: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return ended.value.code


def test_every_preset_has_valid_settings_for_its_environment() -> None:
    """Its environment can be made with its wrappers, and no flag would be refused."""
    for preset in PRESETS.values():
        checked(preset.settings)
        continuous = isinstance(preset.settings, SacSettings)
        domain = domain_of(preset.env, preset.settings)
        assert domain.action.dtype == ("float32" if continuous else "int64")


def test_the_grid_world_is_learned_in_seconds_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The greedy policy takes the shortest way, and there is a picture of the Q-values."""
    folder = tmp_path / "grid"
    assert (
        run(
            "train", "dqn", "--preset", "gridworld-dqn", "--steps", "5000", "--no-films", "--run", str(folder), "--json"
        )
        == 0
    )
    done = json.loads(capsys.readouterr().out)
    assert done["final_return"] == pytest.approx(0.84)
    for name in ("q_values.png", "training_curve.png"):
        picture = imageio.imread(folder / name)
        assert picture.shape[0] >= 400
        assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 20


def test_training_ends_after_so_many_episodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends before its steps are used up. The last block is evaluated; target copies happened in between."""
    words = ["--preset", "cartpole-book", "--episodes", "12", "--target-episodes", "5", "--run", str(tmp_path / "run")]
    assert run("train", "dqn", *words, "--no-xla", "--no-films", "--json") == 0
    done = json.loads(capsys.readouterr().out)
    assert done["steps"] < 12 * 500
    assert done["latest_checkpoint"] == done["iterations"]


def test_episodes_that_end_before_anything_is_learned_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three hundred random steps are a dozen episodes of CartPole. No folder is left behind."""
    words = "--env CartPole-v1 --episodes 2 --envs 2 --initial-steps 300 --no-xla --eval-episodes 2"
    assert run("train", "dqn", *words.split(), "--run", str(tmp_path / "run")) == 2
    assert "lower --initial-steps" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_online_learning_uses_each_step_once_in_order() -> None:
    """With plain gradient descent, a block of two updates is two blocks of one."""
    columns = TransitionColumns(obs_dim=2, action_dim=1)
    rows = np.random.default_rng(0).normal(size=(2, columns.width)).astype(np.float32)
    rows[:, columns.action.start], rows[:, columns.discount] = [0, 1], 1.0
    settings = {"hidden": (8,), "double": False, "loss": "squared", "optimizer": "sgd", "online": True, "xla": False}
    settings |= {"learning_rate": 0.01, "batch_size": 1, "target_period": 1, "gradient_clip": None}
    weights = []
    for size in (2, 1):
        made = DqnSettings(**settings, block_steps=size, block_iterations=size)  # type: ignore[arg-type]
        domain = find_domain("rlway-tests/Counting-v0")
        learner = DqnLearner(made, domain, 1, make_replay(made, columns.width))
        for first in range(0, 2, size):
            learner.learn(rows[first : first + size], 0)
        weights.append(learner.policy().layers)
        assert learner.replay.size == 0
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--online --block-steps 64 --block-iterations 64", "--online: expected --block-steps to be"),
        (
            "--lstm 8 --online --block-steps 64 --block-iterations 1",
            "--online: a policy with --lstm learns from sequences drawn evenly from replay",
        ),
        (
            "--lstm 8 --burn-in 16",
            "--sequence-length: expected at least --burn-in and --n-step together (16 + 1), got 16",
        ),
        ("--differences", "--differences: expected --lstm, whose state holds the last observation, got none"),
        ("--lstm -1", "--lstm: expected a whole number of at least 0, got -1"),
        ("--optimizer adamant", "--optimizer: expected adam or sgd, got adamant"),
        ("--n-step 0", "--n-step"),
        ("--time-limit 0", "--time-limit"),
        ("--target-episodes 0", "--target-episodes"),
    ],
)
def test_invalid_settings_are_refused(
    words: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the flag's name, before anything is imported or written."""
    assert run("train", "dqn", "--env", "CartPole-v1", "--run", str(tmp_path / "run"), *words.split()) == 2
    assert says in capsys.readouterr().err
