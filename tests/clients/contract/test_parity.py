"""How close the outputs of two files must be, tested with arrays alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rlway_client.contract.interface import Interface
from rlway_client.contract.output_ranges import OutputRanges
from rlway_client.contract.parity import Arrays, Tolerance, compare, limit_for
from rlway_client.contract.specs import TensorSpec
from tests.clients.contract.generated import THOROUGH
from tests.clients.contract.interfaces import OBSERVATION, ROWS, interfaces, make_rows

ACTION = TensorSpec("action", (2,), "float32", [-1.0, -100.0], [1.0, 100.0])
INPUTS: Arrays = {"observation": np.zeros((ROWS, 3), np.float32)}
LOGITS = TensorSpec("logits", (2,), "float32")
STEERING = Interface(OBSERVATION, [ACTION], None, [], [TensorSpec("scale", (2,), "float32")])


class Answering:
    """A runner that gives the same outputs for any input."""

    batch_sizes = (ROWS,)

    def __init__(self, answers: Arrays) -> None:
        self._answers = answers

    def run(self, inputs: Arrays) -> Arrays:  # noqa: ARG002
        return self._answers


def passes(interface: Interface, expected: Arrays, found: Arrays) -> bool:
    limit = limit_for(interface, Tolerance(1e-5), expected)
    (judged,) = compare("model.onnx", Answering(found), interface, limit, INPUTS, expected)
    return judged.passed


@pytest.mark.parametrize(("off_by", "passed"), [((1e-5, 1e-3), True), ((1e-4, 0.0), False), ((0.0, 1e-2), False)])
def test_each_action_is_judged_by_its_own_range(off_by: tuple[float, float], passed: bool) -> None:
    """An action with a range of 2 must be a hundred times as exact as one with a range of 200."""
    expected = {"action": np.zeros((ROWS, 2)), "scale": np.ones((ROWS, 2))}
    assert passes(STEERING, expected, expected | {"action": expected["action"] + off_by}) is passed


def test_every_further_output_has_to_be_finite() -> None:
    """A scale of NaN would spoil every sampled action."""
    expected = {"action": np.zeros((ROWS, 2)), "scale": np.ones((ROWS, 2))}
    assert passes(STEERING, expected, expected)
    assert not passes(STEERING, expected, expected | {"scale": np.full((ROWS, 2), np.nan)})


@THOROUGH
@given(interface=interfaces(), seed=st.integers(0, 100), share=st.floats(1e-7, 1e-2), data=st.data())
def test_every_output_is_judged_by_its_own_range(interface: Interface, seed: int, share: float, data: Any) -> None:
    """An output that is off by more than the tolerance, as a share of its range, fails the file; one within passes."""
    inputs, expected = make_rows(interface, seed)
    compared = [*interface.judged, *interface.info]
    assume(compared)
    name = data.draw(st.sampled_from(compared))
    ranges = OutputRanges.of(interface, expected, {}).by_name[name]
    place = tuple(data.draw(st.integers(0, n - 1)) for n in expected[name].shape)
    exact = {key: value.astype(np.float64) if value.dtype.kind == "f" else value for key, value in expected.items()}
    for factor, passed in ((0.9, True), (1.1, False)):
        found = {key: value.copy() for key, value in exact.items()}
        found[name][place] += factor * share * np.broadcast_to(ranges, exact[name].shape[1:])[place[1:]]
        limit = limit_for(interface, Tolerance(share), exact)
        (judged,) = compare("model.onnx", Answering(found), interface, limit, inputs, exact)
        assert judged.passed is passed
        assert judged.max_difference == pytest.approx(factor * limit.difference)


@THOROUGH
@given(interface=interfaces("discrete", scored=True), seed=st.integers(0, 100), data=st.data())
def test_a_discrete_part_may_change_only_between_near_ties(interface: Interface, seed: int, data: Any) -> None:
    """The two best of its own scores, with its own noise, have to be closer than the difference that is allowed."""
    inputs, expected = make_rows(interface, seed)
    choice = data.draw(st.sampled_from(interface.choices))
    assert choice.scores is not None
    row, element = data.draw(st.integers(0, ROWS - 1)), data.draw(st.integers(0, choice.action.size - 1))
    scores = expected[choice.scores.name].reshape(ROWS, choice.action.size, -1)
    noise = 0.0 if choice.noise is None else inputs["noise"][:, choice.noise].reshape(scores.shape)
    ranked = np.sort((scores + noise)[row, element])
    gap = float(ranked[-1] - ranked[-2])
    assume(gap > 1e-4)
    found = {name: value.copy() for name, value in expected.items()}
    found[choice.action.name].reshape(ROWS, -1)[row, element] += 1
    own_range = float(OutputRanges.of(interface, expected, {}).by_name[choice.scores.name])
    for factor, passed in ((1.1, True), (0.9, False)):
        limit = limit_for(interface, Tolerance(factor * gap / own_range), expected)
        (judged,) = compare("model.onnx", Answering(found), interface, limit, inputs, expected)
        assert (judged.passed, judged.argmax_flips) == (passed, 1)


def test_a_changed_action_without_scores_fails() -> None:
    """Nobody knows how near it was; the scores of the other part say nothing of it."""
    parts = [TensorSpec(f"action_{i}", (), "int64", 0, 1, (str(i),)) for i in range(2)]
    interface = Interface(OBSERVATION, parts, None, [], [TensorSpec("logits_0", (2,), "float32")])
    expected: Arrays = {"action_0": np.zeros(ROWS, np.int64), "action_1": np.zeros(ROWS, np.int64)}
    expected["logits_0"] = np.zeros((ROWS, 2), np.float32)
    assert passes(interface, expected, expected | {"action_0": np.ones(ROWS, np.int64)})
    assert not passes(interface, expected, expected | {"action_1": np.ones(ROWS, np.int64)})


def test_rows_are_counted_once_whatever_changed_in_them() -> None:
    """`argmax_flips` counts rows of which any discrete part has changed."""
    parts = [TensorSpec("action_a", (2,), "int64", 0, 1, ("a",)), TensorSpec("action_b", (), "int64", 0, 1, ("b",))]
    interface = Interface(OBSERVATION, parts, None, [], [])
    expected = {"action_a": np.zeros((ROWS, 2), np.int64), "action_b": np.zeros(ROWS, np.int64)}
    found = {name: value.copy() for name, value in expected.items()}
    found["action_a"][:2] = 1
    found["action_b"][1:3] = 1
    limit = limit_for(interface, Tolerance(1e-5, 0.25), expected)
    (judged,) = compare("model.onnx", Answering(found), interface, limit, INPUTS, expected)
    assert (judged.argmax_flips, judged.passed) == (3, True)
    assert judged.threshold == "at most 25% of the actions changed"


def test_what_is_told_of_another_action_is_not_compared() -> None:
    """The log-probability of a near tie's other action differs; of the same one it may be as infinite as it was."""
    told = TensorSpec("info_log_probability", (), "float32")
    interface = Interface(OBSERVATION, [TensorSpec("action", (), "int64", 0, 1)], None, [], [LOGITS, told])
    expected: Arrays = {"action": np.zeros(ROWS, np.int64), "logits": np.zeros((ROWS, 2), np.float32)}
    expected["info_log_probability"] = np.full(ROWS, -np.inf, np.float32)
    found = {name: value.copy() for name, value in expected.items()}
    assert passes(interface, expected, found)
    found["info_log_probability"][0] = -2.0
    assert not passes(interface, expected, found)
    found["action"][0] = 1
    assert passes(interface, expected, found)


