"""A path from which nothing can be exported: `rlway export` says what it is, and what to give instead."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import RlwayError, RunInvalid, UsageError
from rlway_client.contract.run import read_run
from rlway_export.bundle.writer import write_bundle
from rlway_export.sources.detect import open_source
from rlway_export.sources.run import RunSource
from rlway_export.sources.tf_agents import SavedModelSource
from rlway_export.watch.kinds import Told
from rlway_export.watch.watch import Publication, Watch
from tests.conftest import TRAIN, run_command

pytestmark = pytest.mark.slow

GIVE = "give a run of `rlway train`, a folder of PolicySavedModelTrigger, a SavedModel, an ONNX file or a Keras network"
LONGEST = 300  # characters of a sentence, without the folder of the tests


@pytest.fixture(scope="module")
def place(trained_run: Path, trigger: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, an unfinished one, what a trigger wrote, a SavedModel and a bundle. Not to be changed."""
    place = tmp_path_factory.mktemp("place")
    shutil.copytree(trained_run, place / "runs/first")
    shutil.copytree(trained_run, place / "runs/second", ignore=shutil.ignore_patterns("run.json"))
    shutil.copytree(trained_run, place / "runs/third", ignore=shutil.ignore_patterns("run.json", "policy_checkpoint_*"))
    shutil.copytree(trigger, place / "their/root/policies")
    shutil.copytree(trigger / "greedy_policy", place / "saved/model")
    shutil.copytree(trigger / "greedy_policy", place / "tf_serving/model/1")
    shutil.copytree(trigger / "checkpoints", place / "lone/checkpoints")
    shutil.copytree(models, place / "models")
    for name in ("empty", "events/train", "notes"):
        (place / name).mkdir(parents=True)
    tf.summary.create_file_writer(str(place / "events/train")).close()
    tf.summary.create_file_writer(str(place / "their/root/train")).close()
    tf.train.Checkpoint(step=tf.Variable(1)).save(str(place / "ckpt/ckpt"))
    np.savez(place / "rows.npz", observation=np.zeros((3, 4)))
    (place / "notes/todo.txt").write_text("nothing")
    (place / "train.py").write_text("print()")
    for name in ("ppo.zip", "runs.tar"):
        (place / name).write_bytes(b"PK")
    (place / "gone").symlink_to(place / "nowhere")
    return place


def number(place: Path) -> int:
    """The latest checkpoint of the run."""
    return read_run(place / "runs/first").latest_checkpoint


FOLDER = r"policy_checkpoint_0000000010"
WRONG: dict[str, str] = {
    # part of something that can be exported
    "runs/first/policies/checkpoints": r"lies in the run runs/first; give that with --checkpoint latest or a number\.",
    "runs/first/train": r"lies in the run runs/first; give that\.",
    "runs/first/observations.npz": r"lies in the run runs/first; give that\.",
    "runs/first/run.json": r"lies in the run runs/first; give that\.",
    "runs/first/policies/greedy_policy/variables": r"lies in the run runs/first; give that\.",
    "their/root/policies/checkpoints": r"lies in their/root/policies, which PolicySavedModelTrigger wrote; give that",
    f"their/root/policies/checkpoints/{FOLDER}": r"lies in their/root/policies, .*; give that with --checkpoint 10\.",
    f"their/root/policies/checkpoints/{FOLDER}/variables": r"lies in their/root/policies, .* with --checkpoint 10\.",
    "their/root/policies/greedy_policy/variables": r"lies in their/root/policies, which .*; give that\.",
    "their/root/train": r"lies in their/root, which a training wrote; give that\.",
    "saved/model/variables": r"lies in the SavedModel saved/model; give that\.",
    "saved/model/policy_specs.pbtxt": r"lies in the SavedModel saved/model; give that\.",
    # exports
    "models/cartpole/1": r"is a bundle that an export wrote; give what it was made of, or models/cartpole/1/saved_mod",
    "models/cartpole/1/model.onnx": r"lies in a bundle that an export wrote; give what it was made of, or models/c",
    "models/cartpole/1/variables": r"lies in a bundle that an export wrote",
    "models/cartpole": r"holds bundles that exports wrote; give a run",
    "models": r"holds bundles that exports wrote; give a run",
    # other folders
    "runs": r"holds no policy itself; give one that lies in it: runs/first, runs/second, runs/third\.",
    "their": r"holds no policy itself; give one that lies in it: their/root\.",
    "saved": r"holds no policy itself; give one that lies in it: saved/model\.",
    "tf_serving": r"holds no policy itself; give one that lies in it: tf_serving/model/1\.",
    "lone/checkpoints": r"holds weights without a graph; give the folder in which their graph lies beside checkpoints/",
    f"lone/checkpoints/{FOLDER}": r"holds weights without a graph",
    f"lone/checkpoints/{FOLDER}/variables": r"holds weights without a graph",
    "ckpt": r"holds weights without a graph; .* or the folder of checkpoints with --agent module:function",
    "events": r"holds TensorBoard's events; give a run",
    "events/train": r"holds TensorBoard's events; give a run",
    "empty": r"is an empty folder; give a run",
    "notes": r"holds no policy; give a run",
    # files
    "rows.npz": r"is a file of arrays, as --observations takes them; give a run",
    "ppo.zip": r"is an archive; unpack it, .* of stable-baselines3, .* with torch\.onnx\.export, and give that",
    "runs.tar": r"is an archive; unpack it, and give a run .* or a Keras network\.$",
    "train.py": r"is a program; give a run .* that it writes\.",
    "notes/todo.txt": r"is a file, and no saved_model\.pb; give a run",
    f"lone/checkpoints/{FOLDER}/variables/variables.index": r"holds weights without a graph",
    # paths that do not exist
    "runs/frist": r"no such file or folder; did you mean runs/first\?",
    "rns/first": r"no such file or folder; did you mean runs/first\?",
    "runs/fourth/policies": r"no such file or folder; give a run",
    "nothing/at/all": r"no such file or folder; give a run",
    "gone": r"is a link that leads nowhere; give a run",
    "x" * 300: r"cannot be read: File name too long\.",
    # a run that cannot be exported yet
    "runs/second": r"has no run\.json, .*add --watch to export .*, or give runs/second/policies for the greedy acti",
    "runs/third": r"has no run\.json, so it is not a finished run; train it to its end first, or add --watch",
}


