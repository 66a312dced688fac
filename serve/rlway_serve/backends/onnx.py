"""ONNX files in onnxruntime.

In:      a file, the device it shall run on.
Out:     a session: plain on the CPU; with its inputs and outputs bound to the device's memory on GPUs.
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

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime would report home and write to the home directory
import onnxruntime as ort

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


class CpuSession:
    """One thread: networks of this size are too small to share."""

    name = "onnxruntime-cpu"
    on_cpu = True

    def __init__(self, path: Path) -> None:
        self._session = _open(path, [PROVIDERS["cpu"]])
        # `InferenceSession.run` looks at every input's name before each run: a fifth of what a small model's run takes.
        self._run = getattr(self._session, "_sess", self._session).run

    def signature(self) -> tuple[set[str], set[str]]:
        return _signature(self._session)

    def run(self, inputs: dict[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        results: list[AnyArray] = self._run(outputs, inputs, None)
        return results


class BoundSession:
    """Runs whose inputs and outputs stay at one place in the device's memory for each number of rows."""

    on_cpu = False

    def __init__(self, path: Path, manifest: Manifest, device: str, max_rows: int) -> None:
        self.name = f"onnxruntime-{device}"
        self._memory = "cpu" if device == "cpu" else "cuda"
        self._outputs = manifest.interface.results
        self._session = _open_on(device, path, manifest, max_rows)
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
    """Of the devices that onnxruntime was built for, those named here."""
    built_for = ort.get_available_providers()
    return [device for device, provider in PROVIDERS.items() if provider in built_for]


def _open_on(device: str, path: Path, manifest: Manifest, max_rows: int) -> Any:
    """A session that does run on the device."""
    options: dict[str, str] = {}
    if device == "tensorrt":
        # Without a profile an engine is built anew whenever a run is larger than those before.
        for key, rows in {"min": 1, "opt": max_rows, "max": max_rows}.items():
            shapes = (f"{spec.name}:{'x'.join(map(str, (rows, *spec.shape)))}" for spec in manifest.interface.inputs)
            options[f"trt_profile_{key}_shapes"] = ",".join(shapes)
    return _checked(_open(path, [(PROVIDERS[device], options)]), device, path)


def _checked(session: Any, device: str, path: Path) -> Any:
    """onnxruntime falls back to the CPU with a warning in its own log; whoever asked for a GPU must hear of it."""
    if session.get_providers()[0] != PROVIDERS[device]:
        raise BundleInvalid(f"{path}: onnxruntime finds no device for {PROVIDERS[device]}.")
    return session


def _open(path: Path, providers: list[Any]) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised, and told once
    try:
        return ort.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime raises a dozen unrelated kinds
        raise BundleInvalid(f"{path}: onnxruntime cannot load it: {str(error).splitlines()[0]}.") from error


def _signature(session: Any) -> tuple[set[str], set[str]]:
    return {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()}


def _numpy_type(onnx_type: str) -> str:
    """`tensor(float)` as numpy calls it."""
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
