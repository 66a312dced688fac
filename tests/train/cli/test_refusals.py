"""What training refuses: in one sentence, with the right exit status, and without leaving anything behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rlway_client.cli.main import main

FAILED, MISUSED, INTERRUPTED = 1, 2, 130

REFUSED = [
    ("--env CartPole-v3", FAILED, "CartPole-v1"),
    ("--env Cartpol-v1", FAILED, "did you mean CartPole-v1"),
    ("--env zzzzzzzz", FAILED, "there is no environment 'zzzzzzzz'"),
    ("--env nowhere:Thing-v0", FAILED, "nowhere: could not be imported"),
    ("--env Pendulum-v1", FAILED, "--discretize"),
    ("--env Pendulum-v1", FAILED, "rlway train sac"),
    ("--env CartPole-v1 --discretize 5", FAILED, "continuous action"),
    ("--env FrozenLake-v1", FAILED, "put gymnasium.wrappers.FlattenObservation around the environment"),
    ("--preset cartpol", MISUSED, "did you mean cartpole"),
    ("--preset pendulum-sac", MISUSED, "'pendulum-sac' is one of `rlway train sac`"),
    ("", MISUSED, "--env"),
    ("--env CartPole-v1 --steps -5", MISUSED, "--steps: expected a whole number of at least 1, got -5"),
    ("--env CartPole-v1 --steps 500 --initial-steps 500", MISUSED, "--steps: expected more than the initial 500"),
    ("--env CartPole-v1 --hidden 64,x", MISUSED, "--hidden"),
    ("--env CartPole-v1 --hidden 0", MISUSED, "--hidden"),
    ("--env CartPole-v1 --gamma 1.5", MISUSED, "--gamma: expected a number between 0 and 1, got 1.5"),
    ("--env CartPole-v1 --learning-rate nan", MISUSED, "--learning-rate"),
    ("--env CartPole-v1 --epsilon-end -0.1", MISUSED, "--epsilon-end"),
    ("--env CartPole-v1 --loss cubic", MISUSED, "--loss: expected huber or squared, got cubic"),
    ("--env CartPole-v1 --replay-capacity 10", MISUSED, "--replay-capacity"),
    ("--env CartPole-v1 --replay redis", MISUSED, "--replay: expected tf or reverb, got redis"),
    ("--env CartPole-v1 --selector prioritized", MISUSED, "--selector: prioritized needs a Reverb server"),
    ("--env CartPole-v1 --limiter min-size", MISUSED, "add --replay reverb"),
    ("--env CartPole-v1 --strategy mirrored", MISUSED, "add --replay reverb"),
    ("--env CartPole-v1 --replay reverb --online", MISUSED, "--online"),
    ("--env CartPole-v1 --replay reverb --deterministic", MISUSED, "use --replay tf"),
    ("--conv --env CartPole-v1", FAILED, "--conv needs observations that are one image of uint8 or bool"),
    ("--env rlway-tests/Pictures-v0", FAILED, "observes pictures (Box uint8[5, 6] from 0 to 255)"),
    ("--env rlway-tests/Pictures-v0 --conv 8x3x1,8x4x1", MISUSED, "--conv: layer 2 sees 4 × 4 places"),
    ("--conv 16x3 --env CartPole-v1", MISUSED, "--conv: expected filters x size x stride of each layer"),
    ("--conv --lstm 8 --env CartPole-v1", MISUSED, "--lstm: remembers vectors, and --conv learns images"),
    ("--conv --online --env CartPole-v1", MISUSED, "--online: learns without a replay"),
    ("--conv --normalize --env CartPole-v1", MISUSED, "--normalize: is for vectors"),
    ("--conv --replay reverb --env CartPole-v1", MISUSED, "images are bytes; use --replay tf"),
    ("--conv --actors 2 --env CartPole-v1", MISUSED, "images are bytes; use --replay tf"),
    ("--env CartPole-v1 --frame-stack 0", MISUSED, "--frame-stack: expected a whole number from 1 to 64, got 0"),
    ("--env rlway/CardGame-v0 --hidden ,", MISUSED, "--hidden"),
    ("--env CartPole-v1 --seed -1", MISUSED, "--seed"),
    ("--env CartPole-v1 --steps many", MISUSED, "--steps"),
    ("--env CartPole-v1 --publish models", MISUSED, "expected a folder and a policy's name: models/NAME"),
    ("--env CartPole-v1 --publish models/.cart", MISUSED, "policy name '.cart': expected 1 to 64 letters"),
]
REFUSED_BY_SAC = [
    ("--conv --env Pendulum-v1", MISUSED, "--conv: SAC has no convolutions here"),
    ("--env CartPole-v1", FAILED, "SAC chooses continuous actions, and this environment's are Discrete(2)"),
    ("--env CartPole-v1", FAILED, "use DQN (rlway train dqn)"),
    ("--env rlway-tests/Unbounded-v0", FAILED, "SAC needs bounds on every action"),
    ("--env rlway-tests/Switches-v0", FAILED, "expected actions that are floats (a Box), got MultiBinary(4)"),
    ("--env Pendulum-v9", FAILED, "Pendulum-v1"),
    ("--preset cartpole", MISUSED, "'cartpole' is one of `rlway train dqn`"),
    ("--preset pendulum", MISUSED, "did you mean pendulum-sac"),
    ("", MISUSED, "--env"),
    ("--env Pendulum-v1 --initial-alpha 0", MISUSED, "--initial-alpha: expected a positive number, got 0.0"),
    ("--env Pendulum-v1 --target-entropy inf", MISUSED, "--target-entropy: expected a finite number, got inf"),
    ("--env Pendulum-v1 --target-tau 0", MISUSED, "--target-tau"),
    ("--env Pendulum-v1 --replay reverb --selector prioritized", MISUSED, "use uniform, or DQN"),
    ("--env Pendulum-v1 --hidden 64,x", MISUSED, "--hidden"),
    ("--env Pendulum-v1 --batch-size 0", MISUSED, "--batch-size: expected a whole number of at least 1, got 0"),
]
FAILING = [
    ("Undefined", FAILED, "observation[0] is NaN at step"),
    ("Broken", FAILED, "its step() raised ZeroDivisionError: division by zero"),
    ("Interrupted", INTERRUPTED, "interrupted"),
]


def run(arguments: str, folder: Path, algorithm: str = "dqn") -> object:
    """The exit status of a training into `folder`."""
    with pytest.raises(SystemExit) as ended:
        main(["train", algorithm, "--run", str(folder), *arguments.split()])
    return ended.value.code


@pytest.mark.parametrize(
    ("algorithm", "arguments", "status", "says"),
    [("dqn", *row) for row in REFUSED] + [("sac", *row) for row in REFUSED_BY_SAC],
)
def test_bad_input_is_refused_before_anything_is_written(
    algorithm: str, arguments: str, status: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names what is wrong and what would be right; no traceback, no folder."""
    assert run(arguments, tmp_path / "new" / "run", algorithm) == status
    printed = capsys.readouterr()
    assert says in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []
    if printed.err.startswith("rlway: "):
        assert len(printed.err.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "status", "says"), FAILING)
def test_a_failure_before_the_first_checkpoint_leaves_nothing_behind(
    name: str, status: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failing environment and an interruption end in one sentence, and the empty folder is removed."""
    arguments = f"--env rlway-tests/{name}-v0 --initial-steps 100 --envs 2 --no-xla"
    assert run(arguments, tmp_path / "new" / "run") == status
    printed = capsys.readouterr()
    assert says in printed.err
    assert "Traceback" not in printed.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_never_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error must not cost an earlier run."""
    (tmp_path / "run.json").write_text("{}")
    assert run("--preset cartpole", tmp_path) == MISUSED
    assert "already holds something" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_folder_that_cannot_be_made_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here a file stands where its parent should be."""
    (tmp_path / "file").write_text("")
    assert run("--env CartPole-v1 --no-xla", tmp_path / "file" / "run") == MISUSED
    assert "cannot be made: Not a directory; name another folder" in capsys.readouterr().err


def test_help_does_not_wait_for_tensorflow() -> None:
    """The command's module, and so its help, imports neither TensorFlow nor gymnasium."""
    code = "import sys, rlway_train.cli.train; print([m for m in ('tensorflow', 'gymnasium') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
