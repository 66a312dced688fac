"""A second of what `python -m tests.guided` does for hours: its first inputs, changed here and there."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.manifest import decode_manifest
from tests.guided import TARGETS
from tests.targets import Bodies, Bundles, open_target, split

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


@pytest.mark.parametrize("part", ["observation", "action", "noise", "outputs"])
def test_a_manifest_of_impossible_tensors_is_refused_in_a_sentence(tmp_path: Path, part: str) -> None:
    """A dimension beyond any memory, as a damaged byte makes it."""
    bundles = Bundles(tmp_path)
    manifest = json.loads(bundles.manifest)
    for size in (2**63, 2**62, 2**30, 2**20):
        spec = manifest[part][0] if isinstance(manifest[part], list) else manifest[part]
        spec["shape"] = [size]
        bundles.check_manifest(json.dumps(manifest).encode())
    with pytest.raises(BundleInvalid, match="elements"):
        spec["shape"] = [2**40]
        decode_manifest(json.dumps(manifest).encode(), "manifest.json")


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
