"""Runs one row at a time through a bundle's TFLite, ONNX or C file, as a control loop needs it.

In:      the file's path, the manifest, the outputs that are wanted; arrays by name, first dimension 1.
Out:     the wanted outputs, in that order, first dimension 1.
Refuses: a file whose tensors are not those of the manifest (BundleInvalid), a file of another kind (UsageError), a
         machine without the runtime (RuntimeMissing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from rlway_client.contract.errors import BundleInvalid, UsageError
from rlway_client.contract.interface import Interface
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.model_files import ENGINES
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_client.local.c_program import CRunner
from rlway_client.local.onnx_session import open_session
from rlway_client.local.runners import open_tflite
from rlway_client.local.tflm_array import read_array

RunRow = Callable[[Arrays], Sequence[AnyArray]]
RowRunner = Callable[[Sequence[str]], RunRow]  # given the outputs that are wanted, what runs a row for these
ONNX_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}  # the others have numpy's names


def open_row_runner(path: Path, manifest: Manifest) -> RowRunner:
    """What runs the file. Raises BundleInvalid, RuntimeMissing or UsageError."""
    if path.name in ENGINES:
        raise UsageError(
            f"{path}: is for {ENGINES[path.name]}, with its tensors; nothing here acts with it: give model.onnx or a "
            f"TFLite file."
        )
    match path.suffix:
        case ".tflite":
            # Read whole: a file that LiteRT maps into memory ends the process where it is cut short later.
            return _tflite(path, path.read_bytes(), manifest.interface)
        case ".cc":
            return _tflite(path, read_array(path), manifest.interface)
        case ".onnx":
            return _onnx(path, manifest.interface)
        case ".c":
            return _c(path, manifest)
    raise UsageError(f"{path}: expected a file .tflite, .onnx, .c or .cc; nothing here acts with others.")


def _tflite(path: Path, content: bytes, interface: Interface) -> RowRunner:
    interpreter, signature = open_tflite(path, content)
    kinds = {"input": signature.get_input_details(), "output": signature.get_output_details()}
    for kind, specs in (("input", interface.inputs), ("output", interface.results)):
        found = {name: _label(one["dtype"], one["shape"].tolist()) for name, one in kinds[kind].items()}
        _check(path, kind, found, specs)
    inputs = [(name, one["index"]) for name, one in kinds["input"].items()]
    outputs = {name: one["index"] for name, one in kinds["output"].items()}
    set_tensor, invoke, get_tensor = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor

    def runner(names: Sequence[str]) -> RunRow:
        first, *others = (outputs[name] for name in names)

        def run(rows: Arrays) -> Sequence[AnyArray]:
            for name, index in inputs:
                set_tensor(index, rows[name])
            invoke()
            return (get_tensor(first), *map(get_tensor, others)) if others else (get_tensor(first),)

        return run

    return runner


def _onnx(path: Path, interface: Interface) -> RowRunner:
    session = open_session(path)
    for kind, tensors, specs in (
        ("input", session.get_inputs(), interface.inputs),
        ("output", session.get_outputs(), interface.results),
    ):
        _check(path, kind, {one.name: _onnx_label(one) for one in tensors}, specs)
    return lambda names: lambda rows: cast(Sequence[AnyArray], session.run(names, rows))


def _c(path: Path, manifest: Manifest) -> RowRunner:
    program = CRunner(path, manifest)
    dtypes = {spec.name: spec.dtype for spec in manifest.interface.results}

    def runner(names: Sequence[str]) -> RunRow:
        def run(rows: Arrays) -> Sequence[AnyArray]:
            outputs = program.run(rows)  # whole numbers in 32 bits, flags as bytes
            return [outputs[name].astype(dtypes[name], copy=False) for name in names]

        return run

    return runner


def _onnx_label(tensor: Any) -> str:
    """Its type and shape for one row; the first dimension may have any size."""
    kind = ONNX_DTYPES.get(tensor.type) or tensor.type.removeprefix("tensor(").removesuffix(")")
    return f"{kind}{[1, *tensor.shape[1:]]}"


def _label(dtype: Any, shape: list[int]) -> str:
    return f"{np.dtype(dtype)}{shape}"


def _check(path: Path, kind: str, found: dict[str, str], specs: list[TensorSpec]) -> None:
    """Raises BundleInvalid if the tensors are not those of the manifest."""
    for spec in specs:
        expected = _label(spec.dtype, [1, *spec.shape])
        if found.get(spec.name) != expected:
            got = found.get(spec.name, "none of the name")
            raise BundleInvalid(f"{path}: {kind} {spec.name}: expected {expected}, as the manifest says, got {got}.")
    unknown = found.keys() - {spec.name for spec in specs}
    if unknown:
        raise BundleInvalid(f"{path}: {kind} {min(unknown)}: the manifest has none of this name.")
