"""TFLite files for tests, built with LiteRT's schema, so that neither a converter nor TensorFlow is needed.

In:      tensors and operators, in order.
Out:     the file's bytes, with the signature that RLway's files have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from rlway_client.contract.specs import AnyArray


class LiteModel:
    """A graph under construction. A tensor is identified by its number."""

    def __init__(self) -> None:
        self._model, self._graph, self._signature = schema.ModelT(), schema.SubGraphT(), schema.SignatureDefT()
        self._model.version, self._model.buffers, self._model.operatorCodes = 3, [schema.BufferT()], []
        self._model.subgraphs, self._model.signatureDefs = [self._graph], [self._signature]
        self._graph.tensors, self._graph.operators = [], []

    @staticmethod
    def type_of(dtype: str) -> Any:
        return getattr(schema.TensorType, dtype.upper())

    def tensor(self, name: str, shape: Sequence[int], dtype: str) -> int:
        """Adds an input, or an operator's output."""
        made = schema.TensorT()
        made.name, made.shape, made.type = name, list(shape), self.type_of(dtype)
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def constant(self, name: str, content: AnyArray) -> int:
        number = self.tensor(name, content.shape, str(content.dtype))
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        self._graph.tensors[number].buffer = len(self._model.buffers) - 1
        return number

    def operate(self, kind: str, inputs: list[int], output: int, options_of: str = "", **options: Any) -> int:
        """Adds an operator and returns its output. Its options' type is named after it, or after `options_of`."""
        made, code = schema.OperatorT(), schema.OperatorCodeT()
        name = options_of or kind.title().replace("_", "")
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        self._model.operatorCodes.append(code)
        made.opcodeIndex, made.inputs, made.outputs = len(self._model.operatorCodes) - 1, inputs, [output]
        made.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name}Options")
        made.builtinOptions = getattr(schema, f"{name}OptionsT")()
        for option, value in options.items():
            setattr(made.builtinOptions, option, value)
        self._graph.operators.append(made)
        return output

    def best_of(self, q_values: int) -> int:
        """The action, int64[1], with the highest of the Q-values [1, n]."""
        axis = self.constant("axis", np.array(1, np.int32))
        action = self.tensor("action", (1,), "int64")
        return self.operate("ARG_MAX", [q_values, axis], action, outputType=self.type_of("int64"))

    def finish(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
        self._graph.inputs, self._graph.outputs = list(inputs.values()), list(outputs.values())
        self._signature.signatureKey, self._signature.subgraphIndex = b"act", 0
        self._signature.inputs, self._signature.outputs = _maps(inputs), _maps(outputs)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _maps(indices: Mapping[str, int]) -> list[Any]:
    maps = []
    for name, index in indices.items():
        made = schema.TensorMapT()
        made.name, made.tensorIndex = name, index
        maps.append(made)
    return maps
