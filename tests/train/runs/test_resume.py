"""An interrupted training resumes as if it had not been interrupted."""

from __future__ import annotations

import csv
import re
import shutil
import signal
import subprocess
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from rlway_client.cli.main import main
from rlway_client.contract.errors import UsageError
from rlway_client.contract.run import read_run
from rlway_train.agents.factory import make_learner
from rlway_train.agents.learner import Learner
from rlway_train.config.settings import DqnSettings, SacSettings, TrainingSettings
from rlway_train.envs.domain import find_domain
from rlway_train.runs.checkpoint import FOLDER, Checkpoints
from rlway_train.runs.run_folder import RunFolder
from rlway_train.training.plan import TrainingRequest, make_plan
from tests.conftest import TRAIN

pytestmark = pytest.mark.slow

DQN = ["train", "dqn", "--env", "CartPole-v1", "--hidden", "16", "--envs", "4", "--initial-steps", "200", "--no-xla"]
OFTEN = [
    "--eval-every",
    "640",
    "--eval-episodes",
    "4",
    "--confirm-episodes",
    "2",
    "--final-episodes",
    "4",
    "--no-films",
]
INTERRUPTED, FAILED, MISUSED = 130, 1, 2
PATIENCE_S = 300.0  # for a process to end; on a busy machine TensorFlow takes a minute to start


def start(folder: Path, *words: str, limit_kib: int | None = None) -> subprocess.Popen[str]:
    command = [str(TRAIN), *DQN, *OFTEN, "--run", str(folder), *words]
    if limit_kib is not None:
        command = ["bash", "-c", f'ulimit -f {limit_kib}; exec "$@"', "bash", *command]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def goes_on(folder: Path, *words: str) -> object:
    """The exit status of a training with --resume, in this process: nothing is left of the one that began it."""
    return status(*DQN, *OFTEN, "--resume", "--run", str(folder), *words)


def wait_for(training: subprocess.Popen[str], words: str) -> None:
    """Reads stderr up to a line with these words."""
    assert training.stderr is not None
    for line in training.stderr:
        if re.search(words, line):
            return
    pytest.fail(f"the training ended without saying {words!r}")


