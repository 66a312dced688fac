"""Weights that an ONNX file keeps in other files, read into the model.

In:      a parsed model, the folder of its file.
Out:     the same model with all weights inside it.
Refuses: a place outside of the folder, a link, a file that is missing or too short, a size that does not fit the tensor
         (RunInvalid).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import RunInvalid

MOST_BYTES = 2**31 - 1  # of a model with its weights: protobuf's limit


def embed_external_data(model: Any, path: Path) -> None:
    """Reads every external tensor of the model; `path` is the model's own file."""
    import onnx

    total = 0
    for tensor in tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        content = _read(tensor, path)
        total += len(content)
        if total > MOST_BYTES:
            raise RunInvalid(f"{path}: its weights take more than {MOST_BYTES} bytes, so they fit into no one file.")
        tensor.raw_data = content
        tensor.ClearField("data_location")
        del tensor.external_data[:]


def tensors(model: Any) -> Iterator[Any]:
    """Every tensor that the file holds: initializers, and attributes of nodes, at any depth."""
    waiting = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while waiting or nodes:
        if waiting:
            graph = waiting.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes.extend(graph.node)
            continue
        for attribute in nodes.pop().attribute:
            yield from (tensor for tensor in (attribute.t, *attribute.tensors) if tensor.ByteSize())
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (part for part in (sparse.values, sparse.indices) if part.ByteSize())
            waiting += [graph for graph in (attribute.g, *attribute.graphs) if graph.ByteSize()]


def external_files(model: Any, path: Path) -> list[Path]:
    """The files that the external tensors name, there or not; none of those that would be refused."""
    import onnx

    found = set[Path]()
    external = (one for one in tensors(model) if one.data_location == onnx.TensorProto.EXTERNAL)
    for location in {entry.value for one in external for entry in one.external_data if entry.key == "location"}:
        with suppress(RunInvalid, OSError, TypeError):  # whoever reads the weights says what is wrong
            found.add(local_file(location, path, ""))
    return sorted(found)


def _read(tensor: Any, path: Path) -> bytes:
    facts = {entry.key: entry.value for entry in tensor.external_data}
    name, where = short_name(tensor.name), f"{path}: the weights of {short_name(tensor.name)}"
    file = local_file(facts.get("location", ""), path, where)
    expected = _byte_size(tensor)
    try:
        offset, length = int(facts.get("offset") or 0), int(facts.get("length") or expected)
    except ValueError:
        raise RunInvalid(f"{where} have no number as offset or length; export the file again.") from None
    if offset < 0 or length != expected:
        got = f"{length} at {offset} of {short_name(file.name)}"
        raise RunInvalid(f"{path}: {name}: expected {expected} bytes of weights, got {got}.")
    if not file.is_file():  # a pipe would never end
        raise RunInvalid(f"{where} are in {short_name(file.name)}, which is no file here; put it beside {path.name}.")
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise RunInvalid(f"{where} cannot be read from {short_name(file.name)}: {error.strerror}.") from None
    with os.fdopen(handle, "rb") as opened:
        if os.fstat(handle).st_size < offset + length:
            raise RunInvalid(f"{where} end after {short_name(file.name)} does; copy that file again.")
        opened.seek(offset)
        return opened.read(length)


def local_file(location: str, path: Path, where: str) -> Path:
    """The file beside `path`, or in a folder beside it; no link leads there. `where` begins the sentence otherwise."""
    parts = PurePosixPath(location).parts
    is_absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor
    if not parts or is_absolute or ".." in parts or "\\" in location or "\0" in location:
        raise RunInvalid(f"{where} are in {location[:60]!r}, which is not in the folder of the file; it is not read.")
    place = path.parent
    for part in parts:
        place = place / part
        if place.is_symlink():
            raise RunInvalid(f"{where} are in {location[:60]!r}, which is a link; put the file itself there.")
    return place


def _byte_size(tensor: Any) -> int:
    import onnx

    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except KeyError:
        return -1
    return -1 if min(tensor.dims, default=1) < 0 else math.prod(tensor.dims) * dtype.itemsize