@pytest.mark.parametrize("written", ["relative", "absolute"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_path_is_refused_with_what_it_is(
    name: str, written: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence, which begins with the path; its remedy is relative where the path is."""
    monkeypatch.chdir(place)
    path = Path(name) if written == "relative" else place / name
    with pytest.raises(RunInvalid) as refusal:
        open_source(path, "best")
    sentence = str(refusal.value)
    if written == "absolute":
        assert sentence.startswith(str(place))
        sentence = sentence.replace(f"{place}/", "")
    assert re.match(f"{re.escape(name[:20])}.*: {WRONG[name]}", sentence)
    assert len(sentence) < LONGEST
    assert "\n" not in sentence


def test_a_checkpoint_folder_of_a_run_is_refused_with_its_number(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is exported at that checkpoint with the advised option."""
    monkeypatch.chdir(place)
    latest = number(place)
    path = Path(f"runs/first/policies/checkpoints/policy_checkpoint_{latest:010d}")
    with pytest.raises(RunInvalid, match=rf"in the run runs/first; give that with --checkpoint {latest}\.$"):
        open_source(path, "best")
    source = open_source(Path("runs/first"), str(latest))
    assert isinstance(source, RunSource)
    assert source.checkpoint == latest


RIGHT: dict[str, Callable[[Path], Path]] = {
    "the run": lambda place: place / "runs/first",
    "the trigger's folder": lambda place: place / "their/root/policies",
    "the root that a training wrote": lambda place: place / "their/root",
    "the SavedModel": lambda place: place / "tf_serving/model/1",
    "the bundle's graph": lambda place: place / "models/cartpole/1/saved_model.pb",
    "the policies of an unfinished run": lambda place: place / "runs/second/policies",
}


@pytest.mark.parametrize("what", RIGHT)
def test_the_advised_paths_can_be_exported(what: str, place: Path, tmp_path: Path) -> None:
    """Each path that is given as a remedy; the SavedModel here is untrained, which has to be asked for."""
    source = open_source(RIGHT[what](place), "initial" if what == "the SavedModel" else "best")
    bundle = write_bundle(source, tmp_path, "p", [], lambda _: None)
    assert Bundle.open(bundle.path).manifest.version == 1
    assert isinstance(source, RunSource if what == "the run" else SavedModelSource)


def test_a_part_of_a_run_is_exported_with_a_note(place: Path, tmp_path: Path) -> None:
    """Its policies folder gives neither the noise nor the facts of the training."""
    source = open_source(place / "runs/first/policies", "latest")
    manifest = write_bundle(source, tmp_path, "p", [], lambda _: None).manifest
    assert ["belongs to the run first, whose own export has noise" in note for note in manifest.notes] == [True]
    assert manifest.noise is None


@pytest.mark.parametrize("name", ["rows.npz", "models/cartpole/1", "models/cartpole/1/model.onnx"])
def test_watch_refuses_what_never_becomes_a_source(name: str, place: Path, tmp_path: Path) -> None:
    """With --watch a file, a bundle and what lies in it are refused at once: no training begins there."""
    with pytest.raises(UsageError):
        following = Watch(place / name, Publication(tmp_path, "p", []), Told("new"))
        following.publish(0.01, None, lambda _: None, lambda _: None)


def test_the_command_refuses_a_wrong_path(place: Path, tmp_path: Path) -> None:
    """Exit status 1, one line, before TensorFlow is loaded, and no folder of bundles."""
    done = run_command(TRAIN, "export", place / "rows.npz", "--models", tmp_path / "models", "--policy", "p")
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr == f"rlway: {place}/rows.npz: is a file of arrays, as --observations takes them; {GIVE}.\n"
    assert not (tmp_path / "models").exists()


def test_a_checkpoint_that_is_no_number_is_refused_with_the_choices(place: Path) -> None:
    """`initial` only for a trigger; thousands of digits are not a number."""
    for path, others in (("runs/first", "best, latest"), ("their/root", "best, latest, initial")):
        for wrong in ("newest", "9" * 5000):
            with pytest.raises(RlwayError, match=rf"expected {others} or a number\.$") as refusal:
                open_source(place / path, wrong)
            assert len(str(refusal.value)) < LONGEST
