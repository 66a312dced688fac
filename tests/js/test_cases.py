"""The JavaScript client in Node and in Chromium, against real servers and real bundles.

Each function of `cases/*.js` is a claim, and runs in both.
"""

from __future__ import annotations

import re

import pytest

from tests.js.conftest import CASES

NAMES = [name for case in CASES for name in re.findall(r"^export async function (\w+)", case.read_text(), re.MULTILINE)]


def test_every_claim_has_a_name_of_its_own() -> None:
    """Otherwise the result of one would be taken for that of the other."""
    assert len(NAMES) == len({*NAMES})


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_holds(name: str, results: dict[str, str | None]) -> None:
    """A case that the runtime did not run fails as well."""
    assert name in results, results
    assert results[name] is None, results[name]
