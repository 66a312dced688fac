"""A few seconds of what `python -m tests.fuzz` does for hours."""

from __future__ import annotations

import pytest

from tests.fuzz import Framed, fuzz, split_answers
from tests.servers import Server


@pytest.mark.parametrize("seed", [1, 2])
def test_odd_requests_are_answered_alike_by_both_lanes(linear: Server, seed: int) -> None:
    """No 5xx, no difference, no connection without an end."""
    findings = fuzz(linear, 1500, seed)
    assert findings.failures == []
    assert {200, 400, 404, 415, 422, 431} <= set(findings.statuses)
    assert "Traceback" not in linear.log.read_text()


def test_the_fuzzer_sees_what_is_no_answer() -> None:
    """Whole answers are told apart, and pieces of one are a fault."""
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"
    assert split_answers(whole * 2) == [Framed(200, b"ab")] * 2
    for broken in (whole[:-1], whole + b"H", b"HELO 200 x\r\n\r\n"):
        with pytest.raises((ValueError, IndexError)):
            split_answers(broken)
