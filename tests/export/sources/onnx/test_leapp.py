"""LEAPP's bundles: their parts joined, and wired as their YAML file says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlway_export
from rlway_client.contract.errors import ExportRefused, RlwayError, RunInvalid, UsageError
from rlway_client.contract.specs import AnyArray
from rlway_export.sources.onnx.leapp import leapp_file, read_leapp
from rlway_export.sources.onnx.source import OnnxSource
from rlway_export.sources.tensor_options import TensorOptions
from tests.export.onnx_forms import FLOAT, Form, Graph, save

# As LEAPP writes it, with what does not matter here left out.
YAML = """\
models:
  obs_processor:
    inputs:
    - name: joint_pos
      dtype: float32
      shape: [3]
      type: tensor
      kind: state/joint/position
      element_names: [left_hip, left_knee,
        left_ankle]
    - name: command
      dtype: float32
      shape: [2]
      type: tensor
    outputs:
    - name: features
      dtype: float32
      shape: [5]
      type: tensor
    parameters:
      backend: onnx
      model_path: obs_processor.onnx
      sha256sum: {first}
  policy:
    inputs:
    - name: features
    - name: hidden
    outputs:
    - name: joint_targets
    - name: hidden_out
    parameters:
      backend: onnx
      model_path: policy.onnx
      opset_version: 17
pipeline:
  data_flow:
    obs_processor/features: [policy/features]
  feedback_flow:
    policy/hidden_out: [policy/hidden]
  inputs:
    obs_processor: [joint_pos, command]
  outputs:
    policy: [joint_targets]
  initial_values: walk_initial_values.safetensors
  configs:
    frequency: 50

system information:
  leapp version: 0.7.1
  leapp config version: '1.3'
  os: Ubuntu 24.04
