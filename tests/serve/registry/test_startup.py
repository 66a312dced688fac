"""A server that cannot start says why in one sentence; one that can serve an older version does."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlway_client.common.files import sha256
from tests.bundles import gaussian_policy, linear_policy
from tests.servers import PATIENCE_S, RLWAY, act_request, running_server

pytestmark = pytest.mark.slow


def fail_to_serve(models: Path, *options: str) -> str:
    """The sentence with which `rlway serve --poll-s 0` ends."""
    command = [str(RLWAY), "serve", str(models), "--port", "0", "--poll-s", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode in (1, 2), done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("rlway: ")
    assert "in a way that it should not" not in lines[0]
    return str(lines[0])


def edit_manifest(bundle: Path, **changes: Any) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | changes))


def replace_model(bundle: Path, content: bytes) -> None:
    """Replaces the model and its checksum."""
    (bundle / "model.onnx").write_bytes(content)
    edit_manifest(bundle, files={"model.onnx": sha256(bundle / "model.onnx")})


def flip_a_byte(bundle: Path) -> None:
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(content)


def tensor(shape: list[int], dtype: str) -> dict[str, Any]:
    return {"name": "observation", "shape": shape, "dtype": dtype}


BREAKAGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "damaged file": (flip_a_byte, ["model.onnx", "SHA-256"]),
    "missing file": (lambda bundle: (bundle / "model.onnx").unlink(), ["model.onnx", "missing"]),
    "missing manifest": (lambda bundle: (bundle / "manifest.json").unlink(), ["manifest.json"]),
    "manifest is not JSON": (lambda bundle: (bundle / "manifest.json").write_text("{"), ["manifest.json", "JSON"]),
    "manifest is not UTF-8": (lambda bundle: (bundle / "manifest.json").write_bytes(b'"\xff"'), ["manifest.json"]),
    "manifest is a list": (lambda bundle: (bundle / "manifest.json").write_text("[]"), ["manifest.json"]),
    "unknown schema": (lambda bundle: edit_manifest(bundle, schema_version=99), ["manifest.json", "99"]),
    "mistyped field": (lambda bundle: edit_manifest(bundle, action="left"), ["manifest.json", "action"]),
    "another policy's": (lambda bundle: edit_manifest(bundle, policy="other"), ["other"]),
    "unknown dtype": (lambda bundle: edit_manifest(bundle, observation=[tensor([4], "float31")]), ["float31"]),
    "another shape": (lambda bundle: edit_manifest(bundle, observation=[tensor([5], "float32")]), ["5"]),
    "another dtype": (lambda bundle: edit_manifest(bundle, observation=[tensor([4], "float64")]), ["double"]),
    "no observation": (lambda bundle: edit_manifest(bundle, observation=[]), ["observation"]),
    "an action by another name": (lambda bundle: edit_manifest(bundle, action=tensor([], "int64")), ["'observation'"]),
    "noise by another name": (lambda bundle: edit_manifest(bundle, noise=tensor([2], "float32")), ["'noise'"]),
    "noise of another dtype": (
        lambda bundle: edit_manifest(bundle, noise=tensor([2], "float64") | {"name": "noise"}),
        ["float64[2]"],
    ),
    "one name twice": (
        lambda bundle: edit_manifest(bundle, outputs=[tensor([2], "float32") | {"name": "action"}]),
        ["'action' twice"],
    ),
    "a key within another": (
        lambda bundle: edit_manifest(
            bundle,
            observation=[
                tensor([4], "float32") | {"path": ["seen"]},
                tensor([4], "float32") | {"name": "further", "path": ["seen", "further"]},
            ],
        ),
        ["['seen']"],
    ),
    "bounds of another length": (
        lambda bundle: edit_manifest(
            bundle, action={"name": "action", "shape": [], "dtype": "int64", "maximum": [1, 1]}
        ),
        ["maximum has 2 numbers for 1 elements"],
    ),
    "values for other actions": (lambda bundle: edit_manifest(bundle, action_values=[0.5]), ["action_values", "got 1"]),
    "not ONNX": (lambda bundle: replace_model(bundle, b"not a model"), ["model.onnx"]),
    "empty model": (lambda bundle: replace_model(bundle, b""), ["model.onnx"]),
}
ONE_SENTENCE = [
    "damaged file",
    "unknown schema",
    "unknown dtype",
]  # other refusals are tested below


@pytest.mark.parametrize("breakage", ONE_SENTENCE)
def test_a_broken_bundle_is_named_in_one_sentence(tmp_path: Path, breakage: str) -> None:
    """One line on stderr has the file and what is wrong with it."""
    breaking, words = BREAKAGES[breakage]
    breaking(linear_policy(tmp_path / "models").path)
    sentence = fail_to_serve(tmp_path / "models")
    for word in words:
        assert word in sentence


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The sentence has its path."""
    assert str(tmp_path / "nowhere") in fail_to_serve(tmp_path / "nowhere")


