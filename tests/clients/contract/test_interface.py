"""What a policy takes and gives, by name and in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlway_client.contract.interface import Choice, Draw, Interface
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


def test_each_discrete_action_has_its_own_scores_and_noise() -> None:
    """The scores have the action's suffix; the draws are in the order of the actions."""
    gear, push = TensorSpec("action_gear", (2,), "int64", path=("gear",)), TensorSpec("action_a", (), "float32")
    mode = TensorSpec("action_mode", (), "int64", path=("mode",))
    scores = [TensorSpec("logits_gear", (2, 3), "float32"), TensorSpec("q_values_mode", (4,), "float32")]
    draws = [Draw("gumbel", 6), Draw("normal", 1), Draw("gumbel", 4)]
    policy = Interface([VECTOR], [gear, push, mode], TensorSpec("noise", (11,), "float32"), [], scores, (), draws)
    assert policy.choices == [Choice(gear, scores[0], slice(0, 6)), Choice(mode, scores[1], slice(7, 11))]
    assert policy.judged == ["action_a", "logits_gear", "q_values_mode"]
    fewer = policy._replace(draws=[Draw("normal", 7), Draw("gumbel", 4)])
    assert [choice.noise for choice in fewer.choices] == [None, None]


def test_scores_of_another_shape_belong_to_no_action() -> None:
    """A discrete action needs a row of scores for each of its elements."""
    for shape in ((), (3,), (3, 2)):
        two = TensorSpec("action", (2,), "int64")
        (choice,) = Interface([VECTOR], [two], None, [], [TensorSpec("logits", shape, "float32")]).choices
        assert choice == Choice(two, None, None)


def test_what_a_policy_reads_of_the_time_step_follows_the_noise() -> None:
    """The order of a file's inputs."""
    policy = Interface([VECTOR], [CHOICE], NOISE, [CELLS], [], [TensorSpec("reward", (), "float32")])
    assert names(policy.inputs) == ["observation", "noise", "reward", "cells", "reset"]
    assert policy.noise_draws == [Draw("gumbel", 2)]


def test_what_is_told_of_the_action_may_be_one_tensor_or_several() -> None:
    """Each is compared like an action; other outputs only have to be finite."""
    outputs = [TensorSpec(name, (), "float32") for name in ("q_values", "loc", "info", "info_log_probability")]
    assert Interface([VECTOR], [CHOICE], None, [], outputs).info == ["info", "info_log_probability"]
