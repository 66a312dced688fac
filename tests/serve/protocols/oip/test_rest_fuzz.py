"""A second of what `python -m tests.serve.protocols.oip.fuzz_rest` does for as long as one likes."""

from __future__ import annotations

from pathlib import Path

from tests.serve.protocols.oip.fuzz_rest import fuzz, open_decoding


def test_nearly_valid_requests_are_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    """Nothing else happens, and the plain way reads what the general way reads, and writes the same answer."""
    outcomes, failures = fuzz(open_decoding(tmp_path), 10_000, 1)
    assert failures == []
    assert {"read", "plain", "RequestMalformed", "SpecViolated", "BodyTooLarge"} == set(outcomes)
