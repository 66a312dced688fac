"""Chooses the file of a bundle and the device that runs it.

In:      a bundle, `--device`.
Out:     its runtime, measured and warmed up.
Refuses: a bundle without a file that can be served (BundleInvalid).

If a device was asked for and cannot be used, the log says so once, and what serves instead. `auto` tries both and keeps
the one that is faster at the largest batch: a small network takes less time on the CPU than the transfer to the GPU and
back.
"""

from __future__ import annotations

import logging
import time
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
            f"{bundle.path}: its manifest lists neither {ONNX_FILE} nor a TFLite file, and no other is served; "
            f"export the policy with --formats onnx."
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
    gpu, faults = _first_gpu(path, manifest, settings, wanted)
    for device, fault in faults.items():
        _report_missing(device, fault, "CUDA" if gpu else "the CPU")
    if gpu is None:
        return _for_batches(CpuSession(path))
    if settings.device != "auto":
        return gpu
    cpu = _for_batches(CpuSession(path))
    return min((cpu, gpu), key=lambda session: _time_of(session, manifest, settings.max_batch))


def _for_batches(session: CpuSession | BoundSession) -> Session:
    return RowByRow(session) if session.takes_one_row else session


def _first_gpu(
    path: Path, manifest: Manifest, settings: Settings, wanted: tuple[str, ...]
) -> tuple[Session | None, dict[str, str]]:
    """A session on the first of these devices that works, and why those before it do not."""
    faults: dict[str, str] = {}
    for device in wanted:
        if device in available_devices():
            try:
                return _for_batches(BoundSession(path, manifest, device, settings.max_batch)), faults
            except BundleInvalid as error:
                faults[device] = str(error).rstrip(".")
        elif device == settings.device:
            faults[device] = f"onnxruntime has {', '.join(available_devices())}"
    return None, faults


_missing: set[str] = set()


def _report_missing(device: str, fault: str, instead: str) -> None:
    """Logs it once per device, and not for every policy."""
    if device not in _missing:
        _missing.add(device)
        log.warning("--device %s: cannot be used here, so %s serves: %s.", device, instead, fault)


def _time_of(session: Session, manifest: Manifest, rows: int) -> float:
    inputs = neutral_rows(manifest.interface.inputs, rows)
    times = []
    for _ in range(COMPARED_RUNS):
        start = time.perf_counter()
        session.run(inputs, [spec.name for spec in manifest.actions])
        times.append(time.perf_counter() - start)
    return min(times)
