"""What `rlway inspect` tells of runs of `rlway train`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rlway_export.inspect.inspection import inspect_path
from tests.export.inspect.alike import CONVERTED, refused_alike

pytestmark = pytest.mark.slow


def test_a_run_is_told_whether_it_has_ended_or_not(trained_run: Path, tmp_path: Path) -> None:
    """An unfinished one with the policy's tensors as its record has them, and with the sentence of the export."""
    report = inspect_path(trained_run)
    training = report.training
    assert training is not None
    assert (report.kind, training.has_ended, report.written.by) == ("run", True, "rlway train")
    assert report.checkpoints is not None
    assert report.checkpoints.exported == training.best_checkpoint
    assert report.export.formats == CONVERTED
    unfinished = Path(shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("run.json")))
    begun = inspect_path(unfinished)
    assert begun.training is not None
    assert (begun.training.has_ended, begun.training.steps) == (False, None)
    assert begun.policy == report.policy
    assert "has no run.json" in refused_alike(begun, unfinished, tmp_path / "models")


def test_a_run_is_inspected_without_playing(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it has too few observations, for which an export would play its environment."""
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    (run / "observations.npz").unlink()
    monkeypatch.setattr("rlway_export.bundle.conversion.collect_observations", lambda *_: pytest.fail("it played"))
    assert inspect_path(run).export.refused is None
