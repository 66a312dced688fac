"""`rlway inspect`: bundles are shown without TensorFlow, and everything else is handed to an installed inspector."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from msgspec.structs import replace

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.guard import ActionLimits, Guard
from rlway_client.contract.manifest import METADATA_KEY, encode_manifest
from tests.bundles import gaussian_policy, linear_policy, robot_policy
from tests.clients.cli.test_command_line import needs_world_without_tensorflow
from tests.clients.conftest import MISUSED, Fail, Succeed
from tests.replaying import guarded

INSPECTOR = """
def inspect(path, as_json):
    print(path.name, as_json)
"""


@pytest.fixture
def inspector(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that inspects every path, installed for this test."""
    place = tmp_path_factory.mktemp("site")
    installed = place / "anybody-1.0.dist-info"
    installed.mkdir()
    (place / "anybody_inspects.py").write_text(INSPECTOR)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: anybody\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[rlway.inspectors]\nanybody = anybody_inspects:inspect\n")
    monkeypatch.syspath_prepend(place)


def test_inspect_shows_a_bundle(tmp_path: Path, succeed: Succeed) -> None:
    """As text or, with --json, as the manifest; a folder of versions stands for its newest, a file for its bundle."""
    linear_policy(tmp_path)
    bundle = linear_policy(tmp_path, version=2)
    shown = succeed("inspect", bundle.path)
    for word in ("linear", "version 2", "float32[4]", "q_values", "model.onnx"):
        assert word in shown
    for path in (tmp_path / "linear", bundle.path / "manifest.json"):
        assert json.loads(succeed("inspect", path, "--json"))["version"] == 2


def test_inspect_shows_the_guard_of_a_bundle(tmp_path: Path, succeed: Succeed) -> None:
    """Its limits, the safe action, and the reactions; a bundle without one says nothing of it."""
    assert "guarded" not in succeed("inspect", linear_policy(tmp_path).path)
    limits = ActionLimits(minimum=[-1.5, None], change_per_second=40.0, safe=0.25)
    bundle = guarded(gaussian_policy(tmp_path), Guard(schema_version=1, actions={"action": limits}))
    shown = succeed("inspect", bundle.path)
    for words in ("[-1.5, -inf] … inf", "40", "0.25", "out_of_range: clamp, too_fast: clamp, non_finite: hold"):
        assert words in shown


def with_manifest(bundle: Bundle, manifest: bytes) -> bytes:
    """The bundle's ONNX file with a manifest in its metadata, as an export writes it."""
    model = onnx.load(bundle.path / "model.onnx")
    model.metadata_props.add(key=METADATA_KEY, value=manifest.decode())
    content: bytes = model.SerializeToString()
    return content


def test_inspect_shows_an_onnx_file_of_an_export_by_itself(tmp_path: Path, succeed: Succeed) -> None:
    """Wherever it lies, and however its suffix is written."""
    bundle = linear_policy(tmp_path / "models")
    for name in ("alone.onnx", "ALONE.ONNX"):
        (tmp_path / name).write_bytes(with_manifest(bundle, encode_manifest(bundle.manifest)))
        assert "one file by itself" in succeed("inspect", tmp_path / name)


def test_inspect_shows_what_fresh_episodes_gave(tmp_path: Path, succeed: Succeed) -> None:
    """If the manifest says so in the words of a run; other words are not shown."""
    bundle = linear_policy(tmp_path / "models")
    found = {"final_return": 482.65, "final_interval": [455.1, 499.6], "final_episodes": 20, "chosen_among": 27}
    for training, shown in ((found, True), (found | {"final_interval": ["[bold]", 1]}, False)):
        manifest = encode_manifest(replace(bundle.manifest, training=training))
        (tmp_path / "alone.onnx").write_bytes(with_manifest(bundle, manifest))
        told = " ".join(succeed("inspect", tmp_path / "alone.onnx").split())
        sentence = "return 482.6 over 20 fresh episodes (95% interval 455 to 500), by the best of 27 checkpoints"
        assert (sentence in told) == shown


def test_inspect_shows_how_many_frames_are_one_observation(tmp_path: Path, succeed: Succeed) -> None:
    """A caller has to stack them. Where one frame is one observation there is nothing to say."""
    bundle = linear_policy(tmp_path / "models")
    for frames, shown in ((4, True), (1, False)):
        manifest = encode_manifest(replace(bundle.manifest, frame_stack=frames))
        (tmp_path / "alone.onnx").write_bytes(with_manifest(bundle, manifest))
        told = " ".join(succeed("inspect", tmp_path / "alone.onnx").split())
        assert ("the environment's last 4 frames (frame_stack 4)" in told) == shown
        assert ("frames" in told) == shown


def test_inspect_finds_damage(tmp_path: Path, fail: Fail) -> None:
    """A flipped byte is an error with the file's name, and so is a manifest within an ONNX file that is none."""
    bundle = linear_policy(tmp_path / "models")
    (tmp_path / "copy.onnx").write_bytes(with_manifest(bundle, b"{}"))
    assert "copy.onnx, its metadata" in fail("inspect", tmp_path / "copy.onnx")
    model = bundle.path / "model.onnx"
    content = bytearray(model.read_bytes())
    content[50] ^= 1
    model.write_bytes(content)
    assert "model.onnx" in fail("inspect", model.parent)


def test_a_folder_of_several_policies_is_answered_with_their_names(tmp_path: Path, fail: Fail) -> None:
    """And with the path of one of them."""
    linear_policy(tmp_path)
    robot_policy(tmp_path)
    sentence = fail("inspect", tmp_path)
    assert f"holds the bundles of linear, robot; give one of them, such as {tmp_path / 'linear'}." in sentence


@needs_world_without_tensorflow
def test_a_path_that_is_no_bundle_names_the_package_that_inspects_it(tmp_path: Path, fail: Fail) -> None:
    """In the environment of servers nothing reads SavedModels; a path that does not exist is told as such."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/saved_model.pb").write_bytes(b"")
    assert "install 'rlway-export'" in fail("inspect", tmp_path / "theirs", status=MISUSED)
    (tmp_path / "theirs.onnx").write_bytes(b"\x08\x08")
    assert "install 'rlway-export'" in fail("inspect", tmp_path / "theirs.onnx", status=MISUSED)
    assert "no such file or folder" in fail("inspect", tmp_path / "nowhere")
    assert "File name too long" in fail("inspect", tmp_path / ("x" * 300))


@needs_world_without_tensorflow
@pytest.mark.usefixtures("inspector")
def test_an_installed_inspector_gets_every_path_that_is_no_bundle(tmp_path: Path, succeed: Succeed) -> None:
    """Of the group `rlway.inspectors`; bundles stay here. A folder of numbered SavedModels is no bundle either."""
    linear_policy(tmp_path / "models")
    (tmp_path / "theirs/1").mkdir(parents=True)
    assert succeed("inspect", tmp_path / "theirs") == "theirs False\n"
    assert succeed("inspect", tmp_path / "nowhere", "--json") == "nowhere True\n"
    assert "linear" in succeed("inspect", tmp_path / "models/linear")
