"""Files that take one row: batches run row after row, with the same answers as files that take any number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.specs import AnyArray
from rlway_serve.backends.base import Runtime
from rlway_serve.backends.onnx import BoundSession, CpuSession
from rlway_serve.backends.row_by_row import RowByRow
from rlway_serve.backends.select import choose_buckets, open_runtime, open_session
from rlway_serve.settings import Settings
from tests.servers import OCTETS, act_request, running_server
from tests.steered import drive, steered_policy

SIZES = (1, 2, 3, 7, 8, 9, 31, 64, 65)
OPTIONS: list[dict[str, Any]] = [{}, {"buckets": True}, {"batch_invariant": True}, {"device": "auto"}]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@pytest.fixture(scope="module")
def fixed(models: Path) -> Bundle:
    """An ONNX file whose first dimensions are 1."""
    return steered_policy(models, "fixed", rows=1)


def settings(models: Path, **options: Any) -> Settings:
    return Settings(models=models, max_batch=64, **options)


def draw(rows: int) -> dict[str, AnyArray]:
    generator = np.random.default_rng(rows)
    shapes = {"observation": (rows, 4), "noise": (rows, 5)}
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def check(runtime: Runtime) -> None:
    """Every batch size has numpy's answers, whichever outputs are asked for."""
    for rows in (*SIZES, *reversed(SIZES)):
        inputs = draw(rows)
        expected = drive(inputs["observation"], inputs["noise"])
        for outputs in (("action_gear", "action_wheel_steer"), runtime.outputs):
            gear, steer, *_ = runtime.run(inputs, outputs)
            assert gear.tolist() == expected.gear
            np.testing.assert_allclose(steer, expected.steer, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_file_of_one_row_serves_any_number(fixed: Bundle, options: dict[str, Any]) -> None:
    """With any options, and without a pad: another row would only cost time."""
    session, _ = open_session(fixed, settings(fixed.path, **options))
    assert isinstance(session, RowByRow)
    assert choose_buckets(session, settings(fixed.path, **options)) == ()
    check(open_runtime(fixed, settings(fixed.path, **options)))


def test_memory_bound_to_a_device_holds_one_row(fixed: Bundle) -> None:
    """As on GPUs: the rows pass one after the other through the same buffers."""
    bound = BoundSession(fixed.path / "model.onnx", fixed.manifest, "cpu", max_rows=64)
    assert bound.takes_one_row
    runtime = Runtime(RowByRow(bound), fixed.manifest, "here", max_batch=64)
    check(runtime)
    assert runtime.inline_rows == 0


def test_its_run_time_is_measured_up_to_the_largest_batch(fixed: Bundle) -> None:
    """Deadlines and the choice of the thread need the time of all rows together."""
    runtime = open_runtime(fixed, settings(fixed.path))
    assert [*runtime.latency_s] == [1, 8, 64]
    assert runtime.expected_s(64) > runtime.expected_s(1)


def test_a_file_with_a_free_dimension_runs_whole_batches(models: Path) -> None:
    """Only a first dimension of 1 is run row by row."""
    bundle = steered_policy(models, "free")
    session, _ = open_session(bundle, settings(bundle.path))
    assert isinstance(session, CpuSession)
    check(open_runtime(bundle, settings(bundle.path)))


def test_a_file_of_seven_rows_is_refused(models: Path) -> None:
    """No request could be answered one by one."""
    bundle = steered_policy(models, "seven", rows=7)
    with pytest.raises(BundleInvalid, match="does not take what its manifest says"):
        open_runtime(bundle, settings(bundle.path))


class OneBuffer:
    """A session that gives its results in the same memory each time, as a runtime may."""

    name, on_cpu = "one buffer", True

    def __init__(self) -> None:
        self._buffer = np.zeros((1, 1), np.float32)

    def signature(self) -> tuple[set[str], set[str]]:
        return {"observation"}, {"action"}

    def run(self, inputs: dict[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        self._buffer[:] = inputs["observation"]
        return [self._buffer for _ in outputs]


def test_a_row_does_not_overwrite_the_one_before() -> None:
    """Results are valid until the next run, and there is one for each row."""
    rows = np.arange(5, dtype=np.float32)[:, None]
    (found,) = RowByRow(OneBuffer()).run({"observation": rows}, ["action"])
    assert found.tolist() == rows.tolist()


@pytest.mark.parametrize("options", [(), ("--buckets",), ("--batch-invariant",)], ids=str)
def test_a_server_answers_single_rows_and_batches_alike(tmp_path: Path, log: Path, options: tuple[str, ...]) -> None:
    """Requests that arrive together get the answers that each would get alone."""
    steered_policy(tmp_path / "models", rows=1)
    rows = draw(100)["observation"]
    expected = drive(rows)
    path = "/v1/policies/steered/act"
    with running_server(tmp_path / "models", log, *options) as server:
        raw = server.ask(act_request(rows.tobytes(), path=path, media_type=OCTETS)).body
        with server.connect() as wire:
            wire.send(b"".join(act_request({"observation": row}, path=path) for row in rows.tolist()))
            assert [wire.answer().json["action"]["gear"] for _ in rows] == expected.gear
        batch = server.ask(act_request({"observations": rows.tolist()}, path=path)).json["actions"]
    assert np.frombuffer(raw, [("gear", "<i8"), ("steer", "<f4", 2)])["gear"].tolist() == expected.gear
    assert [action["gear"] for action in batch] == expected.gear
