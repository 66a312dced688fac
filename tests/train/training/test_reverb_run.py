"""Training from Reverb, through the command as people run it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rlway_client.contract.run import read_run
from tests.train.conftest import RLWAY
from tests.train.summaries import read_scalars

pytestmark = pytest.mark.slow

DQN = "dqn --env CartPole-v1 --hidden 32 --selector prioritized --limiter ratio"
SAC = "sac --env Pendulum-v1 --hidden 32 --batch-size 32 --strategy mirrored"


@pytest.mark.parametrize("arguments", [DQN, SAC])
def test_a_training_from_reverb_leaves_a_whole_run_and_no_notices(arguments: str, tmp_path: Path) -> None:
    """The folder is that of any training, and Reverb's own notices are not on the terminal."""
    folder = tmp_path / "run"
    short = "--replay reverb --steps 800 --initial-steps 300 --eval-every 300 --eval-episodes 2 --final-episodes 2"
    done = subprocess.run(
        [
            str(RLWAY),
            "train",
            *arguments.split(),
            *short.split(),
            "--confirm-episodes",
            "0",
            "--no-films",
            "--run",
            str(folder),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "reverb" not in done.stderr
    run = read_run(folder)
    assert run.iterations == run.steps - 300
    assert run.hyperparameters["replay"] == "reverb"
    scalars = read_scalars(folder)
    assert scalars["Metrics/AverageReturn"][0][0] == 0
    assert scalars["training/loss"][0][0] < 300 + 2 * 200
    assert scalars["RunTime/train_steps_per_sec"][0][0] < 2 * 200  # by TF-Agents' own trigger
    assert (folder / "policies" / "checkpoints" / f"policy_checkpoint_{run.best_checkpoint:010d}").is_dir()
