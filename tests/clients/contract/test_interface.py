"""What a policy takes and gives, by name and in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlway_client.contract.interface import Interface
from rlway_client.contract.specs import TensorSpec
from tests.bundles import linear_policy

VECTOR = TensorSpec("observation", (4,), "float32")
CHOICE, PUSH = TensorSpec("action", (), "int64", 0, 1), TensorSpec("action", (2,), "float32", -1, 1)
NOISE, CELLS = TensorSpec("noise", (2,), "float32"), TensorSpec("cells", (8,), "float32")
Q_VALUES = TensorSpec("q_values", (2,), "float32")


def names(specs: list[TensorSpec]) -> list[str]:
    return [spec.name for spec in specs]


def test_the_state_goes_in_with_reset_and_comes_out_as_next_state() -> None:
    """No two tensors of a file have the same name."""
    policy = Interface([VECTOR], [CHOICE], NOISE, [CELLS], [Q_VALUES])
    assert names(policy.inputs) == ["observation", "noise", "cells", "reset"]
    assert names(policy.results) == ["action", "q_values", "next_cells"]
    assert policy.results[-1].shape == CELLS.shape


def test_without_noise_and_state_there_are_no_inputs_for_them() -> None:
    """Such a policy takes its observation and gives its action."""
    policy = Interface([VECTOR], [CHOICE], None, [], [])
    assert names(policy.inputs) == ["observation"]
    assert names(policy.results) == ["action"]


@pytest.mark.parametrize(
    ("action", "outputs", "judged"), [(CHOICE, [Q_VALUES], ["q_values"]), (CHOICE, [], []), (PUSH, [], ["action"])]
)
def test_a_policy_is_judged_by_q_values_or_continuous_actions(
    action: TensorSpec, outputs: Any, judged: list[str]
) -> None:
    """A discrete policy without Q-values has no output to be judged by."""
    assert Interface([VECTOR], [action], None, [], outputs).judged == judged


def test_a_manifest_without_the_newer_fields_is_still_read(tmp_path: Path) -> None:
    """The newer fields have defaults."""
    manifest = linear_policy(tmp_path).manifest
    assert (manifest.notes, manifest.compared_over) == ([], "visited")
    assert names(manifest.interface.inputs) == ["observation", "noise"]
