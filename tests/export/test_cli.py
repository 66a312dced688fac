"""What `rlway export` refuses: one sentence, the right exit status, and nothing published."""

from __future__ import annotations

import errno
import json
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from rlway_client.contract.errors import UsageError
from rlway_export.bundle.writer import write_bundle
from rlway_export.sources.run import RunSource
from tests.conftest import TRAIN
from tests.export.conftest import MOST, Rlway

pytestmark = pytest.mark.slow


def edit_run(folder: Path, **fields: object) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def damage_checkpoints(folder: Path) -> None:
    for path in folder.glob("policies/checkpoints/*/variables/variables.index"):
        cut(path)


def save_observations(folder: Path, rows: object) -> None:
    np.savez(folder / "observations.npz", observation=np.asarray(rows, np.float32))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "unfinished": (lambda f: (f / "run.json").unlink(), "has no run.json, so it is not a finished run"),
    "not JSON": (lambda f: cut(f / "run.json"), "run.json: damaged"),
    "newer": (lambda f: edit_run(f, schema_version=99), "schema version 99 is not known here (expected 1)"),
    "mistyped": (lambda f: edit_run(f, seed="seven"), "run.json: damaged: Expected `int`, got `str`"),
    "no observations": (lambda f: cut(f / "observations.npz"), "observations.npz: cannot be read"),
    "other observations": (lambda f: save_observations(f, np.zeros((5, 3))), "expected rows of float32[4], got"),
    "other inputs": (
        lambda f: edit_run(f, observation=[{"name": "observation", "shape": [3], "dtype": "float32"}]),
        "run.json tells of inputs with the shapes [3], [2]; the SavedModel's `act` takes [4], [2].",
    ),
    "no checkpoint": (lambda f: shutil.rmtree(f / "policies/checkpoints"), "has no checkpoint"),
    "cut checkpoint": (damage_checkpoints, " in greedy_policy: cannot be loaded: "),
    "cut graph": (
        lambda f: cut(f / "policies/greedy_policy/saved_model.pb"),
        "in greedy_policy: its saved_model.pb is damaged",
    ),
}


Refused = Callable[..., str]


@pytest.fixture
def refused(rlway: Rlway) -> Refused:
    """Runs an export that must fail; returns its one sentence."""

    def export(*words: object) -> str:
        done = rlway("export", *words)
        assert done.status in (1, 2)
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        sentence = done.stderr.strip().splitlines()[-1]
        assert sentence.startswith("rlway: ")
        unnamed = sentence  # without the test's own paths
        for word in sorted(map(str, words), key=len, reverse=True):
            unnamed = unnamed.replace(word, "")
        assert len(unnamed) <= MOST
        return sentence

    return export


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_refused_and_leaves_nothing(
    damage: str, trained_run: Path, tmp_path: Path, refused: Refused
) -> None:
    """The sentence names what is wrong, and not even the models folder is created."""
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    spoil, expected = DAMAGES[damage]
    spoil(run)
    assert expected in refused(run, "--models", tmp_path / "models", "--policy", "cartpole")
    assert not (tmp_path / "models").exists()


def test_a_run_that_does_not_exist_is_refused(tmp_path: Path, refused: Refused) -> None:
    """The sentence names the folder, and what to give."""
    sentence = refused(tmp_path / "nothing", "--models", tmp_path / "models", "--policy", "cartpole")
    assert "nothing: no such file or folder; give a run of `rlway train`" in sentence


def test_an_unknown_checkpoint_is_refused_with_the_existing_ones(
    trained_run: Path, tmp_path: Path, refused: Refused
) -> None:
    """The sentence lists the numbers to choose from."""
    best = json.loads((trained_run / "run.json").read_text())["best_checkpoint"]
    words = ("--models", tmp_path / "models", "--policy", "cartpole", "--checkpoint")
    assert str(best) in refused(trained_run, *words, "987654321")
    assert "expected best, latest or a number" in refused(trained_run, *words, "newest")


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-x", ".hidden", "x" * 65])
def test_a_policy_name_that_could_leave_the_folder_is_refused(
    name: str, trained_run: Path, tmp_path: Path, refused: Refused
) -> None:
    """Names are letters, digits, dots, underscores and dashes: they become folders and URLs."""
    sentence = refused(trained_run, "--models", tmp_path / "models", f"--policy={name}")
    assert "expected 1 to 64 letters, digits" in sentence


