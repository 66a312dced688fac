"""A few cells of the table that benchmarks/policies_in_the_wild.py makes of all agents, ages and ways to save them."""

from __future__ import annotations

import pytest

from benchmarks.policies_in_the_wild import EQUAL, Cell, table, tried
from rlway_export.checks import sampling

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    chosen = [
        (["ppo-mixed"], ["collect"], ["2.5", "2.3"], ["any", "1"]),
        (["recurrent-dqn"], ["collect"], ["2.5"], ["1"]),
        (["td3"], ["collect"], ["today"], ["any"]),
        (["ddpg"], ["collect"], ["today"], ["any"]),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "ROWS", 512)  # a policy that was saved for one row draws one after the other
        return [cell for part in chosen for cell in tried(*part)]


def test_what_people_save_is_exported_or_refused_with_the_reason(cells: list[Cell]) -> None:
    """Old files of mixed actions, fixed batches with state, noise that all rows share; and noise that has a memory."""
    assert [cell.result for cell in cells[:-1]] == [EQUAL] * 6
    assert "changes a variable while it acts" in cells[-1].result
    assert not any(cell.crashed for cell in cells)


def test_the_table_counts_them(cells: list[Cell]) -> None:
    """Each reason once, by its number."""
    lines = table(cells).splitlines()
    assert lines[0].startswith("| agent | policy | today, batch any |")
    assert "| ppo of a mixed action | collect |  | equal | equal | equal | equal |" in lines
    assert lines[-2] == "6 of 7 are equal, 1 are refused."
    assert lines[-1].startswith("(1) changes a variable while it acts")
