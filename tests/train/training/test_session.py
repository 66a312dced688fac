"""What a training prints at its end."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from rlway_client.contract.run import TrainingRun, read_run
from rlway_client.contract.specs import TensorSpec
from rlway_train.training.session import report

RUN = TrainingRun(
    algorithm="dqn",
    env="CartPole-v1",
    seed=0,
    observation=[TensorSpec("observation", (4,), "float32")],
    action=TensorSpec("action", (), "int64", 0, 1),
    noise=TensorSpec("noise", (2,), "float32"),
    outputs=[],
    hyperparameters={},
    versions={},
    steps=28_008,
    iterations=27_008,
    iterations_per_s=6_905.2,
    wall_s=23.4,
    best_checkpoint=27_008,
    chosen_among=27,
    latest_checkpoint=27_008,
    final_return=482.65,
    final_interval=(455.1, 499.6),
    final_episodes=20,
    random_return=20.4,
)


def test_the_last_lines_tell_how_good_the_policy_is_and_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    """With the interval, the number of checkpoints to choose from, and random actions beside it."""
    report(RUN, Path("runs/a"), as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "runs/a: return 482.6 over 20 fresh episodes (95% interval 455 to 500), by the best of 27 checkpoints; random "
        "actions: 20.4",
        "28,008 steps, 6,905 iterations/s, 23 s with compiling and evaluating",
    ]


def test_a_run_of_an_older_version_still_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has no interval, and does not say among how many checkpoints the best was chosen."""
    older = json.loads(msgspec.json.encode(RUN))
    del older["final_interval"], older["chosen_among"]
    (tmp_path / "run.json").write_text(json.dumps(older))
    report(read_run(tmp_path), tmp_path, as_json=False)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith("return 482.6 over 20 fresh episodes; random actions: 20.4")
