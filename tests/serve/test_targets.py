"""A second of what `python -m tests.guided` does for hours: its first inputs, changed here and there."""

from __future__ import annotations

import random

import pytest

from tests.guided import TARGETS
from tests.targets import Bodies, open_target, split

CHANGES = 150


@pytest.mark.parametrize("target", TARGETS)
def test_promises_hold_near_what_is_sound(target: str) -> None:
    """Lanes, cuts, decoders and readers agree on inputs that are nearly right."""
    check, seeds = open_target(target)
    generator = random.Random(1)
    for seed in seeds:
        check(seed)
    for _ in range(CHANGES):
        data = bytearray(generator.choice(seeds))
        for _ in range(generator.randrange(1, 4)):
            at = generator.randrange(len(data))
            data[at : at + generator.randrange(3)] = generator.randbytes(generator.randrange(3))
            if not data:
                break
        check(bytes(data))


def test_packets_are_the_whole() -> None:
    """Wherever they are cut."""
    for places in (b"", b"\0\0", b"\xff\x01\x80"):
        assert b"".join(split(b"0123456789", places)) == b"0123456789"


def test_the_second_reading_sees_a_difference() -> None:
    """A reading that promised another answer than the decoder's would be told."""
    bodies = Bodies()
    manifest, decoder, form = bodies._known[0]
    bodies._known[0] = (bodies._known[2][0], decoder, form)
    with pytest.raises(AssertionError, match=r"expected Reading\(refusals=\{422\}"):
        bodies.check(b'\0\0{"observation": [1, 2, 3, 4]}')
    assert manifest.policy == "floats"
