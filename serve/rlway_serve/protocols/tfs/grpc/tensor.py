"""TensorFlow's tensors in protobuf.

In:      the inputs of a request as `TensorProto`s by name; an array.
Out:     their arrays; a `TensorProto` with its values in `tensor_content`.
Refuses: more than `MOST_TENSORS` inputs (RequestMalformed); unknown types and ranks, values that do not fill the shape
         or are in the wrong list, lists whose last value would be repeated until all inputs together have more than
         `max_bytes` (SpecViolated). Sizes are compared before anything of that size is made.

A type has a list of its own in the message, or `tensor_content` holds the values little-endian. A list that is shorter
than the shape repeats its last value. Texts are read for the sake of `episode`, and no policy takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import RequestMalformed, SpecViolated
from rlway_client.contract.specs import AnyArray, Fault, TensorSpec
from rlway_client.protos.tensorflow_pb2 import DataType, TensorProto, TensorShapeProto
from rlway_serve.protocols.tfs.signatures import DATA_TYPES

MOST_TENSORS = 1024  # in one request
MOST_DIMENSIONS = 32  # as numpy
MOST_TEXTS = 4096  # in one tensor
STRING = 7

DTYPES = {kind.number: np.dtype(name).newbyteorder("<") for name, kind in DATA_TYPES.items()}
# By numpy's name: the list of the values, and the type of what it holds.
LISTS: dict[str, tuple[str, Any]] = {
    "float32": ("float_val", np.float32),
    "float64": ("double_val", np.float64),
    "int32": ("int_val", np.int32),
    "uint8": ("int_val", np.int32),
    "int16": ("int_val", np.int32),
    "int8": ("int_val", np.int32),
    "uint16": ("int_val", np.int32),
    "int64": ("int64_val", np.int64),
    "bool": ("bool_val", np.bool_),
    "float16": ("half_val", np.int32),
    "uint32": ("uint32_val", np.uint32),
    "uint64": ("uint64_val", np.uint64),
}
ABOUT = frozenset(("dtype", "tensor_shape", "version_number", "tensor_content"))


def read_tensors(inputs: Mapping[str, TensorProto], max_bytes: int) -> dict[str, AnyArray]:
    """The arrays by name, which have at most `max_bytes` together. Raises RequestMalformed, SpecViolated."""
    if len(inputs) > MOST_TENSORS:
        raise RequestMalformed(f"inputs: expected at most {MOST_TENSORS}, got {len(inputs)}.")
    arrays: dict[str, AnyArray] = {}
    for name, tensor in inputs.items():
        arrays[name] = array = read_tensor(tensor, name, max_bytes)
        max_bytes -= array.nbytes
    return arrays


def read_tensor(tensor: TensorProto, name: str, max_bytes: int) -> AnyArray:
    """The array; `name` is the input's. Raises SpecViolated."""
    where = clipped(name)
    if tensor.dtype == STRING:
        return _read_texts(tensor, where)
    dtype = DTYPES.get(tensor.dtype)
    if dtype is None:
        expected = f"one of {', '.join(kind.name for kind in DATA_TYPES.values())}"
        raise SpecViolated([Fault(f"{where}.dtype", expected, _name_of(tensor.dtype))])
    shape, elements = _shape(tensor.tensor_shape, where, max_bytes // dtype.itemsize)
    listed, wide = LISTS[dtype.name]
    lists = {field.name: values for field, values in tensor.ListFields() if field.name not in ABOUT}
    octets = tensor.tensor_content
    if octets and lists:
        raise SpecViolated([Fault(where, "either tensor_content or a list of values", "both")])
    if octets:
        if len(octets) != elements * dtype.itemsize:
            expected = f"{elements * dtype.itemsize} bytes of tensor_content, as shape and dtype say"
            raise SpecViolated([Fault(where, expected, str(len(octets)))])
        if dtype.kind == "b":  # every octet but 0 is true
            return np.asarray(np.frombuffer(octets, np.uint8) != 0).reshape(shape)
        return np.frombuffer(octets, dtype).reshape(shape)
    other = next((field for field in lists if field != listed), None)
    if other is not None:
        raise SpecViolated([Fault(where, f"{listed}, as the dtype says", other)])
    values = lists.get(listed, ())
    if not 1 <= len(values) <= elements:
        expected = f"1 to {elements} values in {listed}, as the shape says"
        raise SpecViolated([Fault(where, expected, str(len(values)))])
    array = _fit(np.fromiter(values, wide, len(values)), dtype, where)
    if len(array) < elements:
        array = np.concatenate([array, np.full(elements - len(array), array[-1])])
    return array.reshape(shape)


def write_tensor(array: AnyArray, spec: TensorSpec) -> TensorProto:
    """The message of an array with the spec's dtype."""
    return TensorProto(
        dtype=DATA_TYPES[spec.dtype].name,
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in array.shape]),
        tensor_content=np.ascontiguousarray(array, spec.numpy_dtype).tobytes(),
    )


def _read_texts(tensor: TensorProto, where: str) -> AnyArray:
    shape, elements = _shape(tensor.tensor_shape, where, MOST_TEXTS)
    if len(tensor.string_val) != elements:
        expected = f"{elements} text{'s' * (elements != 1)} in string_val, as the shape says"
        raise SpecViolated([Fault(where, expected, str(len(tensor.string_val)))])
    array = np.empty(elements, object)
    array[:] = list(tensor.string_val)
    return array.reshape(shape)


def _shape(shape: TensorShapeProto, where: str, most: int) -> tuple[tuple[int, ...], int]:
    """The shape and the number of its elements."""
    if shape.unknown_rank:
        raise SpecViolated([Fault(f"{where}.tensor_shape", "a shape", "an unknown rank")])
    if len(shape.dim) > MOST_DIMENSIONS:
        expected = f"at most {MOST_DIMENSIONS} dimensions"
        raise SpecViolated([Fault(f"{where}.tensor_shape", expected, str(len(shape.dim)))])
    elements = 1
    for dim in shape.dim:
        if dim.size < 1:
            raise SpecViolated([Fault(f"{where}.tensor_shape", "dimensions of at least 1", str(dim.size))])
        elements *= min(dim.size, most + 1)
        if elements > most:
            raise SpecViolated([Fault(f"{where}.tensor_shape", f"at most {most} elements", "more")])
    return tuple(dim.size for dim in shape.dim), elements


def _fit(listed: AnyArray, dtype: np.dtype[Any], where: str) -> AnyArray:
    """The listed numbers in the dtype, which may be narrower. Raises SpecViolated."""
    halves = dtype.kind == "f" and dtype.itemsize == 2  # listed as their 16 bits
    narrow = np.dtype(np.uint16) if halves else dtype
    converted = listed.astype(narrow)
    if narrow.kind in "iu" and (odd := converted != listed).any():
        place = int(odd.argmax())
        raise SpecViolated([Fault(f"{where}[{place}]", narrow.name, str(listed[place]))])
    return converted.view(dtype) if halves else converted


def _name_of(number: int) -> str:
    try:
        return str(DataType.Name(number))
    except ValueError:
        return str(number)
