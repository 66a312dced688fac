"""The bundle that the examples act with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import TRAIN, made_once, run_json


@pytest.fixture(scope="session")
def models(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with version 1 of `cartpole`, as ONNX, TFLite and C. Not to be changed by a test."""

    def export(folder: Path) -> None:
        words = ("--models", folder, "--policy", "cartpole", "--formats", "onnx,tflite,c")
        run_json(TRAIN, "export", trained_run, *words)

    return made_once(tmp_path_factory, "example-models", export)
