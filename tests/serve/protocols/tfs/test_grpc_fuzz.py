"""A second of what `python -m tests.fuzz_rpc --protocol tfs` does for as long as one likes."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz_rpc import fuzz

OUTCOMES = {"read", "plain", "RequestMalformed", "SpecViolated", "BodyTooLarge", "NotFound"}


def test_nearly_valid_messages_are_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    """Nothing else happens, and the plain way reads what the general way reads, and writes the same answer."""
    outcomes, failures = fuzz("tfs", tmp_path, 5_000, 1)
    assert failures == []
    assert set(outcomes) == OUTCOMES
