"""The data of one tensor, as JSON or as octets, as an array of the datatype and shape that the request declares.

In:      a declared shape and datatype; nested or flat lists, row-major; or octets, little-endian.
Out:     an array.
Refuses: data that do not fill the shape exactly, and values that the datatype does not have (SpecViolated). Sizes are
         compared before anything of that size is made.

NaN and infinity stay in the array: whoever runs the policy refuses them, by their places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.specs import AnyArray, Fault, describe
from rlway_serve.protocols.oip.datatypes import NAMES

MOST_DIMENSIONS = 32  # as numpy
MOST_ELEMENTS = 2**31


def check_shape(shape: Sequence[int], where: str) -> int:
    """The number of elements. Raises SpecViolated for what is no shape of a tensor."""
    if len(shape) > MOST_DIMENSIONS:
        raise SpecViolated([Fault(f"{where}.shape", f"at most {MOST_DIMENSIONS} dimensions", str(len(shape)))])
    elements = 1
    for length in shape:
        if length < 1:
            raise SpecViolated([Fault(f"{where}.shape", "dimensions of at least 1", describe(length))])
        elements *= min(length, MOST_ELEMENTS)
        if elements > MOST_ELEMENTS:
            raise SpecViolated([Fault(f"{where}.shape", f"at most {MOST_ELEMENTS} elements", "more")])
    return elements


def read_octets(body: bytes, start: int, shape: Sequence[int], dtype: np.dtype[Any]) -> AnyArray:
    """The array that lies at `start`; the caller has checked that it lies within the body."""
    array: AnyArray
    if dtype.kind == "b":  # a bool is one octet, and every octet but 0 is true
        array = np.frombuffer(body, np.uint8, math.prod(shape), start) != 0
    else:
        array = np.frombuffer(body, dtype, math.prod(shape), start)
    return array.reshape(shape)


def read_lists(data: Any, shape: Sequence[int], dtype: np.dtype[Any], where: str) -> AnyArray:
    """The array in flat or nested lists. Raises SpecViolated."""
    if isinstance(data, dict) or (isinstance(data, list) and data and isinstance(data[0], dict)):
        expected = "an array of numbers; values by name are inputs of their own"
        raise SpecViolated([Fault(f"{where}.data", expected, "an object")])
    if not isinstance(data, list):
        raise SpecViolated([Fault(f"{where}.data", "an array", describe(data))])
    flat = _flatten(data, shape, where) if data and isinstance(data[0], list) else data
    elements = math.prod(shape)
    if len(flat) != elements:
        expected = f"{elements} value{'s' * (elements != 1)}, as the shape says"
        raise SpecViolated([Fault(f"{where}.data", expected, str(len(flat)))])
    array = _convert(flat, dtype)
    if array is None:
        raise SpecViolated([_find_fault(flat, shape, dtype, where)])
    return array.reshape(shape)


def _flatten(data: list[Any], shape: Sequence[int], where: str) -> list[Any]:
    level: list[Any] = [data]
    for depth, length in enumerate(shape):
        for part in level:
            if not isinstance(part, list) or len(part) != length:
                got = str(len(part)) if isinstance(part, list) else describe(part)
                expected = f"{length} value{'s' * (length != 1)} along dimension {depth}, as the shape says"
                raise SpecViolated([Fault(f"{where}.data", expected, got)])
        level = list(chain.from_iterable(level))
    return level


def _convert(flat: list[Any], dtype: np.dtype[Any]) -> AnyArray | None:
    """The numbers in the dtype; None if one of them is not of it."""
    kinds = set(map(type, flat))
    if dtype.kind == "b":
        return np.array(flat, dtype) if kinds <= {bool} else None
    if not kinds <= {int, float}:
        return None
    try:
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                return np.array(flat, np.float64).astype(dtype)
        whole = list(map(int, flat))
    except (OverflowError, ValueError):  # an infinity or a NaN, or a whole number beyond float64
        return None
    limits = np.iinfo(dtype)
    if whole != flat or not limits.min <= min(whole) <= max(whole) <= limits.max:
        return None
    return np.array(whole, dtype)


def _find_fault(flat: list[Any], shape: Sequence[int], dtype: np.dtype[Any], where: str) -> Fault:
    """The first value that the dtype does not have, found by bisection: there may be hundreds of thousands."""
    start, end = 0, len(flat)
    while end - start > 1:
        middle = (start + end) // 2
        if _convert(flat[start:middle], dtype) is None:
            end = middle
        else:
            start = middle
    place = "".join(f"[{int(index)}]" for index in np.unravel_index(start, tuple(shape)))
    return Fault(f"{where}{place}", NAMES[dtype.name], describe(flat[start]))
