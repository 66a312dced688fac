"""Reads ModelInfer requests over gRPC.

In:      a `ModelInferRequest`.
Out:     `InferRequest`: options, outputs, and the inputs as arrays by name.
Refuses: raw and typed contents in one request, contents of another type or size than declared (SpecViolated), unknown
         datatypes and parameters. Sizes are compared before anything of that size is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rlway_client.common import quote
from rlway_client.contract.errors import RequestMalformed, SpecViolated
from rlway_client.contract.specs import AnyArray, Fault
from rlway_client.protos.inference_pb2 import ModelInferRequest
from rlway_serve.protocols.oip.datatypes import NAMES, dtype_of
from rlway_serve.protocols.oip.parameters import SHARED_MEMORY, Options, read_parameters
from rlway_serve.protocols.oip.tensor_data import check_shape, read_octets

MOST_PARTS = 1024  # inputs, outputs and parameters, of each
CONTENT_TYPE = "content_type"  # MLServer's clients say of every tensor that it is an array
BINARY_SIZE = "binary_data_size"

# By datatype: the field of `InferTensorContents` that holds its values. FP16 has none.
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


class InferRequest(NamedTuple):
    """What a request says."""

    options: Options
    outputs: list[str]  # empty: the default ones
    tensors: dict[str, AnyArray]
    raw: bool  # whether its contents are raw, and so those of the answer


def read_request(request: ModelInferRequest) -> InferRequest:
    """The request. Raises RequestMalformed, SpecViolated."""
    for part in ("inputs", "outputs", "parameters"):
        if (got := len(getattr(request, part))) > MOST_PARTS:
            raise RequestMalformed(f"{part}: expected at most {MOST_PARTS}, got {got}.")
    options = read_parameters(_values(request.parameters, "parameters"))
    outputs: list[str] = []
    for i, output in enumerate(request.outputs):
        if output.name in outputs:
            raise RequestMalformed(f"outputs[{i}]: expected each name once, got {quote.clipped(output.name)!r} twice.")
        _check_parameters(output.parameters, f"outputs[{i}].parameters")
        outputs.append(output.name)
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        expected = f"{len(request.inputs)}, one for each input"
        raise SpecViolated([Fault("raw_input_contents", expected, str(len(raw)))])
    tensors: dict[str, AnyArray] = {}
    for i, tensor in enumerate(request.inputs):
        if tensor.name in tensors:
            raise SpecViolated([Fault(quote.clipped(tensor.name), "each input once", "it twice")])
        tensors[tensor.name] = _read_raw(tensor, raw[i]) if raw else _read_typed(tensor)
    return InferRequest(options, outputs, tensors, bool(raw))


def _read_raw(tensor: Any, octets: bytes) -> AnyArray:
    where, dtype, elements = _declared(tensor, (CONTENT_TYPE, BINARY_SIZE))
    if not says_size(tensor.parameters, len(octets)):
        got = str(tensor.parameters[BINARY_SIZE].int64_param)
        raise SpecViolated([Fault(f"{where}.parameters.{BINARY_SIZE}", f"{len(octets)}, as many as came", got)])
    if tensor.contents.ByteSize():
        raise SpecViolated([Fault(where, "either raw_input_contents or contents", "both")])
    if len(octets) != elements * dtype.itemsize:
        expected = f"{elements * dtype.itemsize} bytes of raw_input_contents, as shape and datatype say"
        raise SpecViolated([Fault(where, expected, str(len(octets)))])
    return read_octets(octets, 0, tuple(tensor.shape), dtype)


def _read_typed(tensor: Any) -> AnyArray:
    where, dtype, elements = _declared(tensor)
    name = CONTENTS.get(NAMES[dtype.name])
    if name is None:
        raise SpecViolated([Fault(where, "raw_input_contents, since FP16 has no contents of its own", "none")])
    given = [(field.name, values) for field, values in tensor.contents.ListFields()]
    other = next((field for field, _ in given if field != name), None)
    if other is not None:
        raise SpecViolated([Fault(f"{where}.contents", f"{name}, as the datatype says", other)])
    values = given[0][1] if given else ()
    if len(values) != elements:
        expected = f"{elements} value{'s' * (elements != 1)} in {name}, as the shape says"
        raise SpecViolated([Fault(where, expected, str(len(values)))])
    array = _fit(np.fromiter(values, _WIDE.get(name, dtype), elements), dtype, where)
    return array.reshape(tuple(tensor.shape))


_WIDE: dict[str, Any] = {"int_contents": np.int32, "uint_contents": np.uint32}  # which narrower datatypes share


def _fit(array: AnyArray, dtype: np.dtype[Any], where: str) -> AnyArray:
    """The numbers in a datatype that may be narrower. Raises SpecViolated."""
    converted = array.astype(dtype)
    if dtype.kind in "iu" and (odd := converted != array).any():
        place = int(odd.argmax())
        raise SpecViolated([Fault(f"{where}.contents[{place}]", NAMES[dtype.name], str(array[place]))])
    return converted


def _declared(tensor: Any, allowed: Sequence[str] = (CONTENT_TYPE,)) -> tuple[str, np.dtype[Any], int]:
    """How errors call an input; its dtype; its number of elements."""
    where = quote.clipped(tensor.name)
    dtype = dtype_of(tensor.datatype, where)
    elements = check_shape(tensor.shape, where)
    _check_parameters(tensor.parameters, f"{where}.parameters", allowed)
    return where, dtype, elements


def says_size(parameters: Mapping[str, Any], size: int) -> bool:
    """Whether the parameters of a raw input say nothing of its size, or the truth, as KServe's client does."""
    return BINARY_SIZE not in parameters or parameters[BINARY_SIZE].int64_param == size


def _check_parameters(given: Mapping[str, Any], where: str, allowed: Sequence[str] = (CONTENT_TYPE,)) -> None:
    for name in given:
        if name.startswith(SHARED_MEMORY):
            raise RequestMalformed(f"{where}.{quote.clipped(name)}: shared memory is not served; send the data.")
        if name not in allowed:
            raise RequestMalformed(f"{where}: expected none, got {quote.clipped(name)!r}.")


def _values(parameters: Mapping[str, Any], where: str) -> dict[str, Any]:
    values = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise RequestMalformed(f"{where}.{quote.clipped(name)}: expected a value, got none.")
        values[name] = getattr(parameter, choice)
    return values
