"""The policy as one TFLite file, for robots.

In:      the SavedModel's `act`.
Out:     `model.tflite`: float32, one row at a time, builtin operations only.
Refuses: an operation that TFLite lacks (ExportRefused names it): no flex delegate, no custom operations.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from rlway_client.edge import SIGNATURE
from rlway_client.errors import ExportRefused
from rlway_client.specs import AnyArray
from rlway_export.silence import muted_descriptors
from rlway_export.source import SavedPolicy

FILE = "model.tflite"


def write_tflite(policy: SavedPolicy, destination: Path) -> None:
    """Converts with a static batch of one: XNNPACK refuses tensors of unknown size."""
    import tensorflow as tf

    module = policy.module(batch=1)
    with tempfile.TemporaryDirectory(prefix="rlway-tflite-") as folder, muted_descriptors():
        # By way of a SavedModel, because only then the file keeps the names of inputs and outputs.
        tf.saved_model.save(module, folder, signatures={SIGNATURE: module.act})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            content = converter.convert()
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise ExportRefused(f"TFLite: the policy's graph cannot be converted: {reason}.") from error
    destination.write_bytes(content)


class TFLiteRunner:
    """The file as the parity check runs it, with TensorFlow's own interpreter."""

    batch_sizes = (1,)

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        with muted_descriptors():
            interpreter = tf.lite.Interpreter(str(path), num_threads=1)
        self._act = interpreter.get_signature_runner(SIGNATURE)

    def run(self, observations: AnyArray, noise: AnyArray) -> dict[str, AnyArray]:
        """Arrays by output name, for one row."""
        outputs: dict[str, AnyArray] = self._act(observation=observations, noise=noise)
        return outputs
