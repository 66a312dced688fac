"""Reads the JSON of an infer request, and finds the tensors behind it.

In:      a body; how long the JSON at its start is, from `Inference-Header-Content-Length`.
Out:     `RestRequest`: id, options, outputs, and where each tensor's data lie.
Refuses: what is not JSON or not of this shape (RequestMalformed); tensors whose size differs from shape × datatype,
         bytes behind the last tensor, unknown datatypes (SpecViolated).

A client sends the same JSON before the octets of every request, so what it says is remembered by its bytes.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, Meta

from rlway_client.common import quote
from rlway_client.contract.errors import RequestMalformed, SpecViolated
from rlway_client.contract.specs import AnyArray, Fault, describe
from rlway_serve.codec.decoder import UNREADABLE
from rlway_serve.protocols.oip.datatypes import dtype_of
from rlway_serve.protocols.oip.parameters import SHARED_MEMORY, Options, read_parameters
from rlway_serve.protocols.oip.tensor_data import check_shape, read_lists, read_octets

MAX_REMEMBERED = 1024
MAX_REMEMBERED_BYTES = 2048
MAX_TENSORS = 1024  # a request names no more inputs, and no more outputs
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class InputFields(msgspec.Struct, forbid_unknown_fields=True):
    """One of `inputs`."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = UNSET


class OutputFields(msgspec.Struct, forbid_unknown_fields=True):
    """One of `outputs`."""

    name: str
    parameters: dict[str, Any] | None = None