def test_masked_scores_do_not_widen_what_is_allowed() -> None:
    """A choice that is not allowed has the score −3.4e38, of which no other score is a share."""
    interface = Interface(OBSERVATION, [TensorSpec("action", (), "int64", 0, 1)], None, [], [LOGITS])
    logits = np.tile(np.array([np.finfo(np.float32).min, 1.0], np.float32), (ROWS, 1))
    expected: Arrays = {"action": np.ones(ROWS, np.int64), "logits": logits}
    assert passes(interface, expected, expected)
    assert not passes(interface, expected, expected | {"logits": logits + np.array([0, 1e-3], np.float32)})
    assert not passes(interface, expected, expected | {"logits": logits * np.array([-1, 1], np.float32)})


def test_an_excerpt_is_judged_as_all_rows_were() -> None:
    """The largest values are kept with the limits, so that fewer rows do not have to be more exact."""
    parts = [TensorSpec(f"action_{i}", (), "float32", path=(str(i),)) for i in range(2)]
    interface = Interface(OBSERVATION, parts, None, [], [])
    expected = {"action_0": np.linspace(0, 50, ROWS), "action_1": np.linspace(0, 2, ROWS)}
    found = {name: value + 1e-5 for name, value in expected.items()}
    limit = limit_for(interface, Tolerance(1e-5), expected)
    assert limit.largest == {"action_0": 50, "action_1": 2}
    (whole,) = compare("model.onnx", Answering(found), interface, limit, INPUTS, expected)
    few = [{name: value[:1] for name, value in part.items()} for part in (expected, found)]
    (part,) = compare("model.onnx", Answering(few[1]), interface, limit, INPUTS, few[0])
    assert part.max_difference == pytest.approx(whole.max_difference)
