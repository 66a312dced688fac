"""The numbers of the README come from a measurement, and not from a hand."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.demos import README, RECORD, with_block
from demo import typical

ROOT = Path(__file__).parents[2]


def test_the_readme_shows_what_the_record_says() -> None:
    """`benchmarks/demos.py --write-only` would change nothing."""
    readme = README.read_text()
    assert with_block(readme, json.loads(RECORD.read_text())) == readme


def test_the_demo_names_median_and_range() -> None:
    demos = [{"wall_s": wall_s, "steps": steps} for wall_s, steps in ((31.4, 9_000), (52.0, 8_000), (33.3, 26_000))]
    line = typical({"processor": "Example 9", "cpus": 2, "demos": demos})
    assert line == "typical: 33 s (31 to 52) and 9,000 steps (8,000 to 26,000), over 3 seeds on 2 cores of an Example 9"
