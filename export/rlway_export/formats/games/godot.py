"""The policy for Godot RL Agents, whose plugin runs it in onnxruntime.

In:      the policy as an ONNX model.
Out:     `model.godot.onnx`: the same graph between tensors with the names and shapes of the plugin.
Refuses: what `GodotTensors` refuses.

The plugin gives no noise, and the actions are greedy. It can draw the discrete ones itself, from the scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.game_actions import Part, Span
from rlway_client.contract.game_lines import godot_lines
from rlway_client.contract.godot_tensors import OUTPUT, STATE_IN, STATE_OUT, GodotTensors
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.model_files import GODOT_FILE
from rlway_export.formats.games.choices import score_columns
from rlway_export.formats.games.unity import narrowed
from rlway_export.formats.games.wrapper import Wrapper

OPSET = 19  # the newest of onnxruntime 1.15, which the plugin's project names
NEWER = "model.godot.onnx has an opset above 19: give the project a Microsoft.ML.OnnxRuntime above 1.15.1."
UNBOUNDED = "model.godot.onnx: an action has no bounds, and Godot RL Agents clips each value to −1 and 1."


def write_godot(model: Any, manifest: Manifest, folder: Path) -> list[str]:
    """Writes the file, and returns notes for the user. Raises ExportRefused."""
    tensors, lines = GodotTensors.of(manifest.interface), godot_lines(manifest)
    newest = max(one.version for one in model.opset_import)
    for opset in (OPSET, newest):
        made = _wrapped(model, tensors).build(manifest, lines, opset)
        if made is not None:
            (folder / GODOT_FILE).write_bytes(made.SerializeToString())
            is_endless = any(isinstance(part, Span) and not part.is_bounded.all() for part in tensors.parts)
            return [NEWER] * (opset > OPSET) + [UNBOUNDED] * is_endless
    raise ExportRefused(
        "godot: the policy's graph does not fit the tensors of Godot RL Agents; leave godot out of --formats."
    )


def _wrapped(model: Any, tensors: GodotTensors) -> Wrapper:
    first = model.graph.input[0].type.tensor_type.shape.dim[0]
    rows = first.dim_value if first.HasField("dim_value") else "batch_size"
    wrapper = Wrapper(model)
    for key, spec in tensors.observations.items():
        flat = wrapper.input(key, [rows, spec.size])
        shaped = flat if len(spec.shape) == 1 else wrapper.add("Reshape", flat, np.array([-1, *spec.shape]))
        wrapper.feed(spec, shaped)
    if tensors.noise is not None:
        wrapper.feed(
            tensors.noise, wrapper.optional_input(tensors.noise.name, np.zeros((1, tensors.noise.size), np.float32))
        )
    state = wrapper.input(STATE_IN, [rows])
    wrapper.add_policy()
    parts = [value for part in tensors.parts for value in _columns(wrapper, part, tensors.is_mixed)]
    wrapper.output(OUTPUT, wrapper.join(parts), "float32", [rows, tensors.output_size])
    wrapper.output(STATE_OUT, state, "float32", [rows])
    for spec in tensors.outputs:
        wrapper.output(spec.name, wrapper.result(spec), spec.dtype, [rows, *spec.shape])
    return wrapper


def _columns(wrapper: Wrapper, part: Part, is_mixed: bool) -> list[str]:
    """A part of the action in the plugin's columns."""
    if not isinstance(part, Span):
        return score_columns(wrapper, part)
    values = narrowed(wrapper, part)
    return [values, wrapper.add("Mul", values, np.array(0, np.float32))] if is_mixed else [values]