def test_an_unknown_format_is_refused_with_the_known_ones(trained_run: Path, tmp_path: Path, refused: Refused) -> None:
    """The sentence has the unknown name and every known one."""
    words = ("--models", tmp_path / "models", "--policy", "cartpole", "--formats")
    assert "expected some of onnx," in (sentence := refused(trained_run, *words, "onnx,pickle"))
    assert sentence.endswith("got pickle.")
    assert refused(trained_run, *words, ",").endswith("got nothing.")


def test_a_file_where_a_folder_belongs_is_named(trained_run: Path, tmp_path: Path, refused: Refused) -> None:
    """Neither the models folder nor the policy's may be a file; both are refused before anything is converted."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models/cartpole").touch()
    words = ("--policy", "cartpole", "--models")
    assert "cartpole: expected a folder of bundles, got a file" in refused(trained_run, *words, tmp_path / "models")
    assert "expected a folder of bundles, got a file" in refused(trained_run, *words, tmp_path / "models/cartpole")


def test_a_link_that_leads_nowhere_is_no_folder_of_bundles(trained_run: Path, tmp_path: Path) -> None:
    """Anywhere on the way to the version."""
    source = RunSource.open(trained_run, "best")
    for name in ("models", "policy", "parent"):
        (tmp_path / name).mkdir()
    for link, models in (("models/link", "models/link"), ("policy/p", "policy"), ("parent/link", "parent/link/models")):
        (tmp_path / link).symlink_to(tmp_path / "nowhere")
        with pytest.raises(UsageError, match=f"{link}: expected a folder of bundles, got a link that leads nowhere"):
            write_bundle(source, tmp_path / models, "p", [], lambda _: None)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", [FileExistsError, FileNotFoundError])
def test_other_errors_are_not_taken_for_a_full_disk(kind: type[OSError], trained_run: Path, tmp_path: Path) -> None:
    """Nor for a version that another export has published, which would be tried again for ever."""

    def fail(step: str) -> None:
        if step.startswith("comparing"):
            raise kind(errno.EIO, "somewhere else", str(tmp_path / "elsewhere"))

    with pytest.raises(kind, match="somewhere else"):
        write_bundle(RunSource.open(trained_run, "best"), tmp_path / "models", "p", [], fail)
    assert not (tmp_path / "models").exists()


def test_a_terminated_export_leaves_nothing(trained_run: Path, tmp_path: Path) -> None:
    """SIGTERM while it converts: exit status 143, and no draft."""
    command = [str(TRAIN), "export", str(trained_run), "--models", str(tmp_path / "models"), "--policy", "cartpole"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "converting to ONNX" in line:  # while libraries of C are being imported
                break
        process.terminate()
        assert process.wait(60) == 143
    assert not (tmp_path / "models").exists()


@contextmanager
def largest_file(size_kib: int) -> Iterator[None]:
    """Files of this process cannot grow beyond a size: writing more fails as on a full disk."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_kib * 1024, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


@pytest.mark.parametrize(("limit_kib", "formats"), [(16, "onnx"), (100, "c")])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    limit_kib: int, formats: str, trained_run: Path, tmp_path: Path, refused: Refused
) -> None:
    """Whichever file does not fit first: the SavedModel's weights, which TensorFlow writes, or policy.c."""
    words = ("--models", tmp_path / "models", "--policy", "cartpole", "--formats", formats)
    with largest_file(limit_kib):
        sentence = refused(trained_run, *words)
    assert "cannot be written: " in sentence
    assert "nothing was published" in sentence
    assert not (tmp_path / "models").exists()


def test_flags_that_contradict_each_other_are_refused(tmp_path: Path, refused: Refused) -> None:
    """Flags that only --watch takes, and flags that it does not take."""
    words = (tmp_path, "--models", tmp_path / "models", "--policy", "cartpole")
    assert "--watch chooses by itself" in refused(*words, "--watch", "--checkpoint", "best")
    assert "add --watch, or leave them out" in refused(*words, "--each", "new")


def test_a_missing_environment_is_refused_at_once(trained_run: Path, tmp_path: Path, refused: Refused) -> None:
    """--evaluate needs the one that the run names."""
    shutil.copytree(trained_run, tmp_path / "run")
    edit_run(tmp_path / "run", env="CartPool-v1")
    words = ("--models", tmp_path / "models", "--policy", "cartpole", "--evaluate", 1)
    assert "there is no environment 'CartPool-v1'; did you mean CartPole-v1" in refused(tmp_path / "run", *words)
    assert not (tmp_path / "models").exists()
