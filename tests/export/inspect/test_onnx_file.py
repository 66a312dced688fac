"""What `rlway inspect` tells of ONNX files and of bundles of LEAPP."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlway_export.inspect.inspection import inspect_path
from tests.export import onnx_forms
from tests.export.inspect.alike import CONVERTED, refused_alike

pytestmark = pytest.mark.slow


def test_an_onnx_file_is_told_with_the_options_that_it_needs(tmp_path: Path) -> None:
    """Its opset, its writer, its operators. Its command has a place for what has to be said."""
    path = onnx_forms.save(onnx_forms.sb3_dqn(), tmp_path / "dqn.onnx")
    report = inspect_path(path)
    assert report.onnx is not None
    assert (report.kind, report.onnx.opset, report.onnx.operators["Conv"]) == ("ONNX", 17, 2)
    assert report.written.by == "pytorch 2.6.0"
    (signature,) = report.signatures
    assert [(one.name, one.label) for one in signature.inputs] == [("input.1", "uint8[batch, 4, 36, 36]")]
    assert report.export.flags == ["--observation", "input.1", "--action", "18", "--as", "MEANING"]
    assert "--as MEANING" in report.export.command
    assert "say it with --as" in refused_alike(report, path, tmp_path / "models")


def test_the_form_of_an_onnx_file_is_recognised(tmp_path: Path) -> None:
    """rsl_rl's recurrent actor for one row: its state's names say themselves what they are."""
    report = inspect_path(onnx_forms.save(onnx_forms.rsl_rl_lstm(), tmp_path / "actor.onnx"))
    assert report.title == "an ONNX file in the form of rsl_rl"
    assert (report.saved_rows, report.exported_rows) == (1, None)
    assert report.policy is not None
    assert [spec.shape for spec in report.policy.state] == [(2, 8), (2, 8)]
    assert report.export.flags[-4:] == ["--state", "h_in:h_out", "--state", "c_in:c_out"]
    assert "--state" not in report.export.command
    assert report.export.formats == CONVERTED


LEAPP = """\
models:
  policy:
    parameters:
      backend: onnx
      model_path: policy.onnx
pipeline:
  inputs:
    policy: [obs]
  outputs:
    policy: [actions]
"""


def test_a_bundle_of_leapp_is_told_by_its_wiring(tmp_path: Path) -> None:
    """Which needs no options."""
    onnx_forms.save(onnx_forms.rsl_rl(), tmp_path / "policy.onnx")
    (tmp_path / "walk.yaml").write_text(LEAPP)
    report = inspect_path(tmp_path)
    assert (report.kind, report.title, report.export.flags) == ("ONNX", "a bundle of LEAPP", [])
    assert report.policy is not None
    assert [spec.label for spec in report.policy.observation] == ["float32[8]"]
    assert report.export.refused is None
