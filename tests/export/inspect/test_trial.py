"""How far an export of a path gets, whatever stops it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlway_export.formats.context import Context
from rlway_export.inspect import trial
from rlway_export.inspect.trial import Trial
from tests.export import onnx_forms

pytestmark = pytest.mark.slow

ODD = "\x1b[31mnode\nand a stack of its own"
SENTENCE = "RuntimeError: �[31mnode."


def fail(*_: Any) -> Any:
    raise RuntimeError(ODD)


def test_an_error_of_another_library_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in it can command a terminal; what was opened is still told."""
    path = onnx_forms.save(onnx_forms.rsl_rl(), tmp_path / "actor.onnx")
    monkeypatch.setattr(trial, "convert", fail)
    found = Trial.of(path)
    assert found.source is not None
    assert found.refused == SENTENCE


def test_an_error_of_one_converter_leaves_the_other_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The format is told as one that is refused."""
    path = onnx_forms.save(onnx_forms.rsl_rl(), tmp_path / "actor.onnx")
    monkeypatch.setattr(Context, "plain_onnx_model", property(fail))
    found = Trial.of(path)
    assert (found.refused, found.model) == (None, None)
    assert (found.formats["onnx"], found.formats["c"]) == (None, SENTENCE)
