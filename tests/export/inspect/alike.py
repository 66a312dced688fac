"""What several tests of `rlway inspect` compare with an export."""

from __future__ import annotations

from pathlib import Path

import pytest

import rlway_export
from rlway_client.contract.errors import RlwayError
from rlway_export.inspect.report import Report

CONVERTED = {"onnx": None, "tflite": None, "c": None}


def refused_alike(report: Report, path: Path, models: Path) -> str:
    """The sentence of the report, once it is that of the export, which published nothing."""
    with pytest.raises(RlwayError) as refusal:
        rlway_export.export(path, models, "p")
    assert report.export.refused == str(refusal.value)
    assert not models.exists()
    return str(refusal.value)
