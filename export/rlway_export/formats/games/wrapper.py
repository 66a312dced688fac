"""A policy's ONNX graph with another's tensors around it.

In:      the policy's float32 model; nodes before and after it, one call each.
Out:     a model with other inputs and outputs, and the policy's manifest in its metadata.
Refuses: nothing: `build` gives None for a graph that ONNX's checker refuses.

All names of the policy's own graph get a prefix, so that none of them can be a name that an engine looks for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_export.formats.onnx.convert import describe
from rlway_export.formats.onnx.simplify import prune

POLICY, GREEDY, OURS = "policy:", "greedy:", "game:"  # before names
LINES_KEY = "rlway.tensors"  # in the metadata: what each of the engine's tensors stands for


class Wrapper:
    """The nodes in their order: those before the policy, the policy, those after it."""

    def __init__(self, model: Any) -> None:
        import onnx
        from onnx.compose import add_prefix

        self._onnx = onnx
        self.FLOAT: int = onnx.TensorProto.FLOAT
        self._model = add_prefix(model, POLICY)
        self._policy = list(self._model.graph.node)
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._twins: dict[str, str] = {}
        del self._model.graph.node[:], self._model.graph.value_info[:]

    def add(self, kind: str, *inputs: str | AnyArray, output: str = "", **attributes: Any) -> str:
        """A node with one output, whose name is returned. Arrays among the inputs become constants."""
        graph = self._model.graph
        name = output or f"{OURS}{len(graph.node)}"
        given = [one if isinstance(one, str) else self._constant(one) for one in inputs]
        graph.node.append(self._onnx.helper.make_node(kind, given, [name], name=f"{kind}/{name}", **attributes))
        return name

    def input(self, name: str, shape: Sequence[int | str]) -> str:
        """An input of float32."""
        self._inputs.append(self._onnx.helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, shape))
        return name

    def optional_input(self, name: str, default: AnyArray) -> str:
        """An input of float32 with a value that stands where none is given."""
        self._model.graph.initializer.append(self._onnx.numpy_helper.from_array(default, name))
        return self.input(name, default.shape)

    def output(self, name: str, value: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Names a value as an output."""
        self.add("Identity", value, output=name)
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._outputs.append(self._onnx.helper.make_tensor_value_info(name, kind, shape))

    def constant_output(self, name: str, value: AnyArray) -> None:
        """An output that is always the same."""
        self._model.graph.node.append(
            self._onnx.helper.make_node("Constant", [], [name], value=self._onnx.numpy_helper.from_array(value, name))
        )
        self._outputs.append(self._onnx.helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, value.shape))

    def feed(self, spec: TensorSpec, value: str, dtype: str | None = None) -> None:
        """Gives the policy an input: float32 of its shape, which is brought to its type, or to `dtype`."""
        wanted, name = np.dtype(dtype or spec.dtype), POLICY + spec.name
        if wanted == np.float32:
            self.add("Identity", value, output=name)
        elif wanted.kind == "b":
            self.add("Greater", value, np.array(0.5, np.float32), output=name)
        else:
            whole = value if wanted.kind == "f" else self.add("Round", value)
            self.add("Cast", whole, output=name, to=self._onnx.helper.np_dtype_to_tensor_dtype(wanted))

    def add_policy(self) -> None:
        """The policy itself, once it was fed."""
        self._model.graph.node.extend(self._policy)

    def add_greedy(self, noise: str) -> None:
        """A second copy of all that depends on the noise, for which the noise is zero."""
        self._twins = {noise: self.add("Mul", noise, np.array(0, np.float32))}
        for node in self._policy:
            if self._twins.keys().isdisjoint(node.input):
                continue
            twin = self._onnx.NodeProto()
            twin.CopyFrom(node)
            twin.name = GREEDY + node.name
            twin.input[:] = [self._twins.get(name, name) for name in node.input]
            twin.output[:] = [GREEDY + name if name else "" for name in node.output]
            self._twins |= dict(zip(node.output, twin.output, strict=True))
            self._model.graph.node.append(twin)

    def result(self, spec: TensorSpec, greedy: bool = False) -> str:
        """An output of the policy; with `greedy`, what it is without noise."""
        name = POLICY + spec.name
        return self._twins.get(name, name) if greedy else name

    def float_rows(self, value: str, spec: TensorSpec) -> str:  # [B, *shape] -> float32[B, size]
        flat = self.add("Reshape", value, np.array([-1, spec.size]))
        return flat if spec.dtype == "float32" else self.add("Cast", flat, to=self._onnx.TensorProto.FLOAT)

    def whole_rows(self, value: str, spec: TensorSpec) -> str:  # [B, *shape] -> int64[B, size]
        flat = self.add("Reshape", value, np.array([-1, spec.size]))
        return flat if spec.dtype == "int64" else self.add("Cast", flat, to=self._onnx.TensorProto.INT64)

    def columns(self, value: str, start: int, size: int) -> str:  # [B, n] -> [B, size]
        return self.add("Slice", value, *(np.array([n]) for n in (start, start + size, 1)))

    def join(self, values: Sequence[str]) -> str:  # [B, a], [B, b], … -> [B, a + b + …]
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=1)

    def build(self, manifest: Manifest, lines: Mapping[str, str], opset: int) -> Any | None:
        """The model in that opset or an older one; None where its graph does not fit it."""
        model, graph = self._model, self._model.graph
        del graph.input[:], graph.output[:]
        graph.input.extend(self._inputs)
        graph.output.extend(self._outputs)
        prune(model)
        describe(model, manifest)
        model.metadata_props.add(key=LINES_KEY, value=json.dumps(lines, ensure_ascii=False, indent=1))
        own = next(one for one in model.opset_import if one.domain in ("", "ai.onnx"))
        own.version = min(own.version, opset)
        try:
            self._onnx.checker.check_model(model, full_check=True)
        except (self._onnx.checker.ValidationError, self._onnx.shape_inference.InferenceError):
            return None
        return model

    def _constant(self, value: AnyArray) -> str:
        name = f"{OURS}constant/{len(self._model.graph.initializer)}"
        self._model.graph.initializer.append(self._onnx.numpy_helper.from_array(value, name))
        return name
