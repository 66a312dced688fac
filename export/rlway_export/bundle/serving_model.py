"""The SavedModel of a policy that came as an ONNX file, for TensorFlow Serving: written, and compared like every file.

In:      the policy's graphs, the evidence, the draft's folder.
Out:     the SavedModel in the folder, or a note on why the bundle has none.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from rlway_client.common.quote import reason
from rlway_client.contract.evidence import Evidence
from rlway_client.contract.interface import Interface
from rlway_client.contract.parity import Arrays, Tolerance, summarize
from rlway_export.checks import parity
from rlway_export.formats.lowering.policy import SERVING, LoweredPolicy
from rlway_export.formats.onnx_graphs import OnnxGraphs
from rlway_export.sources.base import SAVED_MODEL

PARTS = ("variables", "assets")
FILES = (SAVED_MODEL, "fingerprint.pb")
LEFT_OUT = "the bundle has no SavedModel, so TensorFlow Serving cannot serve it: "


def write_serving_model(graphs: OnnxGraphs, evidence: Evidence, tolerance: Tolerance, folder: Path) -> list[str]:
    """Notes: none where the SavedModel was written and acts alike."""
    lowered = graphs.lowered
    if lowered is None:
        return [LEFT_OUT + reason(str(graphs.refusal).partition("; ")[0], 200) + "."]
    lowered.save(folder)
    found = ServingModel(folder, lowered)
    row = summarize(parity.judge(evidence, lowered, folder / SAVED_MODEL, found, tolerance))
    if row.passed:
        return []
    for part in PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
    for file in FILES:
        (folder / file).unlink(missing_ok=True)
    return [f"{LEFT_OUT}expected {row.threshold}, got {row.max_difference:.1e} and {row.argmax_flips} changed actions."]


class ServingModel:
    """The SavedModel, as TensorFlow Serving runs it: by its signature."""

    def __init__(self, folder: Path, lowered: LoweredPolicy) -> None:
        import tensorflow as tf

        self._loaded = tf.saved_model.load(str(folder))
        self._interface: Interface = lowered.interface
        self.batch_sizes = (1, 7, 64) if lowered.rows is None else (lowered.rows,)

    def run(self, inputs: Arrays) -> Arrays:
        """Runs any number of rows, [B, …] by name."""
        import tensorflow as tf

        given = {spec.name: tf.constant(inputs[spec.name]) for spec in self._interface.inputs}
        found = self._loaded.signatures[SERVING](**given)
        return {spec.name: found[spec.name].numpy() for spec in self._interface.results}
