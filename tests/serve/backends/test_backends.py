"""A policy gives the same answers on every runtime of this machine, with buckets and without."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.specs import AnyArray
from rlway_serve.backends import select
from rlway_serve.backends.base import Runtime
from rlway_serve.backends.onnx import BoundSession, CpuSession, available_devices
from rlway_serve.backends.select import choose_buckets, open_runtime
from rlway_serve.settings import Settings
from tests.bundles import gaussian_policy, linear_policy, q_network_policy, softplus_policy
from tests.servers import OCTETS, act_request, running_server

SIZES = (1, 2, 3, 7, 8, 9, 31, 64, 65, 200)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtimes")


@pytest.fixture(scope="module")
def bundle(models: Path) -> Bundle:
    """A continuous policy, whose actions show differences in the last digit."""
    return gaussian_policy(models)


def settings(models: Path, **options: Any) -> Settings:
    return Settings(models=models, **options)


def rows(bundle: Bundle, n: int, seed: int = 0) -> tuple[AnyArray, AnyArray]:
    generator = np.random.default_rng(seed)
    observations = generator.standard_normal((n, *bundle.manifest.observation[0].shape)).astype(np.float32)
    assert bundle.manifest.noise
    return observations, generator.standard_normal((n, bundle.manifest.noise.size)).astype(np.float32)


def feed(observations: AnyArray, noise: AnyArray) -> dict[str, AnyArray]:
    return {"observation": observations, "noise": noise}


class Recorder:
    """A session that records the number of rows of its runs."""

    def __init__(self, session: CpuSession) -> None:
        self._session = session
        self.name, self.on_cpu = session.name, session.on_cpu
        self.signature = session.signature
        self.sizes: list[int] = []

    def run(self, inputs: dict[str, AnyArray], outputs: Any) -> list[AnyArray]:
        self.sizes.append(len(inputs["observation"]))
        return self._session.run(inputs, outputs)


def test_runs_are_padded_to_the_next_bucket(bundle: Bundle) -> None:
    """Every batch size gives the same answers as without buckets, and only bucket sizes run."""
    plain = open_runtime(bundle, settings(bundle.path))
    recorder = Recorder(CpuSession(bundle.path / "model.onnx"))
    runtime = Runtime(recorder, bundle.manifest, "here", buckets=(1, 4, 16, 64))
    assert set(recorder.sizes) == {1, 4, 16, 64}
    expected_runs = {1: [1], 2: [4], 3: [4], 7: [16], 8: [16], 9: [16], 31: [64], 64: [64], 65: [64, 1]}
    for n in SIZES:
        recorder.sizes.clear()
        observations, noise = rows(bundle, n, seed=n)
        results = runtime.run(feed(observations, noise), ("loc", "action"))
        expected = plain.run(feed(observations, noise), ("loc", "action"))
        for result, array in zip(results, expected, strict=True):
            assert result.shape == array.shape
            np.testing.assert_allclose(result, array, rtol=1e-6, atol=1e-7)
        assert recorder.sizes == expected_runs.get(n, recorder.sizes)
        assert set(recorder.sizes) <= {1, 4, 16, 64}


def test_the_largest_batch_is_measured(bundle: Bundle) -> None:
    """Early refusals, and the choice between event loop and thread, depend on the largest size."""
    for max_batch in (1, 20, 256, 2000):
        runtime = open_runtime(bundle, settings(bundle.path, max_batch=max_batch))
        assert max(runtime.latency_s) == max_batch
        assert all(s > 0 for s in runtime.latency_s.values())


def test_memory_bound_to_a_device_is_reused_and_answers_alike(bundle: Bundle) -> None:
    """IOBinding, as on GPUs, gives the numbers of a plain run, also when sizes and outputs change."""
    plain = open_runtime(bundle, settings(bundle.path))
    session = BoundSession(bundle.path / "model.onnx", bundle.manifest, "cpu", max_rows=64)
    bound = Runtime(session, bundle.manifest, "here", buckets=(1, 2, 4, 8, 16, 32, 64))
    for n in (*SIZES, *reversed(SIZES)):
        observations, noise = rows(bundle, n, seed=n)
        for outputs in (("action",), ("loc", "action")):
            for result, expected in zip(
                bound.run(feed(observations, noise), outputs),
                plain.run(feed(observations, noise), outputs),
                strict=True,
            ):
                np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-7)
    assert bound.inline_rows == 0


@pytest.mark.parametrize(
    ("options", "on_cpu", "buckets"),
    [
        ({}, True, ()),
        ({}, False, (1, 2, 4, 8, 16, 32, 64, 100)),
        ({"buckets": True}, True, (1, 2, 4, 8, 16, 32, 64, 100)),
        ({"buckets": False}, False, ()),
        ({"batch_invariant": True}, True, (100,)),
    ],
    ids=str,
)
def test_buckets_are_powers_of_two_up_to_the_largest_batch(
    bundle: Bundle, options: dict[str, Any], on_cpu: bool, buckets: tuple[int, ...]
) -> None:
    """By default on GPUs, on the CPU with the option; a single bucket for invariance."""
    session = Recorder(CpuSession(bundle.path / "model.onnx"))
    session.on_cpu = on_cpu
    assert choose_buckets(session, settings(bundle.path, max_batch=100, **options)) == buckets


def test_the_expected_time_follows_the_size(bundle: Bundle) -> None:
    """Measured sizes have their measured time; others are interpolated, or extrapolated above the largest."""
    runtime = open_runtime(bundle, settings(bundle.path))
    runtime.latency_s = {1: 1.0, 8: 8.0, 64: 64.0, 128: 64.0}
    assert [runtime.expected_s(n) for n in (1, 2, 8, 36, 64, 96, 256)] == [1.0, 2.0, 8.0, 36.0, 64.0, 64.0, 128.0]


def test_a_padded_run_takes_as_long_as_its_bucket(bundle: Bundle) -> None:
    """The expected time is that of the bucket, however few rows are real."""
    runtime = open_runtime(bundle, settings(bundle.path, buckets=True, max_batch=64))
    runtime.latency_s = {1: 1.0, 8: 8.0, 64: 64.0}
    assert [runtime.expected_s(n) for n in (1, 2, 8, 9, 64, 128)] == [1.0, 8.0, 8.0, 64.0, 64.0, 128.0]


def bits_among(runtime: Runtime, bundle: Bundle) -> set[bytes]:
    """The bytes of one observation's outputs: alone, and at every place among other rows."""
    observation, noise = rows(bundle, 1)
    bits = set()
    for n in SIZES:
        others, other_noise = rows(bundle, n, seed=n)
        for place in {0, n // 2, n - 1}:
            others[place], other_noise[place] = observation[0], noise[0]
            results = runtime.run(feed(others, other_noise), runtime.outputs)
            bits.add(b"".join(result[place].tobytes() for result in results))
    return bits


def test_batch_invariant_answers_do_not_depend_on_other_callers(models: Path) -> None:
    """The bits are equal whatever else is in the batch; without the option the last digits differ."""
    bundle = softplus_policy(models)
    assert len(bits_among(open_runtime(bundle, settings(models)), bundle)) > 1
    assert len(bits_among(open_runtime(bundle, settings(models, batch_invariant=True)), bundle)) == 1


@pytest.mark.parametrize(("quantized", "max_batch"), [(False, 33), (True, 64)], ids=["place", "company"])
def test_a_policy_that_cannot_be_invariant_is_refused_at_load(models: Path, quantized: bool, max_batch: int) -> None:
    """Two models that mix rows: one computes the last rows differently, one scales all by the largest."""
    bundle = softplus_policy(models, f"variant-{max_batch}", quantized)
    with pytest.raises(BundleInvalid, match="--batch-invariant"):
        open_runtime(bundle, settings(models, batch_invariant=True, max_batch=max_batch))


def test_a_batch_invariant_server_gives_the_same_bytes_alone_and_in_company(models: Path, log: Path) -> None:
    """Through the server: one observation alone, and in pipelined batches of several sizes."""
    bundle = softplus_policy(models / "served")
    row, _ = rows(bundle, 1)
    path = f"/v1/policies/{bundle.manifest.policy}/act"
    with running_server(models / "served", log, "--batch-invariant", "--max-batch", "32") as server:
        alone = server.ask(act_request(row.tobytes(), path=path, media_type=OCTETS)).body
        for n in (1, 5, 31, 32, 33, 100):
            company, _ = rows(bundle, n, seed=n)
            with server.connect() as wire:
                for body in (company, row, company):
                    wire.send(act_request(body.tobytes(), path=path, media_type=OCTETS))
                assert [wire.answer().body for _ in range(3)][1] == alone


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_without_a_gpu_the_cpu_serves_and_the_log_says_so_once(
    models: Path, device: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, however many policies."""
    if device in available_devices():
        pytest.skip("this onnxruntime has the device")
    select._missing.clear()
    with caplog.at_level(logging.INFO):
        for name in ("first", "second"):
            runtime = open_runtime(linear_policy(models, f"{device}-{name}"), settings(models, device=device))
            assert runtime.name == "onnxruntime-cpu"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"--device {device}" in caplog.text


def test_the_log_names_what_serves_instead_of_tensorrt(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """onnxruntime lists TensorRT also where its libraries are not installed, as on a GPU with CUDA alone."""

    def open_bound(path: Path, _: Any, device: str, __: int) -> CpuSession:
        if device == "tensorrt":
            raise BundleInvalid("no libraries.")
        return CpuSession(path)

    monkeypatch.setattr(select, "available_devices", lambda: ["cpu", "cuda", "tensorrt"])
    monkeypatch.setattr(select, "BoundSession", open_bound)
    select._missing.clear()
    select.open_session(bundle, settings(bundle.path, device="tensorrt"))
    assert caplog.messages == ["--device tensorrt: cannot be used here, so CUDA serves: no libraries."]


def test_a_device_that_onnxruntime_does_not_find_is_not_pretended(bundle: Bundle) -> None:
    """A session that fell back to the CPU does not count as one on the GPU."""
    if "cuda" in available_devices():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.warns(UserWarning, match="CUDA"), pytest.raises(BundleInvalid, match="CUDAExecutionProvider"):
        BoundSession(bundle.path / "model.onnx", bundle.manifest, "cuda", max_rows=8)


def test_long_runs_leave_the_event_loop(models: Path) -> None:
    """The expected time of the batch decides."""
    small, large = q_network_policy(models, "small"), q_network_policy(models, "large", (2048, 2048, 2048))
    assert open_runtime(small, settings(models)).inline_rows > 100
    assert open_runtime(large, settings(models)).inline_rows == 0


@pytest.mark.parametrize(
    ("curve_us", "rows"),
    [
        ({1: 20, 8: 50, 64: 150, 256: 480, 512: 900}, 268),  # between two measured sizes
        ({1: 20, 8: 50, 64: 700}, 46),
        ({1: 600, 8: 700}, 0),
        ({1: 10, 8: 45}, 88),  # extrapolated beyond the largest
    ],
    ids=str,
)
def test_the_rows_that_stay_are_read_off_the_curve(bundle: Bundle, curve_us: dict[int, int], rows: int) -> None:
    """This batch is expected to fit on the event loop, and every larger one is not."""
    runtime = open_runtime(bundle, settings(bundle.path))
    runtime.latency_s = {size: us * 1e-6 for size, us in curve_us.items()}
    assert runtime.inline_rows == rows
    assert runtime.expected_s(rows + 1) >= 500e-6 - 1e-9 or rows > max(curve_us)
    assert rows == 0 or runtime.expected_s(rows) < 500e-6


@pytest.mark.parametrize(
    ("curve_us", "rows"),
    [
        ({1: 170, 8: 850, 64: 6900, 512: 60000}, 19),  # eight rows are the cheapest per row; 19 of them take 2 ms
        ({1: 5, 8: 6, 64: 10, 512: 50}, 512),  # even the largest takes less than 2 ms
        ({1: 900, 8: 1200, 64: 3000, 512: 9000}, 424),  # the time per row falls with the size
        ({1: 4000, 8: 32000}, 1),
    ],
    ids=str,
)
def test_batches_stop_growing_where_more_rows_make_none_cheaper(
    bundle: Bundle, curve_us: dict[int, int], rows: int
) -> None:
    """On a CPU a larger batch would only delay the answers."""
    runtime = open_runtime(bundle, settings(bundle.path))
    runtime.latency_s = {size: us * 1e-6 for size, us in curve_us.items()}
    assert runtime.enough_rows == rows
