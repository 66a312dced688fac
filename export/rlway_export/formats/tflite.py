"""The policy as one TFLite file, for robots: in float32, or with weights and arithmetic of fewer bits.

In:      the policy as a function of TensorFlow; for int8, inputs to calibrate the ranges with.
Out:     a file for one row at a time, with the manifest's inputs and outputs and only builtin operations.
Refuses: an operation that TFLite lacks (ExportRefused names it): no flex delegate, no custom operations.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rlway_client.common.muting import muted
from rlway_client.common.quote import reason, short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.model_files import SIGNATURE
from rlway_client.contract.parity import Arrays, rows_of, spread_rows
from rlway_export.reference.policy import SavedPolicy

Precision = Literal["float32", "float16", "dynamic", "int8"]

CALIBRATION_ROWS = 300
MOST_ENDS = 100  # elements of an input; an image's extremes say little
# int8 leaves these in float32: not the network's products, but what prepares an observation and chooses an action.
# Noise that forces an action is 1e30, and a range of eight bits up to there cannot resolve a Q-value.
NOT_QUANTIZED = ("ADD", "ARG_MAX", "DIV", "EXP", "MAXIMUM", "MINIMUM", "MUL", "RSQRT", "SPLIT", "SQRT", "SUB", "TANH")
LAYERS = ("CONV_2D", "FULLY_CONNECTED")
# The converter's message about the operation that it stops at, with its name in TensorFlow's graph.
STOPPED = re.compile(r"""\["\w+:", "([^"@]+)[^\n]*?'tf\.(\w+)' op ([^\n]*)""")
LACKS = "is neither a custom op nor a flex op"
USUAL = {"f32", "i32", "i64", "i1"}  # MLIR's names of the types that most TFLite operations take


def write_tflite(policy: SavedPolicy, precision: Precision, inputs: Arrays, destination: Path) -> None:
    """Converts with a static batch of one: XNNPACK refuses tensors of unknown size."""
    import tensorflow as tf

    module = policy.convertible(batch=1)
    with tempfile.TemporaryDirectory(prefix="rlway-tflite-") as folder, muted():
        # Through a SavedModel: other conversions lose the names of inputs and outputs.
        tf.saved_model.save(module, folder, signatures={SIGNATURE: module.act})
        try:
            content = _convert(folder, precision, inputs)
        except Exception as error:
            raise ExportRefused(f"TFLite: {_reason(str(error))}.") from error
    destination.write_bytes(content)


def _reason(error: str) -> str:
    stopped = STOPPED.search(error)
    if stopped is None:
        return f"the policy's graph cannot be converted: {reason(error)}"
    layer, kind, complaint = short_name(stopped[1]), stopped[2], stopped[3]
    if complaint != LACKS:
        return f"{kind}, which {layer} is made of, {reason(complaint)}; leave the formats of TFLite out of --formats"
    unusual = sorted(map(_numpy_name, _types(error, kind) - USUAL))
    if unusual:
        return f"has no operation for {kind} of {' and '.join(unusual)}, which {layer} is made of; try onnx instead"
    return f"has no operation for {kind}, which {layer} is made of; leave the formats of TFLite out of --formats"


def _types(error: str, kind: str) -> set[str]:
    """The types of the operation's inputs and outputs: f64 of `tf.Minimum(tensor<1x2xf64>, tensor<2xf64>) -> …`."""
    signature = re.search(rf"tf\.{kind}\((.*)", error)
    return set(re.findall(r"\b(?:[\d?]+x)*([a-z]+\d+)>", signature[1])) if signature else set()


def _numpy_name(kind: str) -> str:
    return re.sub(r"^(ui|i|f)(?=\d)", lambda short: {"ui": "uint", "i": "int", "f": "float"}[short[1]], kind)


def _convert(folder: str, precision: Precision, inputs: Arrays) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        return _quantize(converter, inputs, _delicate_layers(folder))
    content: bytes = converter.convert()
    return content


def _quantize(converter: Any, inputs: Arrays, delicate: list[str]) -> bytes:
    """Eight bits for the network's arithmetic, with the ranges of these inputs."""
    import tensorflow as tf

    rows = calibrating_rows(inputs)
    chosen = {name: array[rows] for name, array in inputs.items()}
    if "noise" in chosen:
        chosen["noise"] = np.zeros_like(chosen["noise"])

    def dataset() -> Iterator[tuple[str, Arrays]]:
        for i in range(rows_of(chosen)):
            yield SIGNATURE, {name: array[i : i + 1] for name, array in chosen.items()}

    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.representative_dataset = dataset
    # TensorFlow's way to quantise selectively: a debugger, asked for the model without its debugging.
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_ops=list(NOT_QUANTIZED),
        denylisted_nodes=delicate,
    )
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=dataset, debug_options=options
    )
    content: bytes = debugger.get_nondebug_quantized_model()
    return content


def calibrating_rows(inputs: Arrays) -> Any:  # -> [n]
    """The numbers of rows that are evenly spread, and of those with the lowest and the highest value of each element.

    A row beyond the ranges would saturate, and a layer's range often comes from an extreme input.
    """
    # The noise is replaced by zeros.
    flat = [array.reshape(len(array), -1) for name, array in inputs.items() if name != "noise"]
    ends = [end for array in flat if array.shape[1] <= MOST_ENDS for end in (array.argmin(0), array.argmax(0))]
    return np.unique(np.concatenate([spread_rows(rows_of(inputs), CALIBRATION_ROWS), *ends]))


def _delicate_layers(folder: str) -> list[str]:
    """The converter's names for the outputs of the first and the last layer, where there are layers between them.

    The first layer may take speeds up to 8 and sines up to 1, which would share one range of 255 steps. The last layer
    may give Q-values from 60 to 80, but its range would begin at 0. Both have few of the weights, and stay in float32.
    """
    import tensorflow as tf

    plain = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE]).convert()
    interpreter = tf.lite.Interpreter(model_content=plain)
    names = {detail["index"]: detail["name"] for detail in interpreter.get_tensor_details()}
    layers = [names[op["outputs"][0]] for op in interpreter._get_ops_details() if op["op_name"] in LAYERS]
    return [layers[0], layers[-1]] if len(layers) > 2 else []
