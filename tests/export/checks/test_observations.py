"""What a bundle says of the observations of its training, so that a server can notice different ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.manifest import decode_manifest, encode_manifest
from rlway_client.contract.parity import Arrays
from rlway_client.local.onnx_metadata import read_manifest
from rlway_export.checks.observations import MOST_RANGES, Observations, Origin

pytestmark = pytest.mark.slow


def test_the_range_of_every_visited_value_is_in_the_manifest(trained_run: Path, bundle: Bundle) -> None:
    """Over all that the run has recorded, to the bit; the copy in the ONNX file has the same."""
    rows = np.load(trained_run / "observations.npz")["observation"]
    (observed,) = bundle.manifest.observed
    assert (observed.name, observed.rows) == ("observation", len(rows))
    assert observed.minimum == rows.min(axis=0).tolist()
    assert observed.maximum == rows.max(axis=0).tolist()
    assert read_manifest(bundle.path / "model.onnx").observed == bundle.manifest.observed


def test_an_image_has_one_range_and_every_other_input_one_per_value() -> None:
    """Values of several dimensions are in row-major order, booleans are 0 and 1."""
    generator = np.random.default_rng(0)
    arrays: Arrays = {
        "camera": generator.integers(3, 200, (50, 16, 16, 3), np.uint8),
        "joints": generator.normal(size=(50, 2, 3)).astype(np.float16),
        "speed": np.arange(50),
        "touching": np.arange(50) > 60,
        "lidar": generator.random((50, MOST_RANGES)),
    }
    camera, joints, speed, touching, lidar = Observations(arrays, "given").ranges()
    assert (camera.minimum, camera.maximum) == (3, 199)
    assert joints.minimum == arrays["joints"].reshape(50, 6).min(axis=0).tolist()
    assert (speed.minimum, speed.maximum) == ([0], [49])
    assert (touching.minimum, touching.maximum) == ([0], [0])
    assert isinstance(lidar.maximum, list)
    assert len(lidar.maximum) == MOST_RANGES


@pytest.mark.parametrize(("origin", "told"), [("visited", 1), ("given", 1), ("sampled", 0)])
def test_sampled_observations_give_no_ranges(origin: Origin, told: int) -> None:
    """They fill the bounds, whatever the policy was trained on."""
    assert len(Observations({"observation": np.zeros((3, 4), np.float32)}, origin).ranges()) == told


def test_an_older_manifest_without_ranges_can_be_read(bundle: Bundle) -> None:
    """It has no ranges."""
    old = encode_manifest(bundle.manifest).replace(b'"observed"', b'"something else"')
    assert decode_manifest(old, "manifest.json").observed == []
