"""The nodes around the graph of an ONNX source that make its inputs and outputs those of the contract.

In:      a policy in an ONNX file, a graph of it, the axis of the rows in each of the graph's inputs.
Out:     the model: observation…, noise, state… and reset go in; the action, scores and the next state come out.

    state     zeros, or the file's own initial state, where `reset` is true
    noise     split among the graph's draws, and added to the scores of discrete actions
    action    the index of the largest score
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rlway_client.contract.interface import NEXT, RESET
from rlway_client.contract.specs import TensorSpec
from rlway_export.reference.onnx.policy import OnnxPolicy
from rlway_export.reference.tensor_interface import NOISE

CORE = "source/"  # the prefix of the file's own names


class ContractGraph:
    """One model under construction."""

    def __init__(self, policy: OnnxPolicy, core: Any, axes: dict[str, int | None], is_free: bool) -> None:
        import onnx.compose

        self._policy, self._axes, self._is_free = policy, axes, is_free
        self._core = onnx.compose.add_prefix(core, CORE, inplace=False)
        self._places = policy.layout.places | {draw.name: place for draw, place in policy.draw_places()}
        self._before: list[Any] = []
        self._after: list[Any] = []
        self._constants: list[Any] = []
        self._count = 0

    def build(self) -> Any:
        """The model; it is not yet checked."""
        import onnx

        self._read_observation()
        self._read_state()
        self._read_fixed()
        self._give_action(self._read_noise())
        self._give_state()
        interface = self._policy.interface
        graph = onnx.helper.make_graph(
            [*self._before, *self._core.graph.node, *self._after],
            "policy",
            list(map(self._value, interface.inputs)),
            list(map(self._value, interface.results)),
            [*self._core.graph.initializer, *self._constants],
        )
        graph.sparse_initializer.extend(self._core.graph.sparse_initializer)
        model = onnx.helper.make_model(graph, opset_imports=self._core.opset_import, ir_version=self._core.ir_version)
        model.producer_name = "rlway"
        return model

    def _value(self, spec: TensorSpec) -> Any:
        import onnx

        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        return onnx.helper.make_tensor_value_info(spec.name, kind, ["batch" if self._is_free else 1, *spec.shape])

    def _read_observation(self) -> None:
        for name, spec in zip(self._policy.roles.observation, self._policy.interface.observation, strict=True):
            self._before += self._put(spec.name, name)

    def _read_state(self) -> None:
        for part, spec in zip(self._policy.roles.state, self._policy.interface.state, strict=True):
            begins = RESET.name
            if spec.shape:
                axes = np.arange(1, 1 + len(spec.shape), dtype=np.int64)
                begins = self._node(self._before, "Unsqueeze", [RESET.name, self._constant(axes)])
            initial = self._policy.initial(part.taken)
            initial = initial[np.newaxis] if initial.any() else np.zeros((), initial.dtype)
            value = self._node(self._before, "Where", [begins, self._constant(initial), spec.name])
            self._before += self._put(value, part.taken)

    def _read_fixed(self) -> None:
        """A constant of one row, repeated where the graph may have to concatenate it with other rows."""
        for name in self._policy.roles.fixed.keys() & self._places.keys():
            place = self._places[name]
            if self._axes[name] is None:
                given = self._constant(np.full(place.shape, self._policy.roles.fixed[name], place.dtype))
                self._node(self._before, "Identity", [given], [CORE + name])
                continue
            row = np.full((1, *place.shape), self._policy.roles.fixed[name], place.dtype)
            value = self._constant(row)
            if self._is_free:
                first = self._policy.interface.observation[0].name
                rows = self._node(self._before, "Shape", [first], start=0, end=1)
                parts = [rows, self._constant(np.array(place.shape, np.int64))] if place.shape else [rows]
                shape = self._node(self._before, "Concat", parts, axis=0)
                value = self._node(self._before, "Expand", [value, shape])
            self._before += self._put(value, name)

    def _read_noise(self) -> list[str]:
        """Gives the draws their parts of the noise; returns the parts for the scores."""
        sizes = [draw.size for draw in self._policy.interface.noise_draws]
        if not sizes:
            return []
        parts = [NOISE]
        if len(sizes) > 1:
            parts = [f"{CORE}noise_{i}" for i in range(len(sizes))]
            self._node(self._before, "Split", [NOISE, self._constant(np.array(sizes, np.int64))], parts, axis=1)
        drawn = self._policy.draw_places()
        for (draw, place), part in zip(drawn, parts, strict=False):
            shape = self._constant(np.array([-1 if self._is_free else 1, *place.shape], np.int64))
            value = part if len(place.shape) == 1 else self._node(self._before, "Reshape", [part, shape])
            self._before += self._put(value, draw.name)
        return parts[len(drawn) :]

    def _give_action(self, noise: list[str]) -> None:
        import onnx

        interface, parts = self._policy.interface, iter(noise)
        scores = iter(interface.outputs)
        for part, spec in zip(self._policy.roles.action, interface.actions, strict=True):
            value = self._rows(CORE + part.tensor)
            if part.is_scores:
                given = next(scores)
                if self._policy.dtypes[part.tensor] == "float32":
                    self._node(self._after, "Identity", [value], [given.name])
                else:
                    self._node(self._after, "Cast", [value], [given.name], to=onnx.TensorProto.FLOAT)
                total = self._node(self._after, "Add", [given.name, next(parts)])
                self._node(self._after, "ArgMax", [total], [spec.name], axis=1, keepdims=0)
            else:
                self._node(self._after, "Identity", [value], [spec.name])

    def _give_state(self) -> None:
        for part, spec in zip(self._policy.roles.state, self._policy.interface.state, strict=True):
            value, axis = CORE + part.given, self._axes[part.taken]
            if axis is None:
                value = self._node(self._after, "Unsqueeze", [value, self._constant(np.zeros(1, np.int64))])
            elif axis:
                order = [axis, *(i for i in range(1 + len(spec.shape)) if i != axis)]
                value = self._node(self._after, "Transpose", [value], perm=order)
            self._node(self._after, "Identity", [value], [NEXT + spec.name])

    def _rows(self, value: str) -> str:
        """An output with a batch dimension."""
        if self._is_free or self._policy.layout.is_batched:
            return value
        return self._node(self._after, "Unsqueeze", [value, self._constant(np.zeros(1, np.int64))])

    def _put(self, value: str, name: str) -> list[Any]:
        """Nodes that give rows to the graph's input of that name."""
        nodes: list[Any] = []
        axis, place = self._axes[name], self._places[name]
        if axis is None:
            self._node(nodes, "Squeeze", [value, self._constant(np.zeros(1, np.int64))], [CORE + name])
        elif axis:
            order = [*range(1, axis + 1), 0, *range(axis + 1, 1 + len(place.shape))]
            self._node(nodes, "Transpose", [value], [CORE + name], perm=order)
        else:
            self._node(nodes, "Identity", [value], [CORE + name])
        return nodes

    def _node(
        self, nodes: list[Any], kind: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any
    ) -> str:
        import onnx

        self._count += 1
        results = outputs or [f"contract/{kind.lower()}_{self._count}"]
        name = f"contract/{kind.lower()}_{self._count}_node"
        nodes.append(onnx.helper.make_node(kind, inputs, results, name=name, **attributes))
        return results[0]

    def _constant(self, value: Any) -> str:
        import onnx

        name = f"contract/constant_{len(self._constants)}"
        self._constants.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name
