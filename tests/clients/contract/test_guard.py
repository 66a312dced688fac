"""The guard of a bundle: what it may say, and that it is held against the policy's specs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import BundleInvalid, UsageError
from rlway_client.contract.guard import ActionLimits, Guard, decode_guard, encode_guard, read_guard
from rlway_client.contract.specs import TensorSpec
from tests.bundles import gaussian_policy
from tests.clients.contract.generated import THOROUGH
from tests.guards import Case, guard_cases
from tests.replaying import guarded

REAL = [TensorSpec("action", (2,), "float32", -2, [2, 3])]
WHOLE = [TensorSpec("action", (), "int64", 0, 3)]
FLAG = [TensorSpec("action_on", (), "bool", path=("on",)), TensorSpec("action_to", (), "uint64", path=("to",))]
GUARD = Guard(schema_version=1, actions={"action": ActionLimits(maximum=1.0, safe=0.0)})


def of(limits: dict[str, Any], name: str = "action", **rules: Any) -> dict[str, Any]:
    return {"schema_version": 1, "actions": {name: limits}} | rules


@pytest.mark.parametrize(
    ("specs", "content", "sentence"),
    [
        (REAL, b"{", "guard.json: not JSON: "),
        (REAL, b"\xff", "guard.json: not JSON: "),
        (REAL, b"[" * 100_000, "guard.json: not JSON: "),
        (REAL, [], "expected a guard of schema_version 1, got None; docs/guard.md shows one."),
        (REAL, {"schema_version": 2}, "expected a guard of schema_version 1, got 2; docs/guard.md shows one."),
        (REAL, {"schema_version": True}, "expected a guard of schema_version 1, got True; docs/guard.md shows one."),
        (REAL, {"schema_version": 1}, "guard.json: Object missing required field `actions`."),
        (REAL, of({"max": 1}), "unknown field `max`"),
        (REAL, of({"safe": 0}, non_finite="clamp"), "Invalid enum value 'clamp' - at `$.non_finite`."),
        (REAL, of({"safe": 0}, "act"), "actions: expected names of the policy's action tensors (action), got 'act'."),
        (REAL, of({"minimum": float("nan")}), "actions.action.minimum: expected finite float32, got NaN."),
        (REAL, of({"maximum": [1, float("inf")]}), "maximum[1]: expected finite float32, got Infinity."),
        (REAL, of({"maximum": 10**400}), "maximum: expected finite float32, got a number of 401 digits."),
        (
            REAL,
            of({"maximum": True}),
            "Expected `int | float | array | null`, got `bool` - at `$.actions[...].maximum`.",
        ),
        (REAL, of({"safe": False}), "actions.action.safe: expected float32, got false."),
        (REAL, of({"minimum": [1]}), "minimum: expected one number, or 2 for float32[2], got 1."),
        (REAL, of({"maximum": 1}), "actions.action.safe: expected an action, which non_finite: hold needs, got none."),
        (
            REAL,
            of({}, out_of_range="safe", non_finite="refuse"),
            "an action, which out_of_range: safe needs, got none.",
        ),
        (REAL, of({"safe": 1.5, "maximum": 1}), "safe[0]: expected -2 to 1, within the limits and the policy's bounds"),
        (
            REAL,
            of({"safe": [2, 3.5]}),
            "safe[1]: expected -2 to 3, within the limits and the policy's bounds, got 3.5.",
        ),
        (REAL, of({"minimum": 1, "maximum": 0, "safe": 1}), "minimum[0]: expected at most 0, the maximum, got 1."),
        (
            REAL,
            of({"minimum": -3, "safe": 0}),
            "minimum[0]: expected -2 to 2, the policy's bounds, got -3: never acts.",
        ),
        (
            REAL,
            of({"maximum": 2.5, "safe": 0}),
            "maximum[0]: expected -2 to 2, the policy's bounds, got 2.5: never acts.",
        ),
        (REAL, of({"minimum": [0, 4], "safe": 0}), "minimum[1]: expected -2 to 3, the policy's bounds, got 4: refuses"),
        (REAL, of({"maximum": -9, "safe": 0}), "the policy's bounds, got -9: refuses every action."),
        (REAL, of({"change_per_step": 0, "safe": 0}), "change_per_step[0]: expected a change above 0, got 0."),
        (REAL, of({"change_per_second": -1, "safe": 0}), "change_per_second[0]: expected a change above 0, got -1."),
        (REAL, of({"change_per_step": 1e-60, "safe": 0}), "change_per_step[0]: expected a change above 0, got 0."),
        (REAL, of({"change_per_step": 4.5, "safe": 0}), "expected at most 4, as wide as the policy's bounds, got 4.5"),
        (WHOLE, of({"maximum": 1.5, "safe": 0}), "maximum: expected a whole number, as the action is int64, got 1.5."),
        (WHOLE, of({"safe": 0.5}), "actions.action.safe: expected a whole number, as the action is int64, got 0.5."),
        (WHOLE, of({"maximum": 2**70, "safe": 0}), "got 1180591620717411303424: never acts."),
        (
            FLAG,
            of({"minimum": 0}, "action_on", non_finite="refuse"),
            "expected only `safe`, since an action of bool has no",
        ),
        (
            FLAG,
            of({"maximum": 9}, "action_to", non_finite="refuse"),
            "since an action of uint64 has no limits, got limits.",
        ),
        (FLAG, of({"safe": 1}, "action_on"), "actions.action_on.safe: expected true or false, got 1."),
        (FLAG, of({"safe": True}, "action_on"), "actions.action_to.safe: expected an action, which non_finite: hold"),
    ],
)
def test_a_guard_that_does_not_fit_is_refused_in_one_sentence(
    specs: list[TensorSpec], content: Any, sentence: str, tmp_path: Path
) -> None:
    """It says what is wrong and where."""
    file = tmp_path / "guard.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(UsageError) as refused:
        read_guard(file, specs, UsageError)
    said = str(refused.value)
    assert sentence in said
    assert said.startswith(str(file))
    assert said.endswith(".")
    assert len(said) - len(str(tmp_path)) < 250


def test_limits_may_be_tighter_than_the_spec_or_as_wide(tmp_path: Path) -> None:
    """One number stands for all elements; null is no limit; a change of whole numbers per second may be a fraction."""
    real = {
        "minimum": [-2, 0.5],
        "maximum": [None, 3],
        "change_per_step": 4,
        "change_per_second": [None, 1e9],
        "safe": 1,
    }
    file = tmp_path / "guard.json"
    file.write_text(json.dumps(of(real, too_fast="refuse")))
    assert read_guard(file, REAL).limits_changes
    assert decode_guard(json.dumps(of({"change_per_second": 0.5, "safe": 3})).encode(), "", WHOLE).limits_changes
    nothing = {"change_per_step": [None, None], "safe": 0}
    assert not decode_guard(json.dumps(of(nothing)).encode(), "", REAL).limits_changes


@THOROUGH
@given(guard_cases(most_steps=1))
def test_a_written_guard_is_read_as_it_was(case: Case) -> None:
    assert decode_guard(encode_guard(case.guard), "guard.json", case.specs) == case.guard


@THOROUGH
@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda some: st.lists(some, max_size=3))
)
def test_any_limit_is_taken_or_refused_in_a_sentence(value: Any) -> None:
    """Nothing but BundleInvalid comes of it."""
    for name in ("minimum", "change_per_second", "safe"):
        content = json.dumps(of({"safe": 0} | {name: value})).encode()
        for specs in (REAL, WHOLE):
            try:
                decode_guard(content, "guard.json", specs)
            except BundleInvalid as error:
                assert str(error).startswith("guard.json: ")  # noqa: PT017


def test_a_bundle_holds_its_guard_against_its_manifest(tmp_path: Path) -> None:
    """A guard that contradicts it, one that is missing, and one that the manifest does not name."""
    bundle = gaussian_policy(tmp_path)
    assert bundle.read_guard() is None
    assert guarded(bundle, GUARD).read_guard() == GUARD
    assert Bundle.open(bundle.path).read_guard() == GUARD
    guarded(bundle, Guard(schema_version=1, actions={"action": ActionLimits(maximum=9.0, safe=0.0)}))
    with pytest.raises(BundleInvalid, match=r"guard\.json: actions\.action\.maximum\[0\]: .* never acts"):
        Bundle.open(bundle.path)
    (bundle.path / "guard.json").unlink()
    with pytest.raises(BundleInvalid, match=r"guard\.json: missing"):
        Bundle.open(bundle.path)
    stray = gaussian_policy(tmp_path / "stray")
    (stray.path / "guard.json").write_bytes(encode_guard(GUARD))
    with pytest.raises(BundleInvalid, match=r"guard\.json: not in the manifest, so it would not apply"):
        Bundle.open(stray.path)


def test_safe_actions_of_every_kind_are_kept_as_they_are() -> None:
    """Flags as well, and numbers that float64 cannot hold."""
    largest = 2**64 - 1
    content = {"schema_version": 1, "actions": {"action_on": {"safe": True}, "action_to": {"safe": largest}}}
    found = decode_guard(json.dumps(content).encode(), "", FLAG)
    assert (found.actions["action_on"].safe, found.actions["action_to"].safe) == (True, largest)
    assert np.array(found.actions["action_to"].safe, np.uint64) == largest
