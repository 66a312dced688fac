"""An ONNX file, read and checked before anything runs it.

In:      a path.
Out:     `OnnxFile`: the model in one piece, its inputs and outputs.
Refuses: what is no ONNX file, a damaged one, an opset newer than the library here, operators that are not ONNX's own,
         names that are no text, weights in places that the file must not name, tensors or functions beyond any policy's
         size (RunInvalid).

Reading runs nothing. An ONNX file holds no code: custom operators need a library that only a program can register.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rlway_client.common.quote import clipped, reason, short_name
from rlway_client.contract.errors import RunInvalid
from rlway_export.sources.onnx.external import MOST_BYTES, embed_external_data, tensors
from rlway_export.sources.tensor_file import FileTensor, signature_of

OLDEST = 7  # the first opset that `onnx` can bring to a newer one
MOST_ELEMENTS = 2**28  # of one tensor, with one row: 1 GiB of float32
MOST_NODES = 2**18  # once the functions are in their places
OWN = ("", "ai.onnx")  # the names of ONNX's own domain


class OnnxFile(NamedTuple):
    """A model without external data and without functions of its own."""

    path: Path
    model: Any
    inputs: list[FileTensor]  # without those that have a default value
    outputs: list[FileTensor]

    @property
    def signature(self) -> str:
        """What it takes and gives, for a sentence."""
        return signature_of(self.inputs, self.outputs)

    @property
    def producer(self) -> str:
        """The program that wrote it, if it says so."""
        text = clipped(f"{self.model.producer_name} {self.model.producer_version}")
        return "".join(letter for letter in text if letter.isprintable())

    @property
    def opset(self) -> int:
        """That of ONNX's own operators."""
        return opset_of(self.model)


def opset_of(model: Any) -> int:
    """The opset of ONNX's own operators; 0 if the model names none."""
    return next((one.version for one in model.opset_import if one.domain in OWN), 0)


def read_onnx(path: Path) -> OnnxFile:
    """Reads and checks the file."""
    model = parse_onnx(path)
    _check_text(path, model)
    _check_version(path, model)
    _check_sizes(path, model)
    embed_external_data(model, path)
    if model.functions:
        model = _inlined(path, model)
    _check_operators(path, model)
    return described(path, model)


def described(path: Path, model: Any) -> OnnxFile:
    """A model of checked parts, with what it takes and gives; the graph as a whole is checked here."""
    import onnx

    try:
        onnx.checker.check_model(model)
        known = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # the checker has several kinds, and protobuf its own
        raise RunInvalid(f"{path}: is no sound ONNX file: {reason(error)}.") from None
    _check_inferred(path, known)
    defaults = {tensor.name for tensor in model.graph.initializer}
    inputs = [_tensor(value) for value in known.graph.input if value.name not in defaults]
    return OnnxFile(path, model, inputs, [_tensor(value) for value in known.graph.output])


def parse_onnx(path: Path) -> Any:
    """The message as it is in the file: unchecked, with its weights in other files."""
    import onnx
    from google.protobuf.message import DecodeError

    if path.stat().st_size > MOST_BYTES:
        raise RunInvalid(f"{path}: expected an ONNX file of at most {MOST_BYTES} bytes, got more.")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise RunInvalid(f"{path}: is no ONNX file, or a damaged one; export it from its framework again.") from None
    if not model.ir_version or not model.graph.node or not model.graph.output:
        raise RunInvalid(f"{path}: is no ONNX file, or one without a graph; export it from its framework again.")
    return model


def _check_text(path: Path, model: Any) -> None:
    """Of a text that is none, protobuf gives the bytes."""
    waiting = [model]
    while waiting:
        for field, value in waiting.pop().ListFields():
            if field.type == field.TYPE_MESSAGE:
                waiting += [value] if hasattr(value, "ListFields") else value
            elif field.type == field.TYPE_STRING:
                texts = [value] if isinstance(value, str | bytes) else value
                odd = next((text for text in texts if isinstance(text, bytes)), None)
                if odd is not None:
                    raise RunInvalid(f"{path}: has a name that is no text, {odd[:40]!r}; export it with others.")


