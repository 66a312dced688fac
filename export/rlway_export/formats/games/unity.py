"""The policy for Unity's ML-Agents, which runs it in Unity's Inference Engine (Sentis).

In:      the policy as an ONNX model.
Out:     `model.unity.onnx`: the same graph between tensors with the names, shapes and types of ML-Agents.
Refuses: a graph for one row (ML-Agents runs all agents at once), branches and loops, and what `UnityTensors` refuses.

Both kinds of actions are there: the deterministic ones, and those that are drawn. ML-Agents reads the latter unless
Deterministic Inference is ticked. Of a policy without noise, both are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.game_actions import Branches, Span
from rlway_client.contract.game_lines import unity_lines
from rlway_client.contract.interface import NEXT, RESET
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.model_files import UNITY_FILE
from rlway_client.contract.specs import TensorSpec
from rlway_client.contract.unity_tensors import API_VERSION, UnityObservation, UnityTensors
from rlway_export.formats.games.choices import score_columns
from rlway_export.formats.games.wrapper import POLICY, Wrapper

OPSET = 15  # the newest that every version of the Inference Engine promises to import
MISSING = {"If", "Loop", "Scan", "GRU", "RNN"}  # operators that it does not have
NEWER = (
    "model.unity.onnx has an opset above 15, as its operators need; Unity's Inference Engine promises to import it "
    "from version 2.6 on."
)
AGENTS = "batch"
MASKED = np.float32(-1e30)
LEAST = np.float32(1e-30)  # of an exponential number, so that its logarithm is finite


def write_unity(model: Any, manifest: Manifest, folder: Path) -> list[str]:
    """Writes the file, and returns notes for the user. Raises ExportRefused."""
    tensors, lines = UnityTensors.of(manifest.interface), unity_lines(manifest)
    if model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value"):
        raise ExportRefused(
            "unity: the policy's graph takes one observation at a time, and ML-Agents asks for all agents at once; "
            "leave unity out of --formats."
        )
    lacking = MISSING.intersection(node.op_type for node in model.graph.node)
    if lacking:
        raise ExportRefused(
            f"unity: Unity's Inference Engine has no {min(lacking)}, which the policy's graph has; leave unity out of "
            f"--formats."
        )
    newest = max(one.version for one in model.opset_import)
    for is_wide, opset in ((True, OPSET), (False, OPSET), (False, newest)):
        made = _UnityGraph(model, tensors, is_wide).wrapper.build(manifest, lines, opset)
        if made is not None:
            (folder / UNITY_FILE).write_bytes(made.SerializeToString())
            return [NEWER] if opset > OPSET else []
    raise ExportRefused(
        "unity: the policy's graph does not fit the tensors of ML-Agents; leave unity out of --formats."
    )


class _UnityGraph:
    """The policy's graph between ML-Agents' tensors."""

    def __init__(self, model: Any, tensors: UnityTensors, is_wide: bool) -> None:
        """`is_wide` gives the policy int32 in place of smaller whole numbers: the Inference Engine has no others."""
        self.wrapper, self._tensors = Wrapper(model), tensors
        for given in tensors.observations:
            self._sense(given, is_wide)
        self._noise = self._draw() if tensors.draws else None
        memory = self._remember() if tensors.state else None
        self.wrapper.add_policy()
        if self._noise is not None:
            self.wrapper.add_greedy(POLICY + "noise")
        self._tell("version_number", [API_VERSION])
        self._tell("memory_size", [tensors.memory_size])
        self._act()
        if memory is not None:
            self._keep(memory)
        for spec in tensors.outputs:
            self.wrapper.output(spec.name, self.wrapper.result(spec), spec.dtype, [AGENTS, *spec.shape])

    def _sense(self, given: UnityObservation, is_wide: bool) -> None:
        value = self.wrapper.input(given.name, [AGENTS, *given.shape])
        if not given.spec.shape:
            value = self.wrapper.add("Reshape", value, np.array([-1]))
        if given.is_turned:
            value = self.wrapper.add("Transpose", value, perm=[0, 2, 3, 1])
        if given.scale != 1:
            value = self.wrapper.add("Mul", value, np.array(given.scale, np.float32))
        dtype = given.spec.numpy_dtype
        is_small = dtype.kind in "iu" and dtype.itemsize < 4
        self.wrapper.feed(given.spec, value, "int32" if is_small and is_wide else None)

    def _draw(self) -> str:
        """The policy's noise, of standard normal numbers. Half the sum of two squares is exponential."""
        add, size = self.wrapper.add, self._tensors.epsilon_size
        epsilon, parts, at = self.wrapper.input("epsilon", [AGENTS, size]), [], 0
        for draw in self._tensors.draws:
            normal = self.wrapper.columns(epsilon, at, draw.size)
            at += draw.size
            if draw.distribution == "gumbel":
                other = self.wrapper.columns(epsilon, at, draw.size)
                at += draw.size
                squares = add("Add", add("Mul", normal, normal), add("Mul", other, other))
                drawn = add("Max", add("Mul", squares, np.array(0.5, np.float32)), np.array(LEAST))
                normal = add("Neg", add("Log", drawn))
            parts.append(normal)
        return add("Identity", self.wrapper.join(parts), output=POLICY + "noise")

    def _remember(self) -> str:
        """Gives the policy its state, and `reset` where none was kept. Returns float32[B, memory_size]."""
        memory = self.wrapper.input("recurrent_in", [AGENTS, 1, self._tensors.memory_size])
        rows, at = self.wrapper.add("Reshape", memory, np.array([-1, self._tensors.memory_size])), 0
        for spec in self._tensors.state:
            part = self.wrapper.columns(rows, at, spec.size)
            self.wrapper.feed(spec, self.wrapper.add("Reshape", part, np.array([-1, *spec.shape])))
            at += spec.size
        begun = self.wrapper.columns(rows, at, 1)
        fresh = self.wrapper.add("Sub", np.array(1, np.float32), begun)
        self.wrapper.feed(RESET, self.wrapper.add("Reshape", fresh, np.array([-1])))
        return begun

    def _keep(self, begun: str) -> None:
        """The next state, and a 1 at its end."""
        zero = self.wrapper.add("Mul", begun, np.array(0, np.float32))
        parts = [self._state_rows(spec) for spec in self._tensors.state]
        rows = self.wrapper.join([*parts, self.wrapper.add("Add", zero, np.array(1, np.float32))])
        size = self._tensors.memory_size
        memory = self.wrapper.add("Reshape", rows, np.array([-1, 1, size]))
        self.wrapper.output("recurrent_out", memory, "float32", [AGENTS, 1, size])

    def _state_rows(self, spec: TensorSpec) -> str:
        after = TensorSpec(NEXT + spec.name, spec.shape, spec.dtype)
        return self.wrapper.float_rows(self.wrapper.result(after), after)

    def _act(self) -> None:
        tensors = self._tensors
        if tensors.continuous:
            self._answer("continuous_actions", self._values, "float32", tensors.continuous_size)
            self._tell("continuous_action_output_shape", [tensors.continuous_size])
        if tensors.discrete:
            self.wrapper.input("action_masks", [AGENTS, sum(tensors.branch_sizes)])
            self._answer("discrete_actions", self._choices, "int64", len(tensors.branch_sizes))
            self._tell("discrete_action_output_shape", [tensors.branch_sizes])

    def _answer(self, name: str, make: Callable[[bool], str], dtype: str, size: int) -> None:
        """Both outputs of a kind of actions; without noise, they are the same."""
        drawn = make(False)
        greedy = drawn if self._noise is None else make(True)
        for output, value in ((name, drawn), (f"deterministic_{name}", greedy)):
            self.wrapper.output(output, value, dtype, [AGENTS, size])

    def _values(self, greedy: bool) -> str:
        return self.wrapper.join([narrowed(self.wrapper, part, greedy) for part in self._tensors.continuous])

    def _choices(self, greedy: bool) -> str:
        """The best allowed choice of each branch."""
        scores = [column for part in self._tensors.discrete for column in self._scores(part, greedy)]
        chosen, at = [], 0
        for column, size in zip(scores, self._tensors.branch_sizes, strict=True):
            allowed = self.wrapper.add(
                "Greater", self.wrapper.columns("action_masks", at, size), np.array(0.5, np.float32)
            )
            kept = self.wrapper.add("Where", allowed, column, np.array(MASKED))
            chosen.append(self.wrapper.add("ArgMax", kept, axis=1, keepdims=1))
            at += size
        return self.wrapper.join(chosen)

    def _scores(self, part: Branches, greedy: bool) -> list[str]:
        return score_columns(self.wrapper, part, None if greedy else self._noise, greedy)

    def _tell(self, name: str, value: Any) -> None:
        self.wrapper.constant_output(name, np.array(value, np.float32))


def narrowed(wrapper: Wrapper, part: Span, greedy: bool = False) -> str:  # -> float32[B, size]
    """A continuous part of the action as engines take it."""
    rows = wrapper.float_rows(wrapper.result(part.spec, greedy), part.spec)
    if not part.is_moved:
        return rows
    return wrapper.add("Div", wrapper.add("Sub", rows, part.middle[None]), part.half[None])
