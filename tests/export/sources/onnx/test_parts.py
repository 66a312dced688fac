"""The files of which an ONNX model consists: those that it names."""

from __future__ import annotations

from pathlib import Path

import onnx

from rlway_export.sources.content import content_of
from rlway_export.sources.onnx.parts import model_files, pipeline_files
from tests.export import onnx_forms

PIPELINE = """\
models:
  policy:
    parameters:
      backend: onnx
      model_path: parts/policy.onnx
pipeline:
  inputs:
    policy: [obs]
  outputs:
    policy: [actions]
  initial_values: initial.safetensors
"""


def external(path: Path, location: str) -> Path:
    """A policy with all of its weights in one other file."""
    path.parent.mkdir(exist_ok=True)
    onnx.save(onnx_forms.rsl_rl().model, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def test_the_weights_that_a_model_names_are_part_of_it(tmp_path: Path) -> None:
    """What only lies beside it is not, whatever its name."""
    path = external(tmp_path / "policy.onnx", "weights.bin")
    (tmp_path / "policy.onnx.bak").write_bytes(b"old")
    assert model_files(path) == [path, tmp_path / "weights.bin"]
    before = content_of(model_files(path))
    (tmp_path / "weights.bin").write_bytes(bytes(100))
    assert content_of(model_files(path)) != before


def test_weights_that_come_later_are_found(tmp_path: Path) -> None:
    """A model is asked for its files again and again."""
    path = external(tmp_path / "policy.onnx", "weights.bin")
    content = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").unlink()
    assert model_files(path) == [path]
    (tmp_path / "weights.bin").write_bytes(content)
    assert model_files(path) == [path, tmp_path / "weights.bin"]


def test_what_cannot_be_read_names_no_other_file(tmp_path: Path) -> None:
    """A damaged model, one that names files elsewhere; and there may be none."""
    path = tmp_path / "policy.onnx"
    assert model_files(path) == []
    path.write_bytes(b"none")
    assert model_files(path) == [path]
    model = onnx_forms.rsl_rl().model
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    path.write_bytes(model.SerializeToString())
    assert model_files(path) == [path]


def test_a_pipeline_consists_of_what_its_yaml_names(tmp_path: Path) -> None:
    """Its folder may be anybody's, with much else in it."""
    path = tmp_path / "walk.yaml"
    path.write_text(PIPELINE)
    model = external(tmp_path / "parts/policy.onnx", "weights.bin")
    (tmp_path / "thesis.pdf").write_bytes(b"long")
    expected = [path, model, model.with_name("weights.bin")]
    assert model_files(path) == pipeline_files(tmp_path) == expected
    (tmp_path / "initial.safetensors").write_bytes(b"")
    assert pipeline_files(path) == [*expected, tmp_path / "initial.safetensors"]
    path.write_text("models:\npipeline:\n")
    assert pipeline_files(path) == [path]
    path.unlink()
    assert pipeline_files(path) == []
