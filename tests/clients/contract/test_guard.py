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
from tests.unfit_guards import FLAG, REAL, UNFIT, WHOLE, of

GUARD = Guard(schema_version=1, actions={"action": ActionLimits(maximum=1.0, safe=0.0)})


@pytest.mark.parametrize(
    ("specs", "content", "sentence"),
    UNFIT,
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
