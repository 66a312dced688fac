"""One tensor, as other protocols send it, against its spec.

In:      a numpy array of any numeric dtype, or nested lists as JSON has them; how the request calls it.
Out:     an array of the spec's dtype, [rows, *shape].
Refuses: other shapes, numbers that the dtype cannot hold (SpecViolated, each fault with the tensor's name and place);
         too many rows (BodyTooLarge). Numbers in arrays that are not finite are left to the caller.

Floats are rounded to the spec's precision. All other numbers have to fit exactly. In lists, an object of the names of
the tensor's elements may stand for a row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec.structs import replace

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.meaning import Meaning
from rlway_client.contract.specs import AnyArray, Fault, TensorSpec, beyond, describe
from rlway_serve.codec.observation import ObservationForm, as_bool
from rlway_serve.codec.slow_reader import SlowReader, check_rows


class TensorReader:
    """The reader of one tensor."""

    def __init__(self, spec: TensorSpec, max_rows: int, meaning: Meaning | None = None) -> None:
        self._spec = spec
        self._max_rows = max_rows
        self._lists = SlowReader(ObservationForm([replace(spec, path=())], meaning), max_rows)

    def read(self, value: Any, where: str, batched: bool) -> AnyArray:  # -> [rows, *shape]
        """The tensor. If `batched`, the value has a leading batch dimension, else the spec's shape."""
        if not isinstance(value, np.ndarray | np.generic):
            return self._read_lists(value, where, batched)
        spec = self._spec
        array = check_shape(np.asarray(value), spec, where, batched, self._max_rows)
        # Faults name a row only where the request has rows.
        return cast(array, spec, where) if batched else cast(array.reshape(spec.shape), spec, where)[np.newaxis]

    def _read_lists(self, value: Any, where: str, batched: bool) -> AnyArray:  # -> [rows, *shape]
        if batched and not (isinstance(value, list) and value):
            got = "0" if value == [] else describe(value)
            raise SpecViolated([Fault(where, f"an array of at least 1 {self._spec.label}", got)])
        given = value if batched else [value]
        check_rows(len(given), self._max_rows, where)
        rows, faults = self._lists.read_rows(given, (lambda i: f"{where}[{i}]") if batched else lambda _: where)
        if faults:
            raise SpecViolated(faults)
        return rows  # type: ignore[no-any-return]  # one input: an array


def check_shape(array: AnyArray, spec: TensorSpec, where: str, batched: bool, max_rows: int) -> AnyArray:
    """The array with its batch dimension, which it lacks unless `batched`. Raises SpecViolated or BodyTooLarge."""
    rows = array.shape[0] if batched and array.ndim else 1
    expected = (rows, *spec.shape) if batched else spec.shape
    if array.shape != expected or rows < 1:
        shape = f"[{', '.join(map(str, ('B', *spec.shape) if batched else spec.shape))}]"
        raise SpecViolated([Fault(where, f"the shape {shape}", f"[{', '.join(map(str, array.shape))}]")])
    check_rows(rows, max_rows, where)
    return array if batched else array[np.newaxis]


def cast(array: AnyArray, spec: TensorSpec, where: str) -> AnyArray:
    """The numbers in the spec's dtype. Raises SpecViolated for one that the dtype cannot hold.

    A float may be rounded, and becomes infinite if it is too large; who runs the policy checks that.
    """
    dtype = spec.numpy_dtype
    if array.dtype.kind == "b":
        array = as_bool(array)
    if array.dtype == dtype:
        return np.require(array, requirements=["C", "A"])  # a view of received bytes may begin anywhere
    if array.dtype.kind not in "biuf":
        raise SpecViolated([Fault(where, spec.label, f"an array of {clipped(array.dtype)}")])
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(dtype)
    if dtype.kind == "f":
        return converted
    unfit = beyond(array, dtype)
    if unfit.any():
        raise SpecViolated([first_fault(unfit, array, where, True, spec.dtype)])
    return converted


def first_fault(mask: AnyArray, array: AnyArray, where: str, batched: bool, expected: str) -> Fault:
    """The fault of the first number where the mask is true; its place names the row only if `batched`."""
    index = tuple(int(i) for i in np.argwhere(mask)[0])
    place = "".join(f"[{i}]" for i in (index if batched else index[1:]))
    return Fault(where + place, expected, describe(array[index].item()))
