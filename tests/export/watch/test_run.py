"""Following a run while it trains, and what is left when either process is killed."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rlway_client.cli.main import main
from rlway_client.common.files import sha256
from rlway_client.contract.bundle import Bundle, bundle_versions
from rlway_client.contract.errors import ExportRefused, UsageError
from rlway_client.contract.run import kept_checkpoints
from rlway_client.envs.names import portable
from rlway_export.bundle.writer import write_bundle
from rlway_export.sources.agent.code import AgentCode
from rlway_export.sources.run import RunSource
from rlway_export.sources.run_facts import Each
from rlway_export.sources.tensor_options import TensorOptions
from rlway_export.watch.kinds import Told
from rlway_export.watch.run import WEIGHTS
from rlway_export.watch.watch import Publication, Watch
from tests.conftest import TRAIN

pytestmark = pytest.mark.slow

SHORT = ["--time-limit", "500", "--hidden", "16", "--envs", "4", "--initial-steps", "200", "--no-xla"]
OFTEN = ["--steps", "6000", "--eval-every", "640", "--eval-episodes", "4", "--confirm-episodes", "2"]
OFTEN += ["--save-every", "1500", "--final-episodes", "4", "--no-films"]
OWN = "from gymnasium.envs.classic_control import CartPoleEnv as Own\n"
BROKEN = """
from gymnasium.envs.classic_control import CartPoleEnv

class Broken(CartPoleEnv):
    def step(self, action):
        raise ValueError("no more")
"""


def better_checkpoints(run: Path) -> list[int]:
    """The iterations whose evaluation was better than all before, after the first learning."""
    with (run / "evaluations.csv").open(newline="") as file:
        rows = [(int(row["iteration"]), float(row["mean_return"])) for row in csv.DictReader(file)]
    assert rows.pop(0)[0] == 0
    return [iteration for i, (iteration, earned) in enumerate(rows) if earned >= max(e for _, e in rows[: i + 1])]


def published(policy: Path) -> list[int]:
    """The checkpoints of the versions, oldest version first; every file of every version is intact."""
    versions = sorted(bundle_versions(policy)) if policy.is_dir() else []
    assert versions == list(range(1, len(versions) + 1))
    return [Bundle.open(policy / str(version)).manifest.training["checkpoint"] for version in versions]


class Trainer:
    """A run folder that gets a real run's files one after the other, as a training writes them."""

    def __init__(self, run: Path, folder: Path) -> None:
        self._run, self.folder = run, folder
        shutil.copytree(run, folder, ignore=shutil.ignore_patterns("run.json", "policy_checkpoint_*", "*.mp4", "train"))
        self.numbers = [kept.iteration for kept in kept_checkpoints(run)]

    def path(self, number: int) -> Path:
        return self.folder / f"policies/checkpoints/policy_checkpoint_{number:010d}"

    def write_weights(self, number: int) -> None:
        shutil.copytree(
            self._run / self.path(number).relative_to(self.folder),
            self.path(number),
            ignore=shutil.ignore_patterns("checkpoint.json"),
        )

    def complete(self, number: int) -> None:
        kept = (self.path(number) / "checkpoint.json").relative_to(self.folder)
        shutil.copyfile(self._run / kept, self.folder / kept)

    def keep(self, number: int) -> None:
        self.write_weights(number)
        self.complete(number)

    def finish(self) -> None:
        shutil.copyfile(self._run / "run.json", self.folder / "run.json")