def _check_version(path: Path, model: Any) -> None:
    import onnx

    newest, opset = onnx.defs.onnx_opset_version(), opset_of(model)
    if not opset:
        raise RunInvalid(f"{path}: names no opset of ONNX's own operators; export it with opset_version=17.")
    if not OLDEST <= opset <= newest:
        raise RunInvalid(f"{path}: expected opset {OLDEST} to {newest}, got {opset}; export it with opset_version=17.")
    if model.ir_version > onnx.IR_VERSION:
        raise RunInvalid(
            f"{path}: expected ONNX's IR version {onnx.IR_VERSION} or older, got {model.ir_version}; export it with "
            f"opset_version=17."
        )


def _check_sizes(path: Path, model: Any) -> None:
    for tensor in tensors(model):
        if any(n < 0 for n in tensor.dims) or math.prod(tensor.dims) > MOST_ELEMENTS:
            raise RunInvalid(
                f"{path}: {short_name(tensor.name)}: expected at most {MOST_ELEMENTS} numbers, got the shape "
                f"{str(list(tensor.dims))[:60]}."
            )


def _inlined(path: Path, model: Any) -> Any:
    """The model with the bodies of its own functions in their places."""
    import onnx.inliner

    bodies = {(one.domain, one.name): _called(one) for one in model.functions}
    sizes: dict[tuple[str, str], int] = {}  # in nodes
    while len(sizes) < len(bodies):
        ready = [key for key in bodies.keys() - sizes.keys() if set(bodies[key]) & bodies.keys() <= sizes.keys()]
        if not ready:
            raise RunInvalid(f"{path}: its functions call each other in a circle; export it from its framework again.")
        sizes |= {key: sum(sizes.get(one, 1) for one in bodies[key]) for key in ready}
    size = sum(sizes.get(one, 1) for one in _called(model.graph))
    if size > MOST_NODES:
        raise RunInvalid(f"{path}: expected at most {MOST_NODES:,} nodes with those of its functions, got {size:.2g}.")
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:  # the inliner's kinds are not documented
        raise RunInvalid(f"{path}: its functions cannot be resolved: {reason(error)}.") from None


def _called(graph: Any) -> list[tuple[str, str]]:
    """The operator or function of each node."""
    return [(node.domain, node.op_type) for node in nodes(graph)]


def _check_operators(path: Path, model: Any) -> None:
    import onnx

    values = [*model.graph.input, *model.graph.output]
    for name in (*(value.name for value in values), *(name for node in nodes(model.graph) for name in _names(node))):
        if not name.isprintable():
            raise RunInvalid(f"{path}: has a name with control characters, {ascii(name)[:60]}; export it with others.")
    for node in nodes(model.graph):
        if node.domain not in OWN:
            raise RunInvalid(
                f"{path}: its operator {short_name(f'{node.domain}.{node.op_type}')}"
                f"{f' ({short_name(node.name)})' * bool(node.name)} is not one of ONNX's own, so nothing here runs it; "
                f"export it with ONNX's operators only."
            )
        if not onnx.defs.has(node.op_type):
            raise RunInvalid(
                f"{path}: its operator {short_name(node.op_type)} is not known to ONNX {onnx.__version__}; export it "
                f"with opset_version=17."
            )


def _names(node: Any) -> Iterator[str]:
    yield from (node.name, node.op_type, node.domain, *node.output)


def _check_inferred(path: Path, model: Any) -> None:
    """No value whose size can be told before the graph runs may be gigantic."""
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        size = math.prod(dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value"))
        if size > MOST_ELEMENTS:
            raise RunInvalid(
                f"{path}: {short_name(value.name)}: expected at most {MOST_ELEMENTS} numbers, got {size}; that is no "
                f"policy."
            )


def nodes(graph: Any) -> Iterator[Any]:
    """All nodes of a graph or a function, those of branches and loops included."""
    waiting = [graph]
    while waiting:
        for node in waiting.pop().node:
            yield node
            for attribute in node.attribute:
                waiting += [part for part in (attribute.g, *attribute.graphs) if part.ByteSize()]


def _tensor(value: Any) -> FileTensor:
    import onnx

    kind = value.type.tensor_type
    try:
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    except KeyError:
        dtype = "no tensor"
    if not kind.HasField("shape"):
        return FileTensor(value.name, dtype, None)
    dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in kind.shape.dim]
    return FileTensor(value.name, dtype, tuple(dims))
