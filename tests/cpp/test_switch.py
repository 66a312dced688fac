"""When the server answers and when the local side does, in C++ and in Python."""

from __future__ import annotations

import random
from functools import partial

from rlway_client.remote.fallback.switch import Switch
from tests.cpp.compiled import Driver


def test_the_switch_is_that_of_the_python_client(driver: Driver) -> None:
    """Over any order of failures and probes, with any time between them."""
    generator = random.Random(28)
    for _ in range(100):
        events = [(generator.choice(["fail", "good", "good", "bad"]), 5 * generator.random()) for _ in range(200)]
        clock = [0.0]
        switch = Switch(3, clock=partial(clock.__getitem__, 0))
        expected = []
        for event, after_s in events:
            clock[0] += after_s
            if event == "fail":
                switch.fail("late")
            else:
                switch.probed(None if event == "good" else "late")
            if switch.side == "local" and switch.is_proved:
                switch.give_back()
            expected.append([switch.side, switch.needed, switch.counts.changes])
        assert driver.tell("switch", *(f"{event} {after_s!r}" for event, after_s in events)) == expected