class RequestFields(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of a request. KServe's client also sends the model's name, which the URL has already.

    As in protobuf's JSON, null stands for a field that is left out.
    """

    inputs: Annotated[list[InputFields], Meta(max_length=MAX_TENSORS)]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: Annotated[list[OutputFields], Meta(max_length=MAX_TENSORS)] | None = None
    model_name: str | None = None


class InputPlan(NamedTuple):
    """Where the data of one input lie: in the JSON, or behind it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    array: AnyArray | None  # from the JSON
    start: int  # behind the JSON, bytes


class RestRequest(NamedTuple):
    """What the JSON of a request says. Many requests may share it."""

    id: str | None
    model_name: str | None
    options: Options
    outputs: dict[str, bool]  # the outputs asked for, and whether each is wanted as octets; empty: the default ones
    binary_outputs: bool  # whether outputs that say nothing are wanted as octets
    inputs: tuple[InputPlan, ...]
    octets: int  # of all tensors behind the JSON

    def tensors(self, body: bytes, start: int) -> dict[str, AnyArray]:
        """The inputs by name; their octets begin at `start`. Raises SpecViolated unless they end with the body."""
        if len(body) - start != self.octets:
            expected = f"{self.octets} bytes behind the JSON, as `binary_data_size` says"
            raise SpecViolated([Fault("body", expected, str(len(body) - start))])
        return {
            plan.name: read_octets(body, start + plan.start, plan.shape, plan.dtype)
            if plan.array is None
            else plan.array
            for plan in self.inputs
        }


class RequestReader:
    """Reads requests, and remembers the JSON of those with octets behind it."""

    def __init__(self) -> None:
        self.remembered: dict[bytes, RestRequest] = {}

    def read(self, text: bytes, has_octets: bool) -> RestRequest:
        """The request with this JSON. Raises RequestMalformed, SpecViolated."""
        known = self.remembered.get(text)
        if known is not None:
            return known
        request = _interpret(_parse(text))
        # A request with an id is one of a kind.
        if has_octets and request.id is None and len(text) <= MAX_REMEMBERED_BYTES:
            if len(self.remembered) >= MAX_REMEMBERED:
                self.remembered.clear()
            self.remembered[text] = request
        return request


def json_length(header: bytes | None, body_bytes: int) -> int:
    """How many bytes of a body are JSON. Raises RequestMalformed for another number than the body can have."""
    if header is None:
        return body_bytes
    if not (header.isdigit() and len(header) < 19 and int(header) <= body_bytes):
        got = quote.clipped(header.decode("latin-1"))
        raise RequestMalformed(
            f"inference-header-content-length: expected a whole number up to the body's {body_bytes} bytes, got {got}."
        )
    return int(header)


_decoder = msgspec.json.Decoder(RequestFields)


def _parse(text: bytes) -> RequestFields:
    try:
        return _decoder.decode(text)
    except UNREADABLE:
        pass
    # msgspec is strict. Python's json also reads NaN, half surrogate pairs, and text behind a byte order mark.
    try:
        raw = json.loads(text.removeprefix(BYTE_ORDER_MARK).decode(), parse_int=_parse_int)
    except UnicodeDecodeError:
        raise RequestMalformed("body: not JSON: not UTF-8 text.") from None
    except RecursionError:
        raise RequestMalformed("body: not JSON that can be read: nested too deeply.") from None
    except ValueError as error:
        raise RequestMalformed(f"body: not JSON: {quote.reason(str(error))}.") from None
    if not isinstance(raw, dict):
        raise RequestMalformed(f"body: expected an object with `inputs`, got {describe(raw)}.")
    try:
        return msgspec.convert(raw, RequestFields)
    except msgspec.ValidationError as error:
        raise RequestMalformed(f"body: {quote.reason(str(error))}.") from None
    except RecursionError:
        raise RequestMalformed("body: not JSON that can be read: nested too deeply.") from None
    except UnicodeEncodeError:
        raise RequestMalformed("body: a field is not Unicode text.") from None


def _parse_int(digits: str) -> int | float:
    """Python refuses integers of thousands of digits; as a float they are infinite, which the spec refuses."""
    return int(digits) if len(digits) < 400 else float(digits)


def _interpret(fields: RequestFields) -> RestRequest:
    parameters = dict(fields.parameters or ())
    binary_outputs = _pop_bool(parameters, "binary_data_output", "parameters") or False
    options = read_parameters(parameters)
    outputs: dict[str, bool] = {}
    for i, output in enumerate(fields.outputs or ()):
        if output.name in outputs:
            raise RequestMalformed(f"outputs[{i}]: expected each name once, got {quote.clipped(output.name)!r} twice.")
        outputs[output.name] = _read_output(output, f"outputs[{i}]", binary_outputs)
    inputs: dict[str, InputPlan] = {}
    octets = 0
    for tensor in fields.inputs:
        plan = _plan(tensor, octets)
        if plan.name in inputs:
            raise SpecViolated([Fault(quote.clipped(plan.name), "each input once", "it twice")])
        if plan.array is None:
            octets += math.prod(plan.shape) * plan.dtype.itemsize
        inputs[plan.name] = plan
    return RestRequest(
        id=None if fields.id is None else _encodable(fields.id, "id"),
        model_name=fields.model_name,
        options=options,
        outputs=outputs,
        binary_outputs=binary_outputs,
        inputs=tuple(inputs.values()),
        octets=octets,
    )


def _plan(fields: InputFields, start: int) -> InputPlan:
    where = quote.clipped(fields.name)
    dtype = dtype_of(fields.datatype, where)
    elements = check_shape(fields.shape, where)
    parameters = dict(fields.parameters or ())
    size = parameters.pop("binary_data_size", None)
    if parameters.get("content_type") == "np":  # MLServer's clients say of every tensor that it is one
        del parameters["content_type"]
    if parameters:
        _refuse_parameter(f"{where}.parameters", next(iter(parameters)), "binary_data_size")
    shape = tuple(fields.shape)
    if size is None:
        if fields.data is UNSET:
            raise SpecViolated([Fault(where, "`data`, or `binary_data_size` in its parameters", "neither")])
        array = read_lists(fields.data, shape, dtype, where)
        array.flags.writeable = False  # as octets are: many requests may share it
        return InputPlan(fields.name, fields.datatype, shape, dtype, array, 0)
    if fields.data is not UNSET:
        raise SpecViolated([Fault(where, "either `data` or `binary_data_size`", "both")])
    if isinstance(size, bool) or size != elements * dtype.itemsize or not isinstance(size, int):
        expected = f"{elements * dtype.itemsize}, as shape and datatype say"
        raise SpecViolated([Fault(f"{where}.parameters.binary_data_size", expected, describe(size))])
    return InputPlan(fields.name, fields.datatype, shape, dtype, None, start)


def _read_output(fields: OutputFields, where: str, binary_outputs: bool) -> bool:
    """Whether the output is wanted as octets."""
    parameters = dict(fields.parameters or ())
    binary = _pop_bool(parameters, "binary_data", f"{where}.parameters")
    if "classification" in parameters:
        raise RequestMalformed(f"{where}.parameters.classification: not served; ask for the output as it is.")
    if parameters:
        _refuse_parameter(f"{where}.parameters", next(iter(parameters)), "binary_data")
    return binary_outputs if binary is None else binary


def _refuse_parameter(where: str, name: str, expected: str) -> None:
    if name.startswith(SHARED_MEMORY):
        raise RequestMalformed(f"{where}.{quote.clipped(name)}: shared memory is not served; send the data.")
    raise RequestMalformed(f"{where}: expected {expected}, got {quote.clipped(name)!r}.")


def _pop_bool(parameters: dict[str, Any], name: str, where: str) -> bool | None:
    value = parameters.pop(name, None)
    if value is not None and not isinstance(value, bool):
        raise RequestMalformed(f"{where}.{name}: expected true or false, got {describe(value)}.")
    return value


def _encodable(text: str, where: str) -> str:
    """The text, which the answer repeats. Raises RequestMalformed for half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestMalformed(f"{where}: not Unicode text.") from None
    return text
