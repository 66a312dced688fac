"""What the contract says of a policy whose tensors have roles, and the action that its outputs give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.interface import Draw, Interface
from rlway_client.contract.parity import Arrays
from rlway_export.reference.roles import ActionPart, StatePart
from rlway_export.reference.tensor_interface import (
    action_specs,
    check_state,
    choose_action,
    contract_names,
    input_spec,
    make_interface,
    with_noise,
)

ROWS = 5
PARTS = [ActionPart("gear", "logits"), ActionPart("speed", "mean"), ActionPart("lane", "q_values")]
GIVEN: Arrays = {
    "gear": np.random.default_rng(0).standard_normal((ROWS, 3)),
    "speed": np.random.default_rng(1).standard_normal((ROWS, 2)).astype(np.float32),
    "lane": np.random.default_rng(2).standard_normal((ROWS, 4)).astype(np.float32),
}


def _interface(parts: list[ActionPart], own: list[Draw]) -> Interface:
    actions, scores = action_specs(parts, GIVEN, ROWS, "policy")
    return make_interface([input_spec("observation", (4,), "float32", ())], actions, [], scores, own)


def test_several_tensors_are_told_apart_by_their_own_names() -> None:
    """One alone has the plain name, and no path."""
    assert contract_names("action", ["a/b"]) == [("a/b", "action", ())]
    assert contract_names("action", ["a/b", "c"]) == [("a/b", "action_a_b", ("a/b",)), ("c", "action_c", ("c",))]


def test_pixels_have_the_bounds_of_their_type() -> None:
    """Of other numbers none are known."""
    pixels, numbers = (input_spec("observation", (2,), dtype, ()) for dtype in ("uint8", "float32"))
    assert (pixels.minimum, pixels.maximum) == (0.0, 255.0)
    assert (numbers.minimum, numbers.maximum) == (None, None)


@pytest.mark.parametrize("library", [np, tf], ids=["numpy", "tensorflow"])
def test_the_noise_of_the_scores_comes_after_that_of_the_own_draws(library: Any) -> None:
    """In the order of the action's parts; a part that is the action itself takes none."""
    interface = _interface(PARTS, [Draw("normal", 2)])
    assert [spec.name for spec in interface.outputs] == ["logits_gear", "q_values_lane"]
    noise = np.random.default_rng(3).standard_normal((ROWS, 2 + 3 + 4)).astype(np.float32)
    found = choose_action(PARTS, interface, dict(GIVEN), noise, library)
    scores = GIVEN["gear"].astype(np.float32)
    assert np.array_equal(found["logits_gear"], scores)
    assert np.array_equal(found["action_gear"], np.argmax(scores + noise[:, 2:5], axis=1))
    assert np.array_equal(found["action_speed"], GIVEN["speed"])
    assert np.array_equal(found["action_lane"], np.argmax(GIVEN["lane"] + noise[:, 5:], axis=1))


def test_without_noise_the_action_is_greedy() -> None:
    """It is the one with the largest score."""
    found = choose_action(PARTS[:1], _interface(PARTS[:1], []), GIVEN, None, np)
    assert np.array_equal(found["action"], np.argmax(GIVEN["gear"], axis=1))


@pytest.mark.parametrize(("parts", "own", "listed"), [(1, [], 0), (1, [Draw("gumbel", 3)], 2), (3, [], 2)])
def test_draws_are_listed_where_the_contract_does_not_know_them(parts: int, own: list[Draw], listed: int) -> None:
    """One draw for the scores of one discrete action is the contract's own rule."""
    interface = _interface(PARTS[:parts], own)
    assert len(interface.draws) == listed
    assert interface.noise is not None
    assert interface.noise.size == sum(draw.size for draw in interface.noise_draws)


def test_noise_is_drawn_only_for_a_policy_that_takes_it() -> None:
    """It replaces the noise that the inputs have."""
    inputs = {"observation": np.zeros((ROWS, 4), np.float32)}
    assert with_noise(_interface(PARTS[1:2], []), inputs, seed=0) is inputs
    interface = _interface(PARTS[:1], [])
    first = with_noise(interface, inputs, seed=0)["noise"]
    assert first.shape == (ROWS, 3)
    assert np.array_equal(with_noise(interface, inputs | {"noise": first + 1}, seed=0)["noise"], first)


@pytest.mark.parametrize(
    ("meaning", "value", "sentence"),
    [
        ("action", np.zeros(4), r"policy: out: expected an action for each of 5 observations, got float64\[4\]"),
        ("action", np.zeros((5, 0)), "expected an action for each of 5 observations"),
        ("action", np.zeros(5, np.complex64), "expected an action for each of 5 observations, got complex64"),
        ("logits", np.zeros((5, 1)), r"--as logits: expected a score .* in out, got the shape \[1\]"),
        ("q_values", np.zeros((5, 2, 2)), r"--as q_values: expected a score .* in out, got the shape \[2, 2\]"),
    ],
)
def test_an_output_that_is_no_action_is_refused(meaning: Any, value: Any, sentence: str) -> None:
    """With what it is, and with the option that names another."""
    with pytest.raises(ExportRefused, match=sentence):
        action_specs([ActionPart("out", meaning)], {"out": value}, ROWS, "policy")


def test_a_next_state_of_another_shape_is_refused() -> None:
    """The next step could not take it."""
    check_state(StatePart("h", "next_h"), (5, 8), (5, 8))
    with pytest.raises(ExportRefused, match=r"--state: next_h: expected .* \[5, 8\], got \[5, 4\]"):
        check_state(StatePart("h", "next_h"), (5, 8), (5, 4))
