"""A second of what `python -m tests.serve.protocols.tfs.fuzz` does for minutes."""

from __future__ import annotations

from pathlib import Path

from tests.serve.protocols.tfs.fuzz import fuzz


def test_odd_bodies_are_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    """Four policies read each body; what is plain to one reader means the same to the other."""
    readers = fuzz(tmp_path / "models", 3000, 1)
    assert readers.failures == []
    assert {"plain", "read", "INVALID_ARGUMENT 400", "OUT_OF_RANGE 400"} == set(readers.counts)
    assert min(readers.counts.values()) >= 50