"""


def _processor() -> Form:
    g = Graph(1)
    g.add("Concat", g.add("Mul", "joint_pos", g.weights(3)), "command", output="features", axis=0)
    inputs: list[Any] = [("joint_pos", FLOAT, [3]), ("command", FLOAT, [2])]
    return Form(g.model(inputs, [("features", FLOAT, [5])]), {})


def _policy() -> Form:
    g = Graph(2)
    mixed = g.add("Add", g.add("MatMul", "features", g.weights(5, 4)), g.add("MatMul", "hidden", g.weights(4, 4)))
    g.add("Tanh", mixed, output="hidden_out")
    g.add("MatMul", "hidden_out", g.weights(4, 3), output="joint_targets")
    outputs: list[Any] = [("joint_targets", FLOAT, [3]), ("hidden_out", FLOAT, [4])]
    return Form(g.model([("features", FLOAT, [5]), ("hidden", FLOAT, [4])], outputs), {})


def _safetensors(path: Path, **arrays: AnyArray) -> None:
    header, body = {}, b""
    for name, array in arrays.items():
        end = len(body) + array.nbytes
        kind = f"F{8 * array.itemsize}"
        header[name.replace("__", "/")] = {"dtype": kind, "shape": [*array.shape], "data_offsets": [len(body), end]}
        body += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def _bundle(folder: Path, old: str = "", new: str = "") -> Path:
    """The bundle; `old` in its YAML becomes `new`."""
    folder.mkdir(exist_ok=True)
    first = save(_processor(), folder / "obs_processor.onnx")
    save(_policy(), folder / "policy.onnx")
    _safetensors(folder / "walk_initial_values.safetensors", policy__hidden=np.array([1, 2, 3, 4], np.float32))
    text = YAML.format(first=hashlib.sha256(first.read_bytes()).hexdigest())
    assert old in text
    (folder / "walk.yaml").write_text(text.replace(old, new) if old else text)
    return folder


def test_the_parts_of_a_pipeline_become_one_policy(tmp_path: Path) -> None:
    """Its inputs are the observation, its outputs the action, its feedback the policy state."""
    folder = _bundle(tmp_path / "walk")
    bundle = rlway_export.export(folder, tmp_path / "models", "walk", formats="onnx,tflite,c")
    manifest = bundle.manifest
    assert [spec.path for spec in manifest.observation] == [("obs_processor/joint_pos",), ("obs_processor/command",)]
    assert manifest.action.name == "action"  # type: ignore[union-attr]
    assert [spec.label for spec in manifest.state] == ["float32[4]"]
    card = (bundle.path / "README.md").read_text()
    assert "A policy in the LEAPP pipeline `walk.yaml`, which pytorch 2.6.0 wrote" in card
    assert manifest.parity[0].batch_sizes == [1, 7, 64]


def test_an_episode_begins_with_the_initial_values(tmp_path: Path) -> None:
    """Those of the safetensors file, which are not zeros."""
    policy = OnnxSource.open(_bundle(tmp_path), "best", TensorOptions()).materialize(tmp_path)
    specs = {spec.name: np.zeros((2, *spec.shape), spec.numpy_dtype) for spec in policy.interface.inputs}
    begin = np.array([1, 2, 3, 4], np.float32)
    kept = np.stack([np.full(4, 9, np.float32), begin])
    found = policy.run_act(specs | {"state": kept, "reset": np.array([True, False])})
    assert np.array_equal(found["action"][0], found["action"][1])


def test_initial_values_of_another_type_are_cast(tmp_path: Path) -> None:
    """As many numbers of another precision are the same state."""
    folder = _bundle(tmp_path)
    _safetensors(folder / "walk_initial_values.safetensors", policy__hidden=np.array([1, 2, 3, 4], np.float64))
    policy = OnnxSource.open(folder, "best", TensorOptions()).materialize(tmp_path)
    assert policy.initial("policy/hidden").dtype == np.float32


def test_initial_values_of_another_shape_are_refused(tmp_path: Path) -> None:
    """They would begin the episodes of another policy."""
    folder = _bundle(tmp_path)
    _safetensors(folder / "walk_initial_values.safetensors", policy__hidden=np.zeros(3, np.float32))
    policy = OnnxSource.open(folder, "best", TensorOptions()).materialize(tmp_path)
    with pytest.raises(ExportRefused, match=r"expected initial values of the shape \[4\], got \[3\]; write them again"):
        policy.initial("policy/hidden")


def test_a_part_by_itself_keeps_its_names(tmp_path: Path) -> None:
    """As Isaac Lab writes its policies: one part, whose tensors need no prefix."""
    save(_policy(), tmp_path / "policy.onnx")
    text = "models:\n  policy:\n    parameters: {backend: onnx-dynamo, model_path: policy.onnx}\npipeline:\n"
    text += "  inputs: {policy: [features]}\n  outputs: {policy: [joint_targets]}\n"
    (tmp_path / "walk.yaml").write_text(text + "  feedback_flow: {policy/hidden_out: [policy/hidden]}\n")
    roles = read_leapp(tmp_path / "walk.yaml").roles
    assert roles.observation == ["features"]
    assert [(part.taken, part.given, part.initial) for part in roles.state] == [("hidden", "hidden_out", None)]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "backend: onnx\n      model_path: policy.onnx",
            "backend: jit\n      model_path: policy.pt",
            "is of the backend jit",
        ),
        ("model_path: policy.onnx", "model_path: ../policy.onnx", "is not in the folder of the file; it is not read"),
        ("model_path: policy.onnx", "model_path: /etc/policy.onnx", "is not in the folder of the file; it is not read"),
        ("model_path: policy.onnx", "model_path: lost.onnx", "its file lost.onnx is missing; copy the whole bundle"),
        ("sha256sum: ", "sha256sum: 0000000000", None),
        ("[policy/hidden]", "[policy/memory]", "names policy/memory, which its models do not have"),
        ("policy: [joint_targets]", "policy: [torques]", "names the output policy/torques, which no part gives"),
        ("obs_processor/features: [", "policy/features: [", "takes policy/features, which is not made before"),
        ("[joint_pos, command]", "[joint_pos]", "nothing gives its input obs_processor/command a value"),
        ("  outputs:\n    policy: [joint_targets]\n", "", "has no models, inputs or outputs"),
        ("walk_initial_values.safetensors", "walk.yaml", "walk.yaml cannot be read: its header does not end"),
        ("frequency: 50", "frequency: !!python/object:os.system 50", "line 46: '!!python/object:os.system 50' is YAML"),
        ("frequency: 50", "frequency: *all", "is YAML that is not read here"),
        ("frequency: 50", "\tfrequency: 50", "is indented by tabs"),
        ("frequency: 50", "frequency: [50", "is no pipeline of LEAPP that can be read: line"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused(old: str, new: str, sentence: str | None, tmp_path: Path) -> None:
    """In one sentence that names the YAML file."""
    folder = _bundle(tmp_path, old, new)
    if sentence is None:  # a checksum of another length is not one that can be compared
        read_leapp(folder / "walk.yaml")
        return
    with pytest.raises(RunInvalid) as refusal:
        read_leapp(folder / "walk.yaml")
    assert sentence in str(refusal.value)


def test_a_part_that_has_changed_is_refused(tmp_path: Path) -> None:
    """By its checksum, as other runtimes of LEAPP do."""
    folder = _bundle(tmp_path)
    save(_policy(), folder / "obs_processor.onnx")
    with pytest.raises(RunInvalid, match=r"obs_processor.onnx has changed since LEAPP wrote it"):
        read_leapp(folder / "walk.yaml")


def test_its_tensors_need_no_options(tmp_path: Path) -> None:
    """Which could only contradict the YAML file."""
    with pytest.raises(UsageError, match=r"--action: walk.yaml says what its tensors are; leave it out"):
        OnnxSource.open(_bundle(tmp_path), "best", TensorOptions(action=("joint_targets",)))


def test_another_yaml_file_is_no_bundle(tmp_path: Path) -> None:
    """A configuration lies beside many policies."""
    (tmp_path / "config.yaml").write_text("models: 3\nseed: 1\n")
    assert leapp_file(tmp_path) is None
    with pytest.raises(RlwayError):
        rlway_export.export(tmp_path, tmp_path / "models", "p")
