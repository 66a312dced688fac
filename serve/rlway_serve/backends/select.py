"""Chooses the file of a bundle and the device that runs it.

In:      a bundle, `--device`.
Out:     its runtime, measured and warmed up.
Refuses: a bundle without a file that can be served (BundleInvalid).

If a GPU was asked for and is not found, the log says so once and the CPU serves. `auto` tries both and keeps the one
that is faster at the largest batch: a small network takes less time on the CPU than the transfer to the GPU and back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.model_files import ONNX_FILE, served_file
from rlway_serve.backends.base import Runtime, Session, neutral_rows
from rlway_serve.backends.onnx import BoundSession, CpuSession, available_devices
from rlway_serve.backends.row_by_row import RowByRow
from rlway_serve.settings import Settings

log = logging.getLogger(__name__)

COMPARED_RUNS = 10


def open_runtime(bundle: Bundle, settings: Settings) -> Runtime:
    """Opens the bundle's file on the chosen device; measures it and warms it up."""
    session, where = open_session(bundle, settings)
    runtime = Runtime(session, bundle.manifest, where, choose_buckets(session, settings), settings.max_batch)
    if settings.batch_invariant and not isinstance(session, RowByRow):
        runtime.check_invariance(where)
    return runtime


def choose_buckets(session: Session, settings: Settings) -> tuple[int, ...]:
    """The sizes that runs may have; empty if runs may have any size."""
    if isinstance(session, RowByRow):
        return ()
    if settings.batch_invariant:
        return (settings.max_batch,)
    if not (settings.buckets or (settings.buckets is None and not session.on_cpu)):
        return ()
    powers = takewhile(lambda size: size < settings.max_batch, (2**i for i in range(64)))
    return (*powers, settings.max_batch)


def open_session(bundle: Bundle, settings: Settings) -> tuple[Session, str]:
    """The session, and the path of its file for error messages."""
    name = served_file(bundle.manifest.files)
    if name is None:
        raise BundleInvalid(
            f"{bundle.path}: its manifest lists neither {ONNX_FILE} nor a TFLite file; export the policy again."
        )
    path = bundle.path / name
    if name == ONNX_FILE:
        return _open_onnx(path, bundle.manifest, settings), str(path)
    from rlway_serve.backends.litert import LiteSession

    return RowByRow(LiteSession(path)), str(path)


def _open_onnx(path: Path, manifest: Manifest, settings: Settings) -> Session:
    if settings.device == "cpu":
        return _for_batches(CpuSession(path))
    wanted = ("tensorrt", "cuda") if settings.device == "tensorrt" else ("cuda",)
    gpu = next(_gpu_sessions(path, manifest, settings, wanted), None)
    if gpu is None:
        if settings.device != "auto":
            _report_missing(settings.device, ", ".join(available_devices()))
        return _for_batches(CpuSession(path))
    if settings.device != "auto":
        return gpu
    cpu = _for_batches(CpuSession(path))
    return min((cpu, gpu), key=lambda session: _time_of(session, manifest, settings.max_batch))


def _for_batches(session: CpuSession | BoundSession) -> Session:
    return RowByRow(session) if session.takes_one_row else session


def _gpu_sessions(path: Path, manifest: Manifest, settings: Settings, wanted: tuple[str, ...]) -> Iterator[Session]:
    for device in wanted:
        if device in available_devices():
            try:
                yield _for_batches(BoundSession(path, manifest, device, settings.max_batch))
            except BundleInvalid as error:
                _report_missing(device, str(error))


_missing: set[str] = set()


def _report_missing(device: str, found: str) -> None:
    """Logs it once per device, and not for every policy."""
    if device not in _missing:
        _missing.add(device)
        log.warning("--device %s: no such device is to be had, so the CPU serves (%s).", device, found)


def _time_of(session: Session, manifest: Manifest, rows: int) -> float:
    inputs = neutral_rows(manifest.interface.inputs, rows)
    times = []
    for _ in range(COMPARED_RUNS):
        start = time.perf_counter()
        session.run(inputs, [spec.name for spec in manifest.actions])
        times.append(time.perf_counter() - start)
    return min(times)