@pytest.fixture(scope="module")
def saved_often(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A short training in an environment of its own code, with --publish; its exporter is killed after version 1."""
    folder = tmp_path_factory.mktemp("published")
    run, policy = folder / "run", folder / "models/cartpole"
    (folder / "own.py").write_text(OWN)
    words = ["--env", f"{folder}/own.py:Own", *SHORT, *OFTEN, "--run", str(run), "--publish", str(policy)]
    command = [str(TRAIN), "train", "dqn", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as training:
        assert training.stderr is not None
        for line in training.stderr:
            if re.match("published cartpole version 1: checkpoint", line):
                break
        children = Path(f"/proc/{training.pid}/task/{training.pid}/children").read_text().split()
        (exporter,) = (pid for pid in children if b"--watch" in Path(f"/proc/{pid}/cmdline").read_bytes())
        shutil.copyfile(f"/proc/{exporter}/cmdline", folder / "exporter")
        os.kill(int(exporter), signal.SIGKILL)
        training.stderr.read()
        assert training.wait(120) == 0
    return run, policy


def test_a_training_publishes_each_better_checkpoint_once_though_its_exporter_is_killed(
    saved_often: tuple[Path, Path],
) -> None:
    """SIGKILL at its first version: another one goes on, the training ends as ever, no version is missing or twice."""
    run, policy = saved_often
    assert (run / "run.json").is_file()
    assert len(better_checkpoints(run)) >= 2
    assert published(policy) == better_checkpoints(run)


def test_publishing_collects_observations_in_the_trained_environment(
    saved_often: tuple[Path, Path], tmp_path: Path
) -> None:
    """The exporter gets its name, so more observations are collected at the end of a run that left few."""
    words = (saved_often[0].parent / "exporter").read_bytes().decode().split("\0")
    env = words[words.index("--env") + 1]
    training = Trainer(saved_often[0], tmp_path / "run")
    np.savez(training.folder / "observations.npz", observation=np.zeros((50, 4), np.float32))
    training.keep(training.numbers[0])
    training.finish()
    for named, rows in ((None, 50), (env, 2048)):
        models = tmp_path / f"models-{rows}"
        following = Watch(training.folder, Publication(models, "p", [], env=named), Told("new"))
        following.publish(0.01, None, lambda _: None, lambda _: None)
        manifest = Bundle.open(models / "p/1").manifest
        assert (manifest.env, manifest.observed[0].rows) == (portable(env), rows)


def test_the_manifest_has_the_training_up_to_the_checkpoint(saved_often: tuple[Path, Path], tmp_path: Path) -> None:
    """Whether it was published during the training or exported after its end."""
    run, policy = saved_often
    first = kept_checkpoints(run)[0]
    later = write_bundle(RunSource.open(run, str(first.iteration)), tmp_path, "p", [], lambda _: None)
    for manifest in (later.manifest, Bundle.open(policy / "1").manifest):
        told = [manifest.training[name] for name in ("iterations", "steps", "wall_s")]
        assert told == [first.iteration, first.step, first.wall_s]


def test_only_complete_checkpoints_are_published_and_none_twice(saved_often: tuple[Path, Path], tmp_path: Path) -> None:
    """Weights without checkpoint.json are still being written; a new process skips what is published."""
    training, policy = Trainer(saved_often[0], tmp_path / "run"), tmp_path / "models/cartpole"
    first, second, third = training.numbers[:3]
    training.keep(first)
    training.write_weights(second)
    follow(training.folder, until=lambda: published(policy) == [first])
    training.complete(second)
    training.keep(third)
    training.finish()
    follow(training.folder)
    follow(training.folder)
    assert published(policy) == [first, second, third]


def test_a_checkpoint_that_is_trained_again_is_published_again(saved_often: tuple[Path, Path], tmp_path: Path) -> None:
    """A resumed training may reach the same iteration with other weights."""
    training, policy = Trainer(saved_often[0], tmp_path / "run"), tmp_path / "models/cartpole"
    first, second = training.numbers[:2]
    training.keep(first)
    follow(training.folder, until=lambda: len(published(policy)) == 1)
    shutil.rmtree(training.path(first) / "variables")
    training.write_weights(second)
    shutil.copytree(training.path(second) / "variables", training.path(first) / "variables")
    training.finish()
    follow(training.folder)
    assert published(policy) == [first, first]
    weights = [Bundle.open(policy / str(version)).manifest.files[WEIGHTS] for version in (1, 2)]
    assert weights[0] != weights[1] == sha256(training.path(second) / WEIGHTS)


def test_a_checkpoint_that_cannot_be_exported_does_not_stop_the_next(
    saved_often: tuple[Path, Path], tmp_path: Path
) -> None:
    """It is reported at once, and again at the command's end."""
    training, policy = Trainer(saved_often[0], tmp_path / "run"), tmp_path / "models/cartpole"
    first, second = training.numbers[:2]
    training.keep(first)
    training.keep(second)
    index = training.path(first) / "variables/variables.index"
    index.write_bytes(index.read_bytes()[:100])
    training.finish()
    notes: list[str] = []
    with pytest.raises(ExportRefused, match="1 of its checkpoints could not be published"):
        follow(training.folder, note=notes.append)
    assert published(policy) == [second]
    assert [note for note in notes if note.startswith(f"checkpoint {first} is not published: ")]


def test_lasting_damage_is_reported_and_stops_no_other_checkpoint(
    saved_often: tuple[Path, Path], tmp_path: Path
) -> None:
    """A damaged checkpoint.json hides one checkpoint; without evaluations.csv none is known to be better."""
    training, policy = Trainer(saved_often[0], tmp_path / "run"), tmp_path / "models/cartpole"
    first, second = training.numbers[:2]
    training.keep(first)
    training.keep(second)
    (training.path(first) / "checkpoint.json").write_text("{")
    training.finish()
    notes: list[str] = []
    with pytest.raises(ExportRefused, match="1 of its checkpoints could not be published"):
        follow(training.folder, note=notes.append)
    assert published(policy) == [second]
    (note,) = notes
    assert "checkpoint.json: damaged" in note
    (training.folder / "evaluations.csv").write_text("iteration,mean_return\n1,much\n")
    with pytest.raises(ExportRefused, match="could not be published"):
        watch(training.folder, each="better").publish(0.01, None, notes.append, lambda _: None)
    assert any("evaluations.csv: cannot be read" in note for note in notes)


def test_an_environment_that_fails_is_reported_and_ends_nothing(saved_often: tuple[Path, Path], tmp_path: Path) -> None:
    """With episodes to play, each checkpoint is reported by itself."""
    training = Trainer(saved_often[0], tmp_path / "run")
    maze = tmp_path / "broken.py"
    maze.write_text(BROKEN)
    for number in training.numbers[:2]:
        training.keep(number)
    training.finish()
    for name in ("job.json", "run.json"):
        facts = json.loads((training.folder / name).read_text())
        (training.folder / name).write_text(json.dumps(facts | {"env": f"{maze}:Broken"}))
    notes: list[str] = []
    with pytest.raises(ExportRefused, match="2 of its checkpoints could not be published"):
        to = Publication(tmp_path / "models", "cartpole", [], episodes=1, env=f"{maze}:Broken")
        Watch(training.folder, to, Told("new")).publish(0.01, None, notes.append, lambda _: None)
    assert len(notes) == 2
    assert all("broken.py:Broken: its step() raised ValueError: no more" in note for note in notes)


def test_what_cannot_be_followed_is_refused(saved_often: tuple[Path, Path], tmp_path: Path) -> None:
    """A finished run whose checkpoints have no checkpoint.json; options that no run takes."""
    run = saved_often[0]
    for to, told, expected in (
        (Publication(tmp_path, "p", [], observations=tmp_path / "rows.npz"), Told(), "--observations: .* is a run"),
        (Publication(tmp_path, "p", []), Told(tensors=TensorOptions(meaning=("logits",))), "--as: .* says itself"),
        (Publication(tmp_path, "p", []), Told(agent=AgentCode("make.py:agent")), "--agent: .* has the graph"),
    ):
        with pytest.raises(UsageError, match=expected):
            Watch(run, to, told).publish(0.01, None, lambda _: None, lambda _: None)
    shutil.copytree(run, tmp_path / "old", ignore=shutil.ignore_patterns("checkpoint.json", "job.json", "train"))
    with pytest.raises(ExportRefused, match="nothing to follow; leave --watch out"):
        follow(tmp_path / "old")


def test_an_interrupted_training_ends_its_exporter(saved_often: tuple[Path, Path], tmp_path: Path) -> None:
    """Without run.json nothing more is published once the training's process is gone."""
    training = Trainer(saved_often[0], tmp_path / "run")
    training.keep(training.numbers[0])
    ended = threading.Event()
    ended.set()
    watch(training.folder).publish(0.01, ended, lambda _: None, lambda _: None)
    assert not (tmp_path / "models").exists()


def test_the_command_prints_a_line_of_json_per_version(
    saved_often: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """stdout is for programs, stderr for people."""
    training = Trainer(saved_often[0], tmp_path / "run")
    for number in training.numbers[:2]:
        training.keep(number)
    training.finish()
    words = ["export", str(training.folder), "--models", str(tmp_path / "models"), "--policy", "cartpole"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--formats", "onnx", "--watch", "--each", "new", "--poll-s", "0.01", "--json"])
    assert ended.value.code == 0
    said = capsys.readouterr()
    versions = [json.loads(line) for line in said.out.splitlines()]
    assert [(row["version"], row["parity"][0]["file"]) for row in versions] == [(1, "model.onnx"), (2, "model.onnx")]
    assert re.findall(r"published cartpole version (\d): checkpoint (\d+), ", said.err) == [
        (str(i), str(number)) for i, number in enumerate(training.numbers[:2], start=1)
    ]


def watch(run: Path, each: Each = "new") -> Watch:
    """Publishes checkpoints as their SavedModel alone, which is quick."""
    return Watch(run, Publication(run.parent / "models", "cartpole", []), Told(each))


def follow(run: Path, until: Callable[[], bool] | None = None, note: Callable[[str], None] = lambda _: None) -> None:
    """Follows until the run has ended; with a condition, as the child of a training that is killed once it holds."""
    if until is None:
        watch(run).publish(0.01, None, note, lambda _: None)
        return
    ended = threading.Event()
    watch(run).publish(0.01, ended, note, lambda _: ended.set() if until() else None)
