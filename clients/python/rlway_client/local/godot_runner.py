"""Runs a policy's file for Godot as Godot RL Agents runs it, in onnxruntime, and reads its output as the plugin does.

In:      `model.godot.onnx`, the manifest; inputs by the manifest's names, one row.
Out:     outputs by the manifest's names, one row.
Refuses: a file that onnxruntime does not load, or that lacks a tensor of the plugin (BundleInvalid).

The plugin takes the largest score of each choice, and clips values to −1 and 1. The policy's noise is an input that may
be left out, as the plugin does. Here it is given: a row that has some shows what the graph computes, without clipping.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.game_actions import Part, Span
from rlway_client.contract.godot_tensors import OUTPUT, STATE_IN, STATE_OUT, GodotTensors
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, FloatArray
from rlway_client.local.onnx_session import open_session


class GodotRunner:
    """The file in onnxruntime, on the CPU."""

    batch_sizes = (1,)

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._tensors = GodotTensors.of(manifest.interface)
        self._session = open_session(path)
        self._outputs = [OUTPUT, STATE_OUT, *(spec.name for spec in self._tensors.outputs)]
        lacking = {*self._outputs} - {output.name for output in self._session.get_outputs()}
        if lacking:
            raise BundleInvalid(f"{path}: expected an output {min(lacking)}, as the plugin reads it, got none.")

    def run(self, inputs: Arrays) -> Arrays:
        output, _, *further = self._session.run(self._outputs, self.feed(inputs))
        outputs = dict(zip((spec.name for spec in self._tensors.outputs), further, strict=True))
        noise, at = inputs.get("noise"), 0
        for part, size in self._tensors.columns:
            outputs[part.spec.name] = _read(output[:, at : at + size], part, noise)
            at += size
        return outputs

    def call(self, inputs: Arrays) -> Callable[[], object]:
        """What Godot calls for an action."""
        given = self.feed(inputs)
        return lambda: self._session.run([OUTPUT, STATE_OUT], given)

    def feed(self, inputs: Arrays) -> Arrays:
        """The same inputs by the keys of the plugin, flat and as float32."""
        rows = {key: inputs[spec.name].reshape(1, -1) for key, spec in self._tensors.observations.items()}
        given = {key: row.astype(np.float32) for key, row in rows.items()} | {STATE_IN: np.ones(1, np.float32)}
        return given | ({"noise": inputs["noise"]} if self._tensors.noise else {})


def _read(columns: FloatArray, part: Part, noise: AnyArray | None) -> AnyArray:
    """A part of the action, from its columns.

    With noise it is drawn as the plugin draws: the largest sum with Gumbel numbers is a draw from the softmax.
    """
    if isinstance(part, Span):
        values = columns[:, : part.spec.size]
        return part.widened(values if noise is not None and noise.any() else np.clip(values, -1.0, 1.0))
    if part.scores is not None and part.noise is not None and noise is not None:
        columns = columns + noise[:, part.noise]
    ends = np.cumsum(part.sizes)[:-1]
    return part.actions(np.stack([scores.argmax(axis=1) for scores in np.split(columns, ends, axis=1)], axis=1))