def test_an_empty_folder_is_told_what_belongs_there(tmp_path: Path) -> None:
    """The sentence has the expected layout."""
    assert "<policy>/<version>" in fail_to_serve(tmp_path)


def test_an_unknown_protocol_is_named_before_anything_is_read(tmp_path: Path) -> None:
    """The folder does not even exist."""
    said = fail_to_serve(tmp_path / "nowhere", "--protocols", "oip,mqtt")
    assert said == "rlway: --protocols: expected any of openpi, oip, tfs, with commas between, got mqtt."


def test_two_protocols_cannot_have_one_port(tmp_path: Path) -> None:
    """It is said before anything is read."""
    said = fail_to_serve(tmp_path / "nowhere", "--port", "8080", "--grpc-port", "8080")
    assert said == "rlway: --grpc-port 8080: expected another port than --port; 0 takes a free one."


def test_an_unknown_default_is_told_the_names(tmp_path: Path) -> None:
    """The sentence lists the policies that `--default` may name."""
    linear_policy(tmp_path / "models")
    sentence = fail_to_serve(tmp_path / "models", "--default", "nobody")
    assert "nobody" in sentence
    assert "linear" in sentence


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """The sentence has the port; it is not shared with another program."""
    linear_policy(tmp_path / "models")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert port in fail_to_serve(tmp_path / "models", "--port", port)


@pytest.mark.parametrize("content", [None, "# only a comment\n\n"], ids=["missing", "comments"])
def test_keys_that_cannot_be_read_let_nobody_in(tmp_path: Path, content: str | None) -> None:
    """A file without keys is a mistake, not an open door."""
    linear_policy(tmp_path / "models")
    if content is not None:
        (tmp_path / "keys").write_text(content)
    assert "--api-keys" in fail_to_serve(tmp_path / "models", "--api-keys", str(tmp_path / "keys"))


def test_a_broken_newest_version_falls_back_to_a_sound_one(tmp_path: Path, log: Path) -> None:
    """Whatever is wrong with version 2, version 1 is served, and the log says what is wrong."""
    models = tmp_path / "models"
    names = {breakage: f"policy-{i}" for i, breakage in enumerate(BREAKAGES)}
    for breakage, name in names.items():
        linear_policy(models, name)
        BREAKAGES[breakage][0](linear_policy(models, name, version=2).path)
    with running_server(models, log) as server:
        assert server.policies == [{"name": name, "version": 1} for name in sorted(names.values())]
        for name in names.values():
            body = {"observation": [1, 0, 0, 0]}
            assert server.ask(act_request(body, path=f"/v1/policies/{name}/act")).json == {"action": 0, "version": 1}
    for breakage, name in names.items():
        lines = [line for line in log.read_text().splitlines() if f"{name}/2" in line]
        assert len(lines) == 1
        for word in BREAKAGES[breakage][1]:
            assert word in lines[0]


def test_the_newest_version_is_served(tmp_path: Path, log: Path) -> None:
    """10 is newer than 9; drafts, files and other names beside the versions do not count."""
    models = tmp_path / "models"
    for version in (9, 10):
        linear_policy(models, version=version)
    (models / "linear" / ".11.draft").mkdir()
    (models / "linear" / "latest").mkdir()
    (models / "linear" / "12").touch()
    (models / "linear" / "config.pbtxt").touch()
    (models / "README.md").touch()
    with running_server(models, log) as server:
        assert server.policies == [{"name": "linear", "version": 10}]
        assert server.ask(act_request({"observation": [1, 0, 0, 0]})).json == {"action": 0, "version": 10}


def test_a_default_answers_act_among_several(tmp_path: Path, log: Path) -> None:
    """`--default NAME` answers `POST /act`, by either lane."""
    linear_policy(tmp_path / "models")
    gaussian_policy(tmp_path / "models")
    with running_server(tmp_path / "models", log, "--default", "linear") as server:
        for lane in ("hot", "query"):
            answer = server.ask(act_request({"observation": [1, 0, 0, 0]}, path="/act", lane=lane))
            assert answer.json == {"action": 0, "version": 1}