def evaluated_steps(folder: Path) -> list[int]:
    with (folder / "evaluations.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def whole(steps: int) -> list[int]:
    """Where an uninterrupted training of this length is evaluated: at 0, then after blocks of 64 that follow 200."""
    blocks = range(264, steps + 64, 64)
    first = {next(step for step in blocks if step >= due) for due in range(640, steps, 640)}
    return sorted({0} | first | {next(step for step in blocks if step >= steps)})


def status(*words: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main([*words])
    return ended.value.code


class Interrupted(NamedTuple):
    """A training that got SIGINT after its second evaluation, and what a second training in its folder was told."""

    folder: Path
    refusals: list[tuple[object, str]]  # exit status and stderr, while the first one ran


@pytest.fixture(scope="module")
def interruption(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    folder, refusals = tmp_path_factory.mktemp("runs") / "interrupted", []
    training = start(folder, "--steps", "1000000")
    wait_for(training, "step +0 .* return ")
    for words in ([], ["--resume"]):
        with redirect_stderr(StringIO()) as said:
            refusals.append((status(*DQN, "--run", str(folder), *words), said.getvalue()))
    wait_for(training, "step +1,.* return ")
    training.send_signal(signal.SIGINT)
    _, says = training.communicate(timeout=PATIENCE_S)
    assert training.returncode == INTERRUPTED
    assert f"--resume --run {folder}" in says
    return Interrupted(folder, refusals)


@pytest.fixture(scope="module")
def interrupted(interruption: Interrupted) -> Path:
    """The folder of the interrupted training. Not to be changed by a test."""
    return interruption.folder


def test_a_killed_training_resumes_without_gap_or_repetition(tmp_path: Path) -> None:
    """SIGKILL leaves no time to save: the part after the last evaluation is trained again, once."""
    folder = tmp_path / "run"
    training = start(folder, "--steps", "4000")
    wait_for(training, "step +1,9.* return ")
    training.kill()
    training.communicate(timeout=PATIENCE_S)
    assert not (folder / "run.json").exists()
    saved = Checkpoints(folder).read()
    assert saved is not None
    before = saved.history.rows
    assert [row["step"] for row in before] == whole(4000)[: len(before)]
    assert len(before) >= 3  # it speaks a moment before it saves

    assert goes_on(folder) == 0
    run = read_run(folder)
    assert evaluated_steps(folder) == whole(4000)
    assert run.steps == whole(4000)[-1]
    assert run.iterations == run.steps - 200
    kept = {path.name for path in (folder / "policies/checkpoints").iterdir()}
    assert f"policy_checkpoint_{run.best_checkpoint:010d}" in kept
    assert f"policy_checkpoint_{run.latest_checkpoint:010d}" in kept


def test_an_interrupted_training_keeps_every_block(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C saves at once, including the blocks after the last evaluation, without the run.json of a finished run."""
    folder = tmp_path / "run"
    words = "--env rlway-tests/Interrupted-v0 --envs 2 --initial-steps 4 --block-steps 4 --block-iterations 1 --no-xla"
    words += " --batch-size 2 --eval-every 16 --eval-episodes 2 --confirm-episodes 0"
    assert status("train", "dqn", *words.split(), "--run", str(folder)) == INTERRUPTED
    assert "unfinished" in capsys.readouterr().err
    assert list((folder / "policies/checkpoints").iterdir())
    assert not (folder / "run.json").exists()
    saved = Checkpoints(folder).read()
    assert saved is not None
    assert saved.history.step > saved.history.rows[-1]["step"]
    assert evaluated_steps(folder) == [row["step"] for row in saved.history.rows]


def test_resume_starts_a_training_and_makes_a_finished_one_longer(tmp_path: Path) -> None:
    """One command line serves the first start and every later one. With more steps the run covers all of them."""
    folder = tmp_path / "run"
    assert goes_on(folder, "--steps", "1000") == 0
    assert read_run(folder).steps == whole(1000)[-1]
    longer = start(folder, "--resume", "--steps", "2000", "--run-stats")
    wait_for(longer, "step .* return ")
    assert not (folder / "run.json").exists()  # what says that a run is complete
    longer.communicate(timeout=PATIENCE_S)
    assert longer.returncode == 0
    with (folder / "episodes.csv").open(newline="") as file:
        episodes = list(csv.DictReader(file))
    assert [int(row["episode"]) for row in episodes] == [*range(1, len(episodes) + 1)]
    assert 1500 < sum(float(row["return"]) for row in episodes) <= whole(2000)[-1]  # one for every step
    assert read_run(folder).steps == whole(2000)[-1]
    assert evaluated_steps(folder)[-1] == whole(2000)[-1]


@pytest.mark.parametrize(
    ("words", "was", "now"),
    [
        ("train dqn --hidden 32,32", "16", "32,32"),
        ("train dqn --gamma 0.5", "0.99", "0.5"),
        ("train dqn --seed 3", "0", "3"),
        ("train dqn --env Acrobot-v1", "CartPole-v1", "Acrobot-v1"),
        ("train sac", "dqn", "sac"),
    ],
)
def test_a_resumed_training_cannot_become_another(
    interrupted: Path, words: str, was: str, now: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal names the old and the new value. The run stays as it is."""
    before = evaluated_steps(interrupted)
    assert status(*words.split(), "--resume", "--run", str(interrupted)) == MISUSED
    says = capsys.readouterr().err
    assert was in says
    assert now in says
    assert evaluated_steps(interrupted) == before


def test_flags_are_checked_with_the_settings_of_the_run(interrupted: Path) -> None:
    """900 steps are fewer than the random ones that a training usually begins with, and more than this one's 200."""
    plan = make_plan(DqnSettings, TrainingRequest(None, None, interrupted, None, resume=True), {"steps": 900})
    assert (plan.settings.steps, plan.settings.initial_steps, plan.env) == (900, 200, "CartPole-v1")


def test_the_drafts_of_a_killed_training_are_removed(interrupted: Path, tmp_path: Path) -> None:
    """A draft with half a replay can be large. Other hidden files stay."""
    folder = tmp_path / "copy"
    shutil.copytree(interrupted, folder)
    (draft := folder / "train/checkpoints/.99.abcdefgh").mkdir()
    (draft / "replay.npy").write_bytes(b"half")
    (folder / ".evaluations.csv.abcdefgh").write_text("half")
    (folder / ".notes").write_text("mine")
    before = {path for path in folder.rglob("*") if "abcdefgh" not in str(path)}
    with RunFolder(folder, resume=True):
        assert before <= set(folder.rglob("*"))
        assert [path for path in folder.rglob("*") if "abcdefgh" in str(path)] == []


def test_a_training_killed_before_its_first_checkpoint_can_start_again(tmp_path: Path) -> None:
    """It left half a file and no checkpoint."""
    (tmp_path / ".evaluations.csv.abcdefgh").write_text("half")
    (tmp_path / "policies").mkdir()
    with RunFolder(tmp_path, resume=True) as run_folder:
        assert run_folder.history.step == 0
        assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_results_that_cannot_be_written_are_reported_in_a_sentence(
    interrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The training itself is saved. Here a folder is in the way of a file."""
    folder = tmp_path / "copy"
    shutil.copytree(interrupted, folder)
    (folder / "observations.npz").unlink()
    (folder / "observations.npz").mkdir()
    assert status("train", "dqn", "--resume", "--steps", "300", "--run", str(folder)) == FAILED
    says = capsys.readouterr().err
    assert "could not be written: Is a directory; what was saved before is kept" in says
    assert Checkpoints(folder).read() is not None


def test_a_folder_that_is_being_written_is_refused(interruption: Interrupted) -> None:
    """Two trainings in one folder would destroy both."""
    assert len(interruption.refusals) == 2
    for refused, says in interruption.refusals:
        assert refused == MISUSED
        assert "another training is writing it" in says


def test_resume_never_empties_a_folder_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong path must not cost anything."""
    (tmp_path / "thesis.txt").write_text("years of work")
    assert status(*DQN, "--resume", "--run", str(tmp_path)) == MISUSED
    assert "holds something" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    """Files above a size fail here as on a full disk: the replay outgrows it after some evaluations."""
    folder = tmp_path / "run"
    words = ("--steps", "1000000", "--replay-capacity", "1000000", "--block-iterations", "8")
    training = start(folder, *words, limit_kib=128)
    _, says = training.communicate(timeout=PATIENCE_S)
    assert training.returncode == FAILED
    assert "could not be written" in says
    assert "Traceback" not in says
    saved = Checkpoints(folder).read()
    assert saved is not None
    assert len(saved.history.rows) >= 3
    assert evaluated_steps(folder)[: len(saved.history.rows)] == [row["step"] for row in saved.history.rows]

    # With room again, it goes on.
    assert goes_on(folder, "--steps", str(int(saved.history.step) + 1000)) == 0


def test_a_damaged_checkpoint_is_named(interrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no traceback from TensorFlow."""
    folder = tmp_path / "copy"
    shutil.copytree(interrupted, folder)
    last = Checkpoints(folder).last
    assert last is not None
    (data,) = last.glob("agent.data*")
    data.write_bytes(data.read_bytes()[:100])
    assert status("train", "dqn", "--resume", "--run", str(folder)) == FAILED
    says = capsys.readouterr().err
    assert str(last) in says
    assert "cannot be read" in says


LEARNERS = [
    ("CartPole-v1", DqnSettings(hidden=(8,), block_steps=32, block_iterations=4, xla=False)),
    (
        "rlway/CartPolePositions-v0",
        DqnSettings(
            hidden=(8,),
            lstm=6,
            sequence_length=3,
            burn_in=1,
            differences=True,
            block_steps=32,
            block_iterations=4,
            xla=False,
        ),
    ),
    ("Pendulum-v1", SacSettings(hidden=(8,), block_steps=32, block_iterations=4)),
    ("CartPole-v1", DqnSettings(hidden=(8,), block_steps=32, block_iterations=4, replay="reverb", initial_steps=0)),
]


def learner(env: str, settings: TrainingSettings, folder: Path) -> tuple[Learner[Any], Any]:
    domain = find_domain(env, continuous=isinstance(settings, SacSettings))
    learning = make_learner(settings, domain, seed=0)
    rows = np.random.default_rng(0).random((32, learning.columns.width), np.float32)
    if isinstance(settings, DqnSettings):  # its actions are whole numbers, and so are the step types of sequences
        rows = rows.round()
    if settings.replay == "reverb":  # draws anew each time; of equal rows the draw is always the same
        rows[:] = rows[0]
    learning.begin(folder, [])
    return learning, rows


@pytest.mark.parametrize(("env", "settings"), LEARNERS, ids=["dqn", "recurrent dqn", "sac", "reverb"])
def test_everything_that_learning_changes_is_restored(env: str, settings: TrainingSettings, tmp_path: Path) -> None:
    """Weights, targets, the optimizers' variables, the temperature, the replay and the iteration."""
    learned, rows = learner(env, settings, tmp_path)
    for _ in range(3):
        learned.learn(rows, 0)
    learned.save(tmp_path)
    fresh, _ = learner(env, settings, tmp_path)
    fresh.restore(tmp_path)
    assert fresh.iterations == learned.iterations == 12
    assert fresh.replay.size == learned.replay.size == 96
    (again := tmp_path / "again").mkdir()
    fresh.save(again)
    np.testing.assert_array_equal(*(np.load(folder / "replay.npy") for folder in (again, tmp_path)))
    variables = [(v.name, v.numpy()) for v in learned.agent.variables]
    assert len(variables) >= 8
    for (name, was), now in zip(variables, fresh.agent.variables, strict=True):
        np.testing.assert_array_equal(now.numpy(), was, err_msg=name)
    if isinstance(settings, DqnSettings):  # Adam's variables show in the next update; SAC's update draws its own noise
        learned.learn(rows, 0)
        fresh.learn(rows, 0)
        for was, now in zip(learned.weights(), fresh.weights(), strict=True):
            np.testing.assert_allclose(now, was, atol=1e-6)
    for one in (learned, fresh):
        one.close()


def test_a_replay_that_actors_filled_is_not_called_damaged(tmp_path: Path) -> None:
    """The replay is on the actors' server. The sentence says how to go on, not to train anew."""
    env, settings = LEARNERS[-1]
    (folder := tmp_path / FOLDER / "1").mkdir(parents=True)
    fresh, _ = learner(env, settings, folder)
    with pytest.raises(UsageError, match="go on with --actors N") as refused:
        Checkpoints(tmp_path).restore(fresh)
    assert "cannot be read" not in str(refused.value)
    fresh.close()


def test_deterministic_trainings_of_one_seed_end_with_the_same_weights(tmp_path: Path) -> None:
    """Bit for bit, in processes of their own, which share the machine."""
    words = "train dqn --preset cartpole --steps 2000"
    folders = [tmp_path / "one", tmp_path / "other"]
    trainings = [
        subprocess.Popen(
            [str(TRAIN), *words.split(), "--deterministic", "--run", str(folder), *OFTEN], stderr=subprocess.DEVNULL
        )
        for folder in folders
    ]
    assert [training.wait(timeout=PATIENCE_S) for training in trainings] == [0, 0]
    weights = []
    for folder in folders:
        best = Checkpoints(folder).last
        assert best is not None
        with np.load(best / "best.npz") as arrays:
            weights.append([arrays[key] for key in arrays.files])
    assert len(weights[0]) >= 4
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
