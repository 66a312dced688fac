"""`rlway verify` and `rlway inspect` on what `rlway export` published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from rlway_client.common.files import sha256
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.evidence import Evidence
from rlway_client.contract.manifest import encode_manifest
from rlway_client.local.onnx_metadata import read_manifest
from rlway_client.local.verification import verify_bundle
from tests.conftest import SERVE, TRAIN, run_command

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(every_format: Bundle, tmp_path: Path) -> Path:
    """A bundle that a test may change."""
    path = tmp_path / "cartpole/1"
    shutil.copytree(every_format.path, path)
    return path


def sign(path: Path) -> Bundle:
    """Gives changed files their checksums, as a forger would."""
    manifest = Bundle.open(path, verify=False).manifest
    manifest = msgspec.structs.replace(manifest, files={name: sha256(path / name) for name in manifest.files})
    (path / "manifest.json").write_bytes(encode_manifest(manifest))
    return Bundle.open(path)


def change_weights(path: Path) -> None:
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
    onnx.save(model, path)


def save_without(path: Path, name: str) -> None:
    with np.load(path) as arrays:
        kept = {key: arrays[key] for key in arrays.files if key != name}
    np.savez(path, **kept)


def save_fewer_columns(path: Path) -> None:
    with np.load(path) as arrays:
        changed = {key: arrays[key][:, :1] if arrays[key].ndim > 1 else arrays[key] for key in arrays.files}
    np.savez(path, **changed)


@pytest.mark.parametrize("command", [SERVE, TRAIN], ids=["without TensorFlow", "with TensorFlow"])
def test_a_published_bundle_verifies_in_both_environments(command: Path, every_format: Bundle) -> None:
    """Checksums, and every file against the kept answers; C only when it is asked for."""
    done = run_command(command, "verify", every_format.path, "--json")
    assert done.status == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["checksums"] == len(every_format.manifest.files)
    verdicts = {row["file"]: row["verdict"] for row in printed["files"]}
    assert verdicts.pop("policy.c") == "not run"
    assert len(verdicts) == 10
    assert set(verdicts.values()) == {"alike"}


def test_c_source_is_compiled_and_run_when_it_is_asked_for(every_format: Bundle) -> None:
    """It is code out of the bundle, so it runs only on request."""
    quiet, asked = ({row.file: row for row in verify_bundle(every_format, compile_c=c)} for c in (False, True))
    assert (quiet["policy.c"].verdict, asked["policy.c"].verdict) == ("not run", "alike")
    assert "--compile-c" in quiet["policy.c"].why


def test_a_file_that_acts_differently_is_found_though_its_checksum_is_right(copy: Path) -> None:
    """Weights one per cent off: exit status 1, and only that file differs."""
    change_weights(copy / "model.onnx")
    sign(copy)
    done = run_command(SERVE, "verify", copy, "--json")
    assert done.status == 1
    verdicts = {row["file"]: row["verdict"] for row in json.loads(done.stdout)["files"]}
    assert [file for file, verdict in verdicts.items() if verdict == "different"] == ["model.onnx"]
    assert "model.onnx" in run_command(SERVE, "verify", copy).stdout


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "cut": ("parity.npz", lambda p: p.write_bytes(p.read_bytes()[:99]), r"parity\.npz: cannot be read"),
    "no noise": ("parity.npz", lambda p: save_without(p, "inputs.noise"), r"parity\.npz: cannot be read: .*noise"),
    "shapes": ("parity.npz", save_fewer_columns, r"expected rows of observation float32\[4\], got an array of shape"),
    "not ONNX": ("model.onnx", lambda p: p.write_bytes(b"nonsense"), r"model\.onnx: onnxruntime cannot load it"),
    "not TFLite": ("model.tflite", lambda p: p.write_bytes(b"nonsense"), r"model\.tflite: LiteRT cannot load it"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_with_right_checksums_is_named(damage: str, copy: Path) -> None:
    """The sentence has the file, and what is wrong with it."""
    file, spoil, expected = DAMAGES[damage]
    spoil(copy / file)
    with pytest.raises(BundleInvalid, match=expected):
        verify_bundle(sign(copy))


def test_a_bundle_without_kept_answers_says_so(copy: Path) -> None:
    """Older exporters kept none."""
    bundle = Bundle.open(copy)
    files = {name: digest for name, digest in bundle.manifest.files.items() if name != "parity.npz"}
    with pytest.raises(BundleInvalid, match=r"keeps no parity\.npz to compare with; export the policy again"):
        verify_bundle(Bundle(copy, msgspec.structs.replace(bundle.manifest, files=files)))


def test_without_a_runtime_the_other_files_are_verified(every_format: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxruntime the TFLite files are verified, and the sentence says what the ONNX files need."""
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    verdicts = {row.file: row for row in verify_bundle(every_format)}
    assert verdicts["model.onnx"].verdict == "not run"
    assert "install 'onnxruntime' with pip or uv" in verdicts["model.onnx"].why
    assert verdicts["model.tflite"].verdict == "alike"


def test_a_bundle_keeps_few_rows_of_large_observations() -> None:
    """At most a mebibyte, evenly over the recording, and at least one row."""
    images = np.arange(50, dtype=np.float32)[:, None, None] * np.ones((84, 84), np.float32)
    kept = Evidence({"observation": images}, {"action": np.arange(50)}).excerpt()
    assert len(kept.inputs["observation"]) == len(kept.expected["action"]) == (1 << 20) // (84 * 84 * 4 + 8)
    np.testing.assert_array_equal(kept.inputs["observation"][:, 0, 0], kept.expected["action"])
    assert kept.expected["action"][-1] == 49
    huge = Evidence({"observation": np.zeros((3, 1 << 20), np.float32)}, {"action": np.arange(3)}).excerpt()
    assert len(huge.expected["action"]) == 1


def test_an_onnx_file_by_itself_can_be_inspected(every_format: Bundle, tmp_path: Path) -> None:
    """Without its bundle, in both environments, and without a library for ONNX."""
    alone = tmp_path / "found-on-a-robot.onnx"
    shutil.copyfile(every_format.path / "model.onnx", alone)
    done = run_command(SERVE, "inspect", alone, "--json")
    assert done.status == 0, done.stderr
    manifest = json.loads(done.stdout)
    assert (manifest["policy"], manifest["version"]) == ("cartpole", 1)
    assert read_manifest(alone).observation == every_format.manifest.observation
    shown = run_command(SERVE, "inspect", alone).stdout
    assert "cartpole version 1" in shown
    assert "one file by itself" in shown


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"nonsense", "not an ONNX file"),
        (b"\xff" * 40, "not an ONNX file"),
        (b"\x72\xff\x01", "not an ONNX file"),
        (b"", "has no rlway.manifest in its metadata"),
        (onnx.ModelProto(producer_name="somebody", ir_version=8).SerializeToString(), "has no rlway.manifest"),
        (b"\x72\x12\x0a\x0erlway.manifest\x12\x00", "not JSON"),
    ],
)
def test_a_file_that_is_not_ours_is_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    """Not ONNX, truncated, or without a manifest: one sentence with the file's name."""
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(BundleInvalid, match=f"model.onnx.*{expected}"):
        read_manifest(tmp_path / "model.onnx")
