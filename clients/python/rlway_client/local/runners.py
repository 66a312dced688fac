"""Runs an exported file of any kind, to compare its outputs with others.

In:      a file of a bundle and the manifest; inputs by name, first dimension B.
Out:     outputs by name.
Refuses: a file of an unknown kind (UsageError), a runtime that is not installed here (RuntimeMissing), a file that its
         runtime cannot load (BundleInvalid).

Runners are for comparisons: rlway_serve has backends of its own, and EdgePolicy runs a policy on a robot.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlway_client.common.muting import muted
from rlway_client.common.packages import missing
from rlway_client.common.quote import reason
from rlway_client.contract import model_files
from rlway_client.contract.errors import BundleInvalid, RuntimeMissing, UsageError
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays, Runner, run_in_batches
from rlway_client.local.c_program import CRunner
from rlway_client.local.godot_runner import GodotRunner
from rlway_client.local.onnx_session import open_session
from rlway_client.local.tflm_array import read_array
from rlway_client.local.unity_runner import UnityRunner


def open_runner(path: Path, manifest: Manifest) -> Runner:
    """A runner for a bundle's file, by its name. Raises UsageError, RuntimeMissing or BundleInvalid."""
    match path.name:
        case model_files.UNITY_FILE:
            return UnityRunner(path, manifest)
        case model_files.GODOT_FILE:
            return GodotRunner(path, manifest)
    match path.suffix:
        case ".onnx":
            return OnnxRunner(path)
        case ".tflite":
            return TFLiteRunner(path)
        case ".cc":
            return TFLiteRunner(path, read_array(path))
        case ".c":
            return CRunner(path, manifest)
    raise UsageError(f"{path}: expected a file .onnx, .tflite, .c or .cc; nothing here runs others.")


class OnnxRunner:
    """An ONNX file in onnxruntime, on the CPU."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._takes_batches = takes_batches(self._session)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        return (1, 7, 64) if self._takes_batches else (1,)

    def run(self, inputs: Arrays) -> Arrays:
        """Runs any number of rows, [B, …] by name."""
        return self._run(inputs) if self._takes_batches else run_in_batches(self._run, inputs, 1)

    def _run(self, inputs: Arrays) -> Arrays:
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))


def takes_batches(session: Any) -> bool:
    """Whether onnxruntime's session takes any number of rows; otherwise its graph was made for one."""
    return not any(tensor.shape[:1] == [1] for tensor in session.get_inputs())


class TFLiteRunner:
    """A TFLite file in LiteRT, or in TensorFlow's interpreter where only that is installed."""

    batch_sizes = (1,)

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """`content` is the model, if `path` is a file of another kind that contains it."""
        with muted():  # LiteRT's delegate prints a line
            _, self._act = open_tflite(path, content)

    def run(self, inputs: Arrays) -> Arrays:
        """Runs one row, [1, …] by name."""
        outputs: Arrays = self._act(**inputs)
        return outputs


def open_tflite(path: Path, content: bytes | None = None) -> tuple[Any, Any]:
    """An interpreter of the file on one thread, and the runner of its signature. Raises BundleInvalid."""
    interpreter = tflite_interpreter()
    model = {"model_path": str(path)} if content is None else {"model_content": content}
    try:
        opened = interpreter(**model, num_threads=1)
        opened.allocate_tensors()
        return opened, opened.get_signature_runner(model_files.SIGNATURE)
    except (RuntimeError, ValueError) as error:
        raise BundleInvalid(f"{path}: LiteRT cannot load it: {reason(error, most=160)}.") from None


def tflite_interpreter() -> Any:
    """The interpreter class: LiteRT's or, if only TensorFlow is installed, TensorFlow's, which is the same."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        pass
    else:
        return Interpreter
    try:
        with muted():
            import tensorflow as tf
    except ModuleNotFoundError:
        raise RuntimeMissing(missing("running TFLite files", "LiteRT", "rlway-client[edge]")) from None
    return tf.lite.Interpreter
