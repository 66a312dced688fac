"""How close the outputs of two files must be, tested with arrays alone."""

from __future__ import annotations

import numpy as np
import pytest

from rlway_client.contract.interface import Interface
from rlway_client.contract.parity import Arrays, Tolerance, compare, limit_for
from rlway_client.contract.specs import TensorSpec

ROWS = 8
OBSERVATION = [TensorSpec("observation", (3,), "float32")]
ACTION = TensorSpec("action", (2,), "float32", [-1.0, -100.0], [1.0, 100.0])
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
    inputs = {"observation": np.zeros((ROWS, 3), np.float32)}
    (judged,) = compare("model.onnx", Answering(found), interface, limit, inputs, expected)
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
