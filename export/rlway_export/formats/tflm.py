"""The policy as an array in C, for TensorFlow Lite for Microcontrollers.

In:      a TFLite file.
Out:     `NAME.h` and `NAME.cc`: the file's bytes, aligned as TFLite Micro needs them, the operators to register, and
         which of its numbered inputs and outputs is which tensor.
Refuses: an operator, or a type, that TFLite Micro has no kernel for (ExportRefused names it).

TFLite Micro's ARG_MAX gives 32 bits, so an action of int64 becomes one of int32 in the array.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.lookup_table import looked_up
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.nesting import places
from rlway_export.formats.c.comments import comment

A_LINE = 16  # bytes

# MicroMutableOpResolver's methods for builtin operators, without their Add.
KERNELS = (
    "Abs Add AddN ArgMax ArgMin AveragePool2D BatchMatMul BatchToSpaceNd BroadcastArgs BroadcastTo Cast Ceil "
    "Concatenation Conv2D Cos CumSum DepthToSpace DepthwiseConv2D Dequantize Div Elu EmbeddingLookup Equal Exp "
    "ExpandDims Fill Floor FloorDiv FloorMod FullyConnected Gather GatherNd Greater GreaterEqual HardSwish "
    "L2Normalization L2Pool2D LeakyRelu Less LessEqual Log LogicalAnd LogicalNot LogicalOr Logistic LogSoftmax "
    "Maximum MaxPool2D MirrorPad Mean Minimum Mul Neg NotEqual Pack Pad PadV2 Prelu Quantize ReduceMax ReduceMin "
    "Relu Relu6 Reshape ResizeBilinear ResizeNearestNeighbor ReverseV2 Round Rsqrt SelectV2 Shape Sin Slice "
    "Softmax SpaceToBatchNd SpaceToDepth Split SplitV Squeeze Sqrt Square SquaredDifference StridedSlice Sub Sum "
    "Tanh TransposeConv Transpose Unpack ZerosLike"
)
METHODS = {name.upper(): f"Add{name}" for name in KERNELS.split()}


def write_tflm(content: bytes, manifest: Manifest, name: str, folder: Path) -> None:
    """Writes both files; `name` is the name of the files and of the array."""
    content, methods, tensors = _for_micro(content)
    (folder / f"{name}.h").write_text(_header(manifest, name, len(content), methods, tensors))
    (folder / f"{name}.cc").write_text(_source(name, content))


def _for_micro(content: bytes) -> tuple[bytes, list[str], dict[str, str]]:
    """The model for TFLite Micro, the resolver methods that register its operators, and its tensors.

    Of each tensor: how a program gets it, such as `output(1)`, by its name.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    kinds = [names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
    for graph in model.subgraphs:
        for operator in graph.operators:
            kind = kinds[operator.opcodeIndex]
            if kind == "ARG_MAX":
                operator.builtinOptions.outputType = schema.TensorType.INT32
                graph.tensors[operator.outputs[0]].type = schema.TensorType.INT32
            _check(kind, [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0], schema)
    methods = sorted({METHODS[kind.replace("_", "")] for kind in kinds})
    tensors = _numbered(model, "input") | _numbered(model, "output")
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model)), methods, tensors


def _numbered(model: Any, kind: str) -> dict[str, str]:
    """The inputs or outputs by name; TFLite Micro knows their numbers only."""
    order = [int(tensor) for tensor in getattr(model.subgraphs[0], f"{kind}s")]
    maps = [one for signature in model.signatureDefs or [] for one in getattr(signature, f"{kind}s")]
    named = {one.name.decode(): order.index(int(one.tensorIndex)) for one in maps}
    return {name: f"{kind}({named[name]})" for name in sorted(named, key=named.__getitem__)}


def _check(kind: str, tensors: list[Any], schema: Any) -> None:
    if kind.replace("_", "") not in METHODS:
        raise ExportRefused(f"TFLite Micro: it has no kernel for {kind}; leave tflm out of --formats.")
    wide = [tensor.name.decode() for tensor in tensors if tensor.type == schema.TensorType.INT64]
    if wide:
        raise ExportRefused(
            f"TFLite Micro: {short_name(wide[0])}, of {kind}, is of int64; leave tflm out of --formats."
        )
    if kind == "CAST" and tensors[0].type == schema.TensorType.UINT8:
        raise ExportRefused("TFLite Micro: its CAST takes no uint8; leave tflm out of --formats.")


def _header(manifest: Manifest, name: str, size: int, methods: list[str], tensors: dict[str, str]) -> str:
    about = [
        f"{manifest.policy}, version {manifest.version}, as a TFLite model for TensorFlow Lite for Microcontrollers.",
        f"Written by RLway {manifest.versions.get('rlway-export', '')} on {manifest.created}.",
        "",
        "Its operators:",
        "",
        f"    tflite::MicroMutableOpResolver<{len(methods)}> resolver;",
        *(f"    resolver.{method}();" for method in methods),
        "",
        "After AllocateTensors(), MicroInterpreter::arena_used_bytes() tells how large an arena it takes.",
        *_places(manifest, tensors),
        *_tables(manifest),
    ]
    text = "\n".join(f" * {line}".rstrip() for line in map(comment, about))
    guard = f"RLWAY_{name.upper()}_H"
    return (
        f"/*\n{text}\n */\n#ifndef {guard}\n#define {guard}\n\n#include <cstddef>\n\n"
        f"extern const unsigned char {name}[];\nconstexpr std::size_t {name}_size = {size};\n\n#endif\n"
    )


def _places(manifest: Manifest, tensors: dict[str, str]) -> list[str]:
    """Which of the interpreter's tensors is which."""
    keys = places(manifest.interface)
    if not tensors:
        return []
    rows = [f"    {place:<10} {name:<16} {keys.get(name, '')}" for name, place in tensors.items()]
    return ["", "The interpreter's tensors:", "", *rows]


def _tables(manifest: Manifest) -> list[str]:
    """The values that may be given: not every kernel of TFLite Micro checks its indices."""
    found = [spec for spec in manifest.observation if spec.is_lookup]
    if not found:
        return []
    return [
        "",
        "Values that are looked up in a table; others must never be given, for they may be read from outside of it:",
        "",
        *(f"    {spec.name}: {looked_up(spec)}" for spec in found),
    ]


def _source(name: str, content: bytes) -> str:
    lines = [content[start : start + A_LINE] for start in range(0, len(content), A_LINE)]
    numbers = "\n".join("    " + " ".join(f"0x{byte:02x}," for byte in line) for line in lines)
    return f'#include "{name}.h"\n\nalignas(16) const unsigned char {name}[] = {{\n{numbers}\n}};\n'
