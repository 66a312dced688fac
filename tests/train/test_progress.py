"""What a person is told while a training runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rlway_train import progress
from rlway_train.progress import Reporter, State


def test_the_time_left_of_a_resumed_training_follows_from_its_own_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten steps a second since it goes on, whatever was done before: another hundred take ten seconds."""
    now_s = 1_000.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now_s))
    reporter = Reporter(1_000)
    now_s += 50.0  # TensorFlow starts
    reporter.begin(800)
    now_s += 10.0
    reporter.evaluated(State(900, mean_return=1.0), best=False)
    assert "ETA 10 s" in capsys.readouterr().err
