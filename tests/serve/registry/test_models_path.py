"""The error for a path that is no models folder says what the path is and what to give instead; that works."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.models_path import check_models_path
from tests.bundles import linear_policy
from tests.serve.registry.test_startup import fail_to_serve
from tests.servers import running_server


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each thing that people give by mistake."""
    folder = tmp_path_factory.mktemp("place")
    bundle = linear_policy(folder / "my models").path
    shutil.copy(bundle / "model.onnx", folder / "policy.onnx")
    shutil.copytree(bundle, folder / "loose")
    (folder / "models.zip").touch()
    (folder / "notes").touch()
    (folder / "runs/cartpole/policies").mkdir(parents=True)
    (folder / "runs/cartpole/run.json").touch()
    (folder / "saved/greedy_policy").mkdir(parents=True)
    (folder / "saved/greedy_policy/saved_model.pb").touch()
    (folder / "latest").symlink_to(bundle, target_is_directory=True)
    (folder / "dead").symlink_to("nowhere")
    return folder


ABOVE = "`rlway serve 'my models'`"
EXPORT = "`rlway export {} --models models --policy NAME`"
MISTAKES = {
    "policy.onnx": ["is an ONNX model", "models/<policy>/<version>/", "`rlway export RUN"],
    "policy.onnx/models": ["policy.onnx is a file"],
    "models.zip": ["is an archive", "unpack it"],
    "notes": ["is a file", "models/<policy>/<version>/"],
    "my models/linear/1": ["is a bundle", ABOVE],
    "my models/linear/1/model.onnx": ["is a file of a bundle", ABOVE],
    "my models/linear": ["is one policy's folder", ABOVE],
    "latest": ["is a bundle", ABOVE],
    "loose": ["is a bundle", "move it to models/<policy>/<version>/"],
    "runs/cartpole": ["is the run of a training", EXPORT.format("runs/cartpole"), "`rlway serve models`"],
    "saved": ["is a SavedModel", EXPORT.format("saved")],
    "saved/greedy_policy": ["is a SavedModel", EXPORT.format("saved/greedy_policy")],
    "dead": ["is a link to nowhere"],
    "nowhere": ["no such folder", "`rlway export RUN --models nowhere"],
    "x" * 300: ["cannot be read: File name too long"],
}


@pytest.mark.parametrize("path", MISTAKES)
def test_what_is_no_models_folder_is_told_what_it_is(place: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One short sentence begins with the path, says what it is, and what to give instead."""
    monkeypatch.chdir(place)
    with pytest.raises(BundleInvalid) as refused:
        check_models_path(Path(path))
    sentence = str(refused.value)
    assert sentence.startswith(f"{path}: ")
    assert len(sentence.removeprefix(path)) < 250
    for words in MISTAKES[path]:
        assert words in sentence


@pytest.mark.parametrize(("within", "path"), [("my models", "linear"), ("my models/linear", "1"), ("my models", ".")])
def test_paths_are_told_as_they_were_given(
    place: Path, within: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advised path is absolute only if the given one was; the models folder itself is accepted."""
    monkeypatch.chdir(place / within)
    for given in (Path(path), place / within / path):
        if path == ".":
            check_models_path(given)
            continue
        with pytest.raises(BundleInvalid, match="rlway serve") as refused:
            check_models_path(given)
        [command] = re.findall("`(.*)`", str(refused.value))
        advised = Path(shlex.split(command)[-1])
        assert advised.is_absolute() == given.is_absolute()
        assert advised.samefile(place / "my models")


def test_folders_that_may_come_to_hold_policies_are_taken(tmp_path: Path) -> None:
    """An empty folder, one whose policies are called by numbers, and one with other files."""
    check_models_path(tmp_path)
    linear_policy(tmp_path, "7")
    check_models_path(tmp_path)
    for name in ("manifest.json", "run.json", "saved_model.pb"):
        (tmp_path / name).touch()
    check_models_path(tmp_path)
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / "manifest.json").touch()
    check_models_path(tmp_path)


@pytest.mark.slow
def test_the_command_says_it_and_its_advice_works(place: Path, log: Path) -> None:
    """`rlway serve` refuses a model file, with polling and without; and the command that it names works."""
    assert "is an ONNX model" in fail_to_serve(place / "policy.onnx", "--poll-s", "1")
    sentence = fail_to_serve(place / "my models" / "linear" / "1", "--poll-s", "1", "--workers", "2")
    [command] = re.findall("`rlway serve (.*)`", sentence)
    [models] = shlex.split(command)
    with running_server(models, log) as server:
        assert server.policies == [{"name": "linear", "version": 1}]
