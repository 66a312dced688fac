"""When the server answers and when the local side does, over any order of failures and probes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from rlway_client.remote.fallback.switch import CALM_S, MOST_PROBES, Switch

PROBES = 3
EVENTS = st.lists(st.tuples(st.sampled_from(["fail", "good", "bad"]), st.floats(0, 2 * CALM_S)), max_size=400)


@settings(deadline=None)
@given(EVENTS)
def test_it_goes_back_only_after_enough_good_probes_in_a_row(events: list[tuple[str, float]]) -> None:
    """A failure soon after the return doubles their number, up to a limit; a late one does not."""
    now_s = 0.0
    told: list[str] = []
    switch = Switch(PROBES, lambda side, _: told.append(side), clock=lambda: now_s)
    row, needed, back_s = 0, 1, None
    for event, after_s in events:
        now_s += after_s
        if event == "fail":
            if switch.side == "server":
                soon = back_s is not None and now_s - back_s < CALM_S
                needed = min(2 * max(needed, PROBES), MOST_PROBES) if soon else PROBES
            switch.fail("late")
            row = 0
            assert switch.side == "local"
        else:
            switch.probed(None if event == "good" else "late")
            row = row + 1 if event == "good" else 0
        assert switch.is_proved == (row >= needed)
        if switch.side == "local" and switch.is_proved:
            switch.give_back()
            back_s = now_s
    sides = ["local", *told]
    assert all(one != other for one, other in pairwise(sides))
    assert switch.counts.changes == len(told)
