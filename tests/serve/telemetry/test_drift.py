"""Drift: counting observed values outside the ranges of the training."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest, Observed
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_serve.telemetry.drift import CHECK_EVERY_S, Drift
from tests.bundles import linear_policy, robot_policy
from tests.serve.process.test_supervisor import connect_to_each, worker_pids
from tests.serve.registry.test_startup import edit_manifest, fail_to_serve
from tests.servers import Server, act_request, get_request, read_metrics, running_server

VALUES, OUTSIDE = "rlway_observation_values_total", "rlway_observation_out_of_range_total"
UNIT_RANGE = {"name": "observation", "rows": 2048, "minimum": [-1, -1, -1, -1], "maximum": [1, 1, 1, 1]}


def manifest_of(spec: TensorSpec, training: AnyArray, whole: bool = False) -> Manifest:
    """A policy with one input that was trained on these rows."""
    lowest, highest = training.min(axis=None if whole else 0), training.max(axis=None if whole else 0)
    ends = [np.ravel(end).astype(np.float64).tolist() for end in (lowest, highest)]
    minimum, maximum = [end[0] for end in ends] if whole else ends
    observed = Observed(name=spec.name, rows=len(training), minimum=minimum, maximum=maximum)
    return Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy="p",
        version=1,
        algorithm=None,
        env=None,
        observation=[spec],
        action=TensorSpec("action", (), "int64", 0, 1),
        noise=None,
        observed=[observed],
    )


def drift_metrics(server: Server) -> dict[tuple[str, ...], float]:
    return {key: value for key, value in read_metrics(server).items() if key[0] in (VALUES, OUTSIDE)}


def test_values_outside_of_the_training_are_counted_by_feature(tmp_path: Path, log: Path) -> None:
    """The first batch is always checked; each input and feature has a label of its own."""
    edit_manifest(linear_policy(tmp_path / "models").path, observed=[UNIT_RANGE])
    camera = {"name": "camera", "rows": 9, "minimum": 10, "maximum": 200}
    arm = {"name": "joints_arm", "rows": 9, "minimum": [0, 0, 0], "maximum": [1, 1, 1]}
    edit_manifest(robot_policy(tmp_path / "models").path, observed=[camera, arm])
    rows = [[0, 0, 0, 0], [1, -1, 0.5, 1], [0, 1.01, 0, 0], [0, -3, 0, 99]]
    robots = [{"camera": [9, c], "joints": {"arm": [0, 1, 2]}} for c in (10, 200, 201)]
    with running_server(tmp_path / "models", log) as server:
        assert set(drift_metrics(server).values()) == {0}
        server.ask(act_request({"observations": rows}))
        server.ask(act_request({"observations": robots}, path="/v1/policies/robot/act"))
        metrics = drift_metrics(server)
    linear, robot = ("linear", "1", "observation"), ("robot", "1")
    assert [metrics[VALUES, *linear, str(i)] for i in range(4)] == [4] * 4
    assert [metrics[OUTSIDE, *linear, str(i)] for i in range(4)] == [0, 2, 0, 1]
    assert (metrics[VALUES, *robot, "camera", "all"], metrics[OUTSIDE, *robot, "camera", "all"]) == (6, 4)
    assert [metrics[OUTSIDE, *robot, "joints_arm", str(i)] for i in range(3)] == [0, 0, 3]
    assert len(metrics) == 2 * (4 + 1 + 3)


def test_a_bundle_that_tells_no_ranges_is_not_watched(linear: Server) -> None:
    """Older bundles have no ranges."""
    linear.ask(act_request({"observation": [9, 9, 9, 9]}))
    assert drift_metrics(linear) == {}


@pytest.fixture
def pair(tmp_path: Path, log: Path) -> Iterator[Server]:
    """A server with two workers that measure drift."""
    edit_manifest(linear_policy(tmp_path / "models").path, observed=[UNIT_RANGE])
    with running_server(tmp_path / "models", log, "--workers", "2") as server:
        yield server


def test_workers_add_what_they_have_seen(pair: Server) -> None:
    """Every worker shows the sum: at least the first observation of each."""
    shown = []
    for wire in connect_to_each(pair, worker_pids(pair)).values():
        wire.send(get_request("/metrics"))
        lines = wire.answer().body.decode().splitlines()
        shown.append([line for line in lines if line.startswith((VALUES, OUTSIDE))])
    assert shown[0] == shown[1]
    assert len(shown[0]) == 8
    assert all(float(line.split()[-1]) >= 2 for line in shown[0] if line.startswith(VALUES))
    assert all(float(line.split()[-1]) == 0 for line in shown[0] if line.startswith(OUTSIDE))


WRONG: list[dict[str, Any]] = [{"minimum": [0]}, {"minimum": 0}, {"name": "camera"}]


@pytest.mark.parametrize("wrong", WRONG, ids=["too few", "one end", "unknown"])
def test_ranges_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    """One sentence says what was expected."""
    rows = np.zeros((2, 4), np.float32)
    manifest = manifest_of(TensorSpec("observation", (4,), "float32"), rows)
    observed = [msgspec.structs.replace(manifest.observed[0], **wrong)]
    with pytest.raises(BundleInvalid, match="observed"):
        Drift(msgspec.structs.replace(manifest, observed=observed))


def test_a_bundle_whose_ranges_do_not_fit_is_not_served(tmp_path: Path) -> None:
    """It is unsound, like a bundle whose model does not fit."""
    edit_manifest(linear_policy(tmp_path / "models").path, observed=[UNIT_RANGE | {"maximum": [1]}])
    assert "observed['observation']: expected as minimum and as maximum" in fail_to_serve(tmp_path / "models")


def test_features_are_bounded_in_number() -> None:
    """An input of thousands of values has one range for all of them, or none."""
    spec, rows = TensorSpec("image", (40, 40), "float32"), np.zeros((2, 40, 40), np.float32)
    assert Drift(manifest_of(spec, rows, whole=True)).ranges[0].features == ("all",)
    with pytest.raises(BundleInvalid, match="one number"):
        Drift(manifest_of(spec, rows))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "uint64", "float16", "float32", "float64"])
def test_the_training_itself_lies_inside(dtype: str, whole: bool) -> None:
    """In every dtype the bounds themselves are inside, and the next representable numbers are outside."""
    generator = np.random.default_rng(3)
    limits = (0, 2) if dtype == "bool" else (10, 100)
    real = np.dtype(dtype).kind == "f"
    rows = (generator.normal(size=(20, 2, 3)) if real else generator.integers(*limits, (20, 2, 3))).astype(dtype)
    drift = Drift(manifest_of(TensorSpec("x", (2, 3), dtype), rows, whole))
    drift.look({"x": rows})
    (found,) = drift.ranges
    assert found.values == (120 if whole else 20)
    assert found.outside.sum() == 0
    if dtype != "bool":
        beyond = np.nextafter(rows, np.dtype(dtype).type(np.inf)) if real else rows + np.ones((), dtype)
        other = Drift(manifest_of(TensorSpec("x", (2, 3), dtype), rows, whole))
        other.look({"x": beyond})
        assert other.ranges[0].outside.sum() >= (1 if whole else 6)


def test_a_batch_too_large_to_be_looked_at_counts_as_a_whole() -> None:
    """Some of its rows are checked, and count for all."""
    random.seed(0)
    drift = Drift(manifest_of(TensorSpec("x", (84, 84), "uint8"), np.full((2, 84, 84), 5, np.uint8), whole=True))
    rows = np.full((33, 84, 84), 5, np.uint8)
    rows[:, :21] = 6
    drift.look({"x": rows})
    (found,) = drift.ranges
    assert found.values == rows.size
    assert found.outside[0] == rows.size / 4


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_quiet_and_busy_moments_count_alike_and_looks_are_rare() -> None:
    """One observation after a pause, then hundreds at once. Checking by time alone would see only the first."""
    random.seed(1)
    clock, looks = Clock(), 0
    spec, training = TensorSpec("x", (2,), "float32"), np.array([[-1, -1], [1, 1]], np.float32)
    drift = Drift(manifest_of(spec, training), clock)
    (found,) = drift.ranges
    alone = {"x": np.array([[2, 0]], np.float32)}
    crowd = {"x": np.array([[0, 0], [0, 0], [0, 5], [0, 0]], np.float32)}
    begun_s, asked = clock.now_s, 0
    for _ in range(2000):
        for inputs in (alone, *[crowd] * 60):
            before = found.values
            drift.look(inputs)
            looks += found.values > before
            asked += len(inputs["x"])
            clock.now_s += 20e-6
        clock.now_s += 0.1
    assert looks < (clock.now_s - begun_s) / CHECK_EVERY_S + 30
    assert found.values == pytest.approx(asked, rel=0.1)
    lonely, crowded = found.outside / found.values
    assert lonely == pytest.approx(1 / 241, rel=0.1)
    assert crowded == pytest.approx(60 / 241, rel=0.1)
    assert looks > 1000


def test_a_server_that_is_always_busy_is_looked_at_seldom() -> None:
    """One check per 10 ms on average, after a few at the start."""
    random.seed(2)
    clock, looks = Clock(), 0
    spec, training = TensorSpec("x", (2,), "float32"), np.array([[-1, -1], [1, 1]], np.float32)
    drift = Drift(manifest_of(spec, training), clock)
    (found,) = drift.ranges
    rows = {"x": np.zeros((32, 2), np.float32)}
    for _ in range(100_000):
        before = found.values
        drift.look(rows)
        looks += found.values > before
        clock.now_s += 100e-6
    assert 500 < looks < 10.0 / CHECK_EVERY_S + 30
    assert found.values == pytest.approx(3_200_000, rel=0.2)
