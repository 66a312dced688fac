"""Guards that an export writes: from a file, or from what the policy does in its environment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rlway_export
from rlway_client.contract.errors import ExportRefused, UsageError
from rlway_client.contract.guard import ActionLimits, Guard, encode_guard
from rlway_client.contract.guarding import ActionGuard, Previous
from rlway_client.contract.interface import Interface
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_export.bundle.guard import observed_guard

STATE = TensorSpec("observation", (1,), "float32")


def interface(*actions: TensorSpec) -> Interface:
    return Interface([STATE], [*actions], None, [], [])


def test_a_guard_file_is_published_with_the_bundle(trained_run: Path, tmp_path: Path) -> None:
    """It is listed with its checksum, and is what the file said when the export began: it is read once."""
    guard = Guard(schema_version=1, actions={"action": ActionLimits(maximum=0, safe=0)}, out_of_range="safe")
    file = tmp_path / "limits.json"
    file.write_bytes(encode_guard(guard))
    bundle = rlway_export.export(
        trained_run, tmp_path / "models", "p", formats="onnx", guard=file, log=lambda _: file.unlink(missing_ok=True)
    )
    assert bundle.read_guard() == guard
    assert not file.exists()
    assert "guard.json" in bundle.manifest.files


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file or directory"),
        ('{"schema_version": 1, "actions": {"motor": {}}}', r"action tensors \(action\), got 'motor'"),
        ('{"schema_version": 1, "actions": {"action": {"maximum": NaN}}}', "expected finite int64, got NaN"),
        ('{"schema_version": 1', "not JSON: "),
    ],
)
def test_a_guard_file_is_checked_before_anything_is_converted(
    content: str | None, sentence: str, trained_run: Path, tmp_path: Path
) -> None:
    """Then nothing is published."""
    file = tmp_path / "limits.json"
    if content is not None:
        file.write_text(content)
    steps: list[str] = []
    with pytest.raises(UsageError, match=sentence):
        rlway_export.export(trained_run, tmp_path / "models", "p", guard=file, log=steps.append)
    assert steps == []
    assert not (tmp_path / "models").exists()


def test_an_observed_guard_is_that_of_the_policys_episodes(trained_run: Path, tmp_path: Path) -> None:
    """CartPole has two actions: no change is larger than from one to the other, so none is limited."""
    bundle = rlway_export.export(trained_run, tmp_path / "models", "p", formats="onnx", guard="observed")
    assert json.loads((bundle.path / "guard.json").read_text()) == {
        "schema_version": 1,
        "actions": {"action": {"minimum": 0, "maximum": 1, "safe": 0}},
        "out_of_range": "clamp",
        "too_fast": "clamp",
        "non_finite": "hold",
    }


def test_a_source_without_an_environment_cannot_be_observed(models: Path, tmp_path: Path) -> None:
    """The sentence says what to give instead."""
    steps: list[str] = []
    with pytest.raises(UsageError, match=r"--guard observed: .* names no environment; add --env, or give a file"):
        rlway_export.export(
            models / "cartpole/1/saved_model.pb", tmp_path / "again", "p", guard="observed", log=steps.append
        )
    assert steps == []


@settings(max_examples=50, derandomize=True, deadline=None, database=None)
@given(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8), min_size=1, max_size=3))
def test_an_observed_guard_lets_every_observed_action_through(episodes: list[list[float]]) -> None:
    """Whatever float32 makes of the differences."""
    spec = TensorSpec("action", (1,), "float32", -1, 1)
    arrays = [np.array(episode, np.float32)[:, np.newaxis] for episode in episodes]
    applied = ActionGuard(observed_guard([{"action": array} for array in arrays], interface(spec)), [spec])
    for array in arrays:
        for i, row in enumerate(array):
            known: AnyArray = np.array([i > 0])
            before = Previous({"action": array[max(i - 1, 0)][np.newaxis]}, known, np.zeros(1))
            assert applied.apply({"action": row[np.newaxis]}, before) is None


def test_observed_limits_are_those_of_each_element() -> None:
    """Changes do not span two episodes; an element that never moves has no limit of its changes."""
    specs = [TensorSpec("action_a", (3,), "float64", path=("a",)), TensorSpec("action_b", (), "bool", path=("b",))]
    first = {"action_a": np.array([[1.0, 0.0, 2.0], [1.5, 0.0, 2.0]]), "action_b": np.array([True, False])}
    second = {"action_a": np.array([[-1.0, 0.0, 3.0], [-0.75, 0.0, 3.5]]), "action_b": np.array([True, True])}
    limits = observed_guard([first, second], interface(*specs)).actions["action_a"]
    assert (limits.minimum, limits.maximum, limits.safe) == ([-1.0, 0.0, 2.0], [1.5, 0.0, 3.5], [0.0, 0.0, 2.0])
    assert limits.change_per_step == [np.nextafter(0.5, 1), None, np.nextafter(0.5, 1)]
    first["action_a"][0, 1] = np.nan
    with pytest.raises(ExportRefused, match="--guard observed: action_a: expected finite actions"):
        observed_guard([first], interface(*specs))
