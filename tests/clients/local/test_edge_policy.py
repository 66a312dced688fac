"""A policy in this process: which observations it takes, and which files it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from rlway_client import EdgePolicy
from rlway_client.contract.errors import BundleInvalid, SpecViolated, UsageError
from rlway_client.contract.manifest import encode_manifest
from rlway_client.contract.specs import TensorSpec
from tests.weighing import BLACKJACK, PAIR, ROBOT, weighing_policy

pytest.importorskip("ai_edge_litert")

CAMERA = np.zeros((2, 2), np.uint8)
VECTOR = TensorSpec("observation", (3,), "float32")
CARD = TensorSpec("observation", (2,), "int64", 0, 9, lookup_minimum=0, lookup_maximum=[9, 3])
TWO = [TensorSpec("at", (3,), "float32", path=("at",)), TensorSpec("on", (), "bool", path=("on",))]
FLAGS = TensorSpec("observation", (2,), "bool")
PIXELS = TensorSpec("observation", (2,), "uint8", 0, 255)


@pytest.mark.parametrize(
    ("specs", "observation", "action"),
    [
        (BLACKJACK, (14, 10, 1), 0),
        (BLACKJACK, [-14, 0, 0], 1),
        (BLACKJACK, np.array([-14, 0, 0]), 1),
        (BLACKJACK, {"0": -14, "1": 0, "2": True}, 0),
        (ROBOT, {"camera": CAMERA, "flags": (0,), "pose": ([0.5, -1.0], -2.0)}, 1),
        (ROBOT, {"camera": CAMERA.tolist(), "flags": [np.int8(1)], "pose": (np.zeros(2), np.float64(-0.1))}, 0),
        (PAIR, ([0, 0], {"hit": 2, "near": [-0.5]}), 0),
        (PAIR, ([0, 0], {"hit": False, "near": [-0.5]}), 1),
        ([VECTOR], (0.5, -1, 0), 1),
        ([VECTOR], [1, 2, 3], 0),
    ],
)
def test_it_acts_on_what_the_environment_gives(
    specs: list[TensorSpec], observation: Any, action: int, tmp_path: Path
) -> None:
    """The sign of a weighted sum decides, so every value has to reach its input."""
    assert EdgePolicy(weighing_policy(tmp_path, specs).path).act(observation) == action


@pytest.mark.parametrize(
    ("specs", "observation", "path"),
    [
        (BLACKJACK, (14, 10), "observation"),
        (BLACKJACK, (14, 10.5, 1), 'observation["1"]'),
        (BLACKJACK, 14, "observation"),
        (ROBOT, {"camera": CAMERA, "flags": (0,)}, 'observation["pose"]'),
        (ROBOT, {"camera": CAMERA, "flags": (0,), "pose": ([1.0, np.nan], 0)}, 'observation["pose"]["0"][1]'),
        (ROBOT, {"camera": CAMERA, "flags": (0,), "pose": ([1, 1], 0), "rear": CAMERA}, 'observation["rear"]'),
        ([VECTOR], (1, 2), "observation"),
        ([VECTOR], ((1, 2), 3, 4), "observation[0]"),
        ([VECTOR], (1, 2, "3"), "observation[2]"),
        ([VECTOR], (1, 2, None), "observation[2]"),
        ([VECTOR], np.array([1, 2, 1e39]), "observation[2]"),
        ([PIXELS], [0, 256], "observation[1]"),
        ([PIXELS], np.array([-1, 0]), "observation[0]"),
        ([PIXELS], [0, 0.5], "observation[1]"),
        ([PIXELS], np.array([np.nan, 0]), "observation[0]"),
        ([PIXELS], [0, 2**70], "observation[1]"),
        ([CARD], [10, 0], "observation[0]"),
        ([CARD], np.array([9, 4]), "observation[1]"),
        ([CARD], (9, -1), "observation[1]"),
    ],
)
def test_an_observation_that_does_not_fit_is_refused_by_its_path(
    specs: list[TensorSpec], observation: Any, path: str, tmp_path: Path
) -> None:
    """Nothing is cut or rounded, and nothing is looked up outside its table."""
    with pytest.raises(SpecViolated) as refused:
        EdgePolicy(weighing_policy(tmp_path, specs).path).act(observation)
    assert refused.value.faults[0].path == path
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("spec", "observation"),
    [(CARD, [9, 3]), (PIXELS, np.array([255.0, 0.0])), (FLAGS, np.array([255, 0], np.uint8)), (FLAGS, [0.5, 0])],
)
def test_an_observation_that_fits_is_taken_in_any_dtype(spec: TensorSpec, observation: Any, tmp_path: Path) -> None:
    """Whole numbers in floats, bounds inclusive, and any number but 0 is true."""
    assert EdgePolicy(weighing_policy(tmp_path, [spec]).path).act(observation) == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"state": [TensorSpec("cells", (8,), "float32")]}, "input cells: expected .*, got none"),
        (
            {"observation": [*TWO, TensorSpec("more", (1,), "float32", path=("more",))]},
            "input more: expected .*, got none",
        ),
        (
            {"observation": [TensorSpec("observation", (4,), "float32")]},
            r"expected float32\[1, 4\].*got float32\[1, 3\]",
        ),
        ({"observation": [TensorSpec("observation", (3,), "float64")]}, "expected float64.*got float32"),
        ({"observation": [TensorSpec("seen", (3,), "float32")]}, "input seen: expected"),
        ({"outputs": [TensorSpec("loc", (2,), "float32")]}, "output loc: expected"),
        ({"noise": TensorSpec("noise", (2,), "float32")}, "input noise: expected"),
    ],
)
def test_a_file_that_is_not_as_its_manifest_says_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    """It would run with a tensor left out, or fail at the first action."""
    bundle = weighing_policy(tmp_path, TWO if change.get("observation", [])[1:] else [VECTOR])
    manifest = msgspec.structs.replace(bundle.manifest, **change)
    (bundle.path / "manifest.json").write_bytes(encode_manifest(manifest))
    with pytest.raises(BundleInvalid, match=says):
        EdgePolicy(bundle.path)


def test_without_a_runtime_it_says_what_to_install_and_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With neither LiteRT nor TensorFlow installed."""
    bundle = weighing_policy(tmp_path, [VECTOR])
    for module in ("ai_edge_litert", "ai_edge_litert.interpreter", "tensorflow"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=r"needs LiteRT.* install 'rlway-client\[edge\]' .* of \.venv or \.venv-train"):
        EdgePolicy(bundle.path)


def test_a_policy_goes_on_when_its_file_is_cut_short(tmp_path: Path) -> None:
    """It is read whole: a mapped file would end the process."""
    bundle = weighing_policy(tmp_path, [VECTOR])
    policy = EdgePolicy(bundle.path)
    (bundle.path / "model.tflite").write_bytes(b"")
    assert policy.act((0.5, -1, 0)) == 1
