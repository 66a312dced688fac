"""A policy over any observation, in ONNX and TFLite, whose answers tell which value has gone to which input.

`weighing_policy`: weight = Σ values · their weights, where value j of tensor i weighs 1 + j + 10 · i;
                   q_values = [weight, 0], action = argmax(q_values): 0 where the weight is not negative.

The TFLite file is made with LiteRT's own schema, without a converter and so without TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from rlway_client.bundle import Bundle
from rlway_client.manifest import MANIFEST_SCHEMA, Manifest
from rlway_client.specs import AnyArray, TensorSpec
from tests.bundles import ACTION, Values, make_model, write_bundle

BLACKJACK = [TensorSpec(f"observation_{i}", (), "int64", 0, n - 1, (str(i),)) for i, n in enumerate((32, 11, 2))]
# {"pose": (float32[2], float32), "flags": (int64,), "camera": uint8[2, 2]}
ROBOT = [
    TensorSpec("camera", (2, 2), "uint8", 0, 255, ("camera",)),
    TensorSpec("flag", (), "int64", 0, 1, ("flags", "0")),
    TensorSpec("arm", (2,), "float32", None, None, ("pose", "0")),
    TensorSpec("speed", (), "float32", None, None, ("pose", "1")),
]
# (float32[2], {"hit": bool, "near": float32[1]})
PAIR = [
    TensorSpec("at", (2,), "float32", None, None, ("0",)),
    TensorSpec("hit", (), "bool", None, None, ("1", "hit")),
    TensorSpec("near", (1,), "float32", None, None, ("1", "near")),
]


def weights(specs: Sequence[TensorSpec]) -> AnyArray:  # -> [values, 2]
    columns = [1.0 + np.arange(max(1, spec.size)) + 10 * i for i, spec in enumerate(specs)]
    weighing = np.concatenate(columns).astype(np.float32)
    return np.stack([weighing, np.zeros_like(weighing)], axis=1)


def weigh(specs: Sequence[TensorSpec], *parts: Any) -> float:
    """What the policy should find of one observation's parts, in the order of the specs."""
    values = np.concatenate([np.ravel(np.asarray(part, np.float64)) for part in parts])
    return float(values @ weights(specs)[:, 0])


def weighing_policy(
    models: Path, specs: Sequence[TensorSpec], name: str = "weighing", env: str | None = None, actions: int = 2
) -> Bundle:
    """The bundle, with `actions` of which it only ever takes the first two."""
    manifest = Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm="dqn",
        env=env,
        observation=list(specs),
        action=TensorSpec("action", (), "int64", 0, actions - 1),
        noise=None,
        outputs=[TensorSpec("q_values", (2,), "float32")],
    )
    return write_bundle(models, manifest, _onnx(specs), {"model.tflite": _tflite(specs)})


def _onnx(specs: Sequence[TensorSpec]) -> bytes:
    nodes, columns = [], []
    for spec in specs:
        columns.append(f"{spec.name}.column")
        nodes.append(helper.make_node("Cast", [spec.name], [f"{spec.name}.float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Reshape", [f"{spec.name}.float", f"{spec.name}.shape"], columns[-1:]))
    nodes.append(helper.make_node("Concat", columns, ["values"], axis=1))
    nodes.append(helper.make_node("MatMul", ["values", "weights"], ["q_values"]))
    nodes.append(helper.make_node("ArgMax", ["q_values"], ["action"], axis=1, keepdims=0))
    constants = {f"{spec.name}.shape": np.array([-1, max(1, spec.size)], np.int64) for spec in specs}
    inputs: Values = [
        (spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), ["B", *spec.shape]) for spec in specs
    ]
    outputs: Values = [ACTION, ("q_values", TensorProto.FLOAT, ["B", 2])]
    return make_model(nodes, inputs, outputs, constants | {"weights": weights(specs)})


def _tflite(specs: Sequence[TensorSpec]) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, shape: Sequence[int], dtype: str, content: AnyArray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type = name, list(shape), getattr(schema.TensorType, dtype.upper())
        if content is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(content.tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operate(kind: str, inputs: list[int], output: int, **options: Any) -> int:
        made, code = schema.OperatorT(), schema.OperatorCodeT()
        name = kind.title().replace("_", "")
        builtin = getattr(schema.BuiltinOperator, kind)
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        model.operatorCodes.append(code)
        made.opcodeIndex, made.inputs, made.outputs = len(model.operatorCodes) - 1, inputs, [output]
        made.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name}Options")
        made.builtinOptions = getattr(schema, f"{name}OptionsT")()
        for option, value in options.items():
            setattr(made.builtinOptions, option, value)
        graph.operators.append(made)
        return output

    def name_tensors(indices: dict[str, int]) -> list[Any]:
        maps = []
        for name, index in indices.items():
            made = schema.TensorMapT()
            made.name, made.tensorIndex = name, index
            maps.append(made)
        return maps

    model, graph, signature = schema.ModelT(), schema.SubGraphT(), schema.SignatureDefT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    model.subgraphs, model.signatureDefs = [graph], [signature]
    graph.tensors, graph.operators = [], []
    inputs, columns = {}, []
    for spec in specs:
        size = max(1, spec.size)
        given = inputs[spec.name] = tensor(spec.name, (1, *spec.shape), spec.dtype)
        if spec.dtype != "float32":
            types = {"inDataType": graph.tensors[given].type, "outDataType": schema.TensorType.FLOAT32}
            given = operate("CAST", [given], tensor(f"{spec.name}.float", (1, *spec.shape), "float32"), **types)
        shape = tensor(f"{spec.name}.shape", (2,), "int32", np.array([1, size], np.int32))
        column = tensor(f"{spec.name}.column", (1, size), "float32")
        columns.append(operate("RESHAPE", [given, shape], column, newShape=[1, size]))
    values = sum(max(1, spec.size) for spec in specs)
    joined = operate("CONCATENATION", columns, tensor("values", (1, values), "float32"), axis=1)
    weighed = tensor("weights", (2, values), "float32", weights(specs).T.copy())
    q_values = operate("FULLY_CONNECTED", [joined, weighed, -1], tensor("q_values", (1, 2), "float32"))
    axis = tensor("axis", (), "int32", np.array(1, np.int32))
    whole = schema.TensorType.INT64
    action = operate("ARG_MAX", [q_values, axis], tensor("action", (1,), "int64"), outputType=whole)
    outputs = {"action": action, "q_values": q_values}
    graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
    signature.signatureKey, signature.subgraphIndex = b"act", 0
    signature.inputs, signature.outputs = name_tensors(inputs), name_tensors(outputs)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
