"""What a policy's numbers stand for, from the environment or a file, in the bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rlway_export
from rlway_client.contract.errors import UsageError

NAMES = ["x", "dx", "angle", "spin"]


def test_a_run_brings_the_meaning_of_its_environment(trained_run: Path, tmp_path: Path) -> None:
    """CartPole's names are in the manifest, in the model card, and constants in C."""
    bundle = rlway_export.export(trained_run, tmp_path / "models", "p", formats="onnx,c")
    meaning = bundle.manifest.meaning
    assert meaning is not None
    assert (meaning.control_period_s, meaning.names["observation"][0]) == (0.02, "cart_position")
    assert "cart_velocity [m/s]" in (bundle.path / "README.md").read_text()
    header = (bundle.path / "policy.h").read_text()
    for line in (
        "#define RLWAY_CONTROL_PERIOD_S 0.02",
        "RLWAY_OBSERVATION_POLE_ANGLE = 2, /* angle, rad */",
        "RLWAY_ACTION_PUSH_RIGHT = 1",
    ):
        assert line in header


def test_a_file_replaces_it(trained_run: Path, tmp_path: Path) -> None:
    """Its words are kept as they were when the export began: it is read once."""
    told = {"control_period_s": 0.01, "tensors": {"observation": {"names": NAMES, "frame": "track"}}}
    file = tmp_path / "meaning.json"
    file.write_text(json.dumps(told))
    bundle = rlway_export.export(
        trained_run,
        tmp_path / "models",
        "p",
        formats="onnx",
        meaning_file=file,
        log=lambda _: file.unlink(missing_ok=True),
    )
    assert not file.exists()
    assert json.loads((bundle.path / "manifest.json").read_text())["meaning"] == told


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file or directory"),
        ('{"tensors": {"motor": {}}}', "expected names of the policy .*, got 'motor'"),
        ('{"tensors": {"observation": {"names": ["x"]}}}', "observation.names: expected 4, one per element, got 1"),
        ('{"tensors"', "expected JSON with `tensors` and `control_period_s`"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_anything_is_converted(
    content: str | None, sentence: str, trained_run: Path, tmp_path: Path
) -> None:
    """Then nothing is published."""
    file = tmp_path / "meaning.json"
    if content is not None:
        file.write_text(content)
    steps: list[str] = []
    with pytest.raises(UsageError, match=sentence):
        rlway_export.export(trained_run, tmp_path / "models", "p", meaning_file=file, log=steps.append)
    assert steps == []
    assert not (tmp_path / "models").exists()
