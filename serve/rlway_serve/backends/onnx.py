"""Runs ONNX files in onnxruntime.

In:      a file, and the device to run it on.
Out:     a session; on GPUs its inputs and outputs are bound to the device's memory. If the file takes one row only
         (`takes_one_row`), `RowByRow` turns it into one for batches.
Refuses: a file that onnxruntime cannot load (BundleInvalid).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import AnyArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else onnxruntime sends telemetry and writes to the home directory
import onnxruntime as ort

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


class CpuSession:
    """Runs on one thread: policies' networks are too small to gain from several."""

    name = "onnxruntime-cpu"
    on_cpu = True

    def __init__(self, path: Path) -> None:
        self._session = _open(path, [PROVIDERS["cpu"]])
        # The native session, since `InferenceSession.run` first checks the names of all inputs: a fifth of a small
        # model's run time.
        self._run = getattr(self._session, "_sess", self._session).run
        self.takes_one_row = _takes_one_row(self._session)

    def signature(self) -> tuple[set[str], set[str]]:
        return _signature(self._session)

    def run(self, inputs: dict[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        results: list[AnyArray] = self._run(outputs, inputs, None)
        return results


class BoundSession:
    """Runs on a GPU; for each number of rows, inputs and outputs stay in the same buffers on the device."""

    on_cpu = False

    def __init__(self, path: Path, manifest: Manifest, device: str, max_rows: int) -> None:
        self.name = f"onnxruntime-{device}"
        self._memory = "cpu" if device == "cpu" else "cuda"
        self._outputs = manifest.interface.results
        self._session = _open_on(device, path, manifest, max_rows)
        self.takes_one_row = _takes_one_row(self._session)
        self._types = {output.name: output.type for output in self._session.get_outputs()}
        self._bindings: dict[int, tuple[Any, dict[str, Any], dict[str, Any]]] = {}  # by rows

    def signature(self) -> tuple[set[str], set[str]]:
        return _signature(self._session)

    def run(self, inputs: dict[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        rows = len(next(iter(inputs.values())))
        if rows not in self._bindings:
            self._bindings[rows] = self._bind(inputs, rows)
        binding, places, results = self._bindings[rows]
        for name, place in places.items():
            place.update_inplace(inputs[name])
        self._session.run_with_iobinding(binding)
        return [results[name].numpy() for name in outputs]

    def _bind(self, inputs: dict[str, AnyArray], rows: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        binding = self._session.io_binding()
        places = {name: ort.OrtValue.ortvalue_from_numpy(array, self._memory, 0) for name, array in inputs.items()}
        results = {
            spec.name: ort.OrtValue.ortvalue_from_shape_and_type(
                [rows, *spec.shape], _numpy_type(self._types[spec.name]), self._memory, 0
            )
            for spec in self._outputs
        }
        for name, place in places.items():
            binding.bind_ortvalue_input(name, place)
        for name, result in results.items():
            binding.bind_ortvalue_output(name, result)
        return binding, places, results


def available_devices() -> list[str]:
    """The devices of `PROVIDERS` that onnxruntime was built for."""
    built_for = ort.get_available_providers()
    return [device for device, provider in PROVIDERS.items() if provider in built_for]


def _open_on(device: str, path: Path, manifest: Manifest, max_rows: int) -> Any:
    """A session on the device; raises BundleInvalid if onnxruntime would fall back to another."""
    options: dict[str, str] = {}
    if device == "tensorrt":
        # Without a profile, TensorRT builds a new engine for each run that is larger than all before.
        max_rows = 1 if CpuSession(path).takes_one_row else max_rows
        for key, rows in {"min": 1, "opt": max_rows, "max": max_rows}.items():
            shapes = (f"{spec.name}:{'x'.join(map(str, (rows, *spec.shape)))}" for spec in manifest.interface.inputs)
            options[f"trt_profile_{key}_shapes"] = ",".join(shapes)
    return _checked(_open(path, [(PROVIDERS[device], options)]), device, path)


def _checked(session: Any, device: str, path: Path) -> Any:
    """Raises if onnxruntime fell back to the CPU, which it only mentions in its own log."""
    if session.get_providers()[0] != PROVIDERS[device]:
        raise BundleInvalid(f"{path}: onnxruntime finds no device for {PROVIDERS[device]}.")
    return session


def _open(path: Path, providers: list[Any]) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, and need not be logged too
    try:
        return ort.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        raise BundleInvalid(f"{path}: onnxruntime cannot load it: {str(error).splitlines()[0]}.") from error


def _signature(session: Any) -> tuple[set[str], set[str]]:
    return {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()}


def _takes_one_row(session: Any) -> bool:
    """Whether the first dimension of an input is fixed to 1; in other files it is free."""
    return any(i.shape[:1] == [1] for i in session.get_inputs())


def _numpy_type(onnx_type: str) -> str:
    """The numpy name of a type such as `tensor(float)`."""
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
