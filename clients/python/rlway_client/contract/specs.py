"""What a tensor must look like, and where a value does not fit.

In:      a value from a request (nested lists, an array), and a `TensorSpec`.
Out:     faults, each with the path of the offending element: `observation[3]: expected finite float32, got NaN`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
AnyArray = NDArray[Any]

DTYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("u", "") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
)
Dtype = Annotated[str, Meta(extra_json_schema={"enum": list(DTYPES)})]
MOST_FRAMES = 64  # of one observation
MAX_ELEMENTS = 2**30  # of one row; more is no tensor, but a mistake
CUT = 80  # characters; longer parts of a fault's sentence are cut
MAX_FAULTS = 20  # an image of the wrong kind has 28,000 faults; nobody reads past the first few
LONGEST_NUMBER = 24  # characters of a whole number in an error message; a part of it would be another number
LONGEST_KEY = 64  # characters of a key in a path


class Fault(msgspec.Struct, frozen=True):
    """One place where a value does not fit."""

    path: str
    expected: str
    got: str

    @property
    def sentence(self) -> str:
        """The fault for people. A long path loses its beginning, the other parts lose their end."""
        path = self.path if len(self.path) <= CUT else f"…{self.path[1 - CUT :]}"
        expected, got = (text if len(text) <= CUT else f"{text[: CUT - 1]}…" for text in (self.expected, self.got))
        return f"{path}: expected {expected}, got {got}"


class TensorSpec(msgspec.Struct, frozen=True):
    """The shape of one tensor, without the batch dimension.

    name:     its name in files and on the wire, without `/`.
    shape:    the dimensions after the batch.
    dtype:    numpy's name: `float32`, `uint8`, `int64`, …
    minimum,
    maximum:  inclusive bounds of the training: one number for all elements, or one per element in row-major order;
              None is unbounded. An observation may exceed them: the policy still acts.
    path:     the keys under which it lies in a nested observation, action, info or state; empty when it is the whole.
    lookup_minimum,
    lookup_maximum:  likewise, for values that the policy looks up in a table (an embedding, a one-hot encoding). A
              value outside is in no table, and is refused before the policy runs. None takes any value.
    """

    name: str
    shape: tuple[Annotated[int, Meta(ge=1)], ...]
    dtype: Dtype
    minimum: float | list[float | None] | None = None
    maximum: float | list[float | None] | None = None
    path: tuple[str, ...] = ()
    lookup_minimum: int | list[int | None] | None = None
    lookup_maximum: int | list[int | None] | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        if not all(n >= 1 for n in self.shape):
            raise ValueError(f"shape {list(self.shape)} has a dimension below 1")
        if self.size > MAX_ELEMENTS:
            raise ValueError(f"shape {list(self.shape)} has more than {MAX_ELEMENTS} elements")
        for name in ("minimum", "maximum", "lookup_minimum", "lookup_maximum"):
            bound = getattr(self, name)
            if isinstance(bound, list) and len(bound) != self.size:
                raise ValueError(f"{name} has {len(bound)} numbers for {self.size} elements")
        if self.is_lookup and np.greater(*self.lookup_bounds()).any():
            raise ValueError("lookup_minimum is above lookup_maximum")

    @property
    def size(self) -> int:
        """The number of elements of one row."""
        return math.prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """The number of bytes of one row as a raw little-endian tensor."""
        return self.size * self.numpy_dtype.itemsize

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def is_discrete(self) -> bool:
        """Whether it holds whole numbers, as the actions of DQN do."""
        return self.numpy_dtype.kind in "iu"

    @property
    def label(self) -> str:
        """The spec as people write it: `float32[4]`, `int64` for a scalar."""
        return self.dtype + (str(list(self.shape)) if self.shape else "")

    def element(self, place: int) -> TensorSpec:
        """The spec of one element, counted in row-major order, without the bounds of the training."""
        ends = (self.lookup_minimum, self.lookup_maximum)
        first, last = (end[place] if isinstance(end, list) else end for end in ends)
        return TensorSpec(self.name, (), self.dtype, lookup_minimum=first, lookup_maximum=last)

    def bounds(self) -> tuple[AnyArray, AnyArray]:
        """Lower and upper bounds as float64 arrays of `shape`, infinite where unbounded."""
        return self._bound(self.minimum, -math.inf), self._bound(self.maximum, math.inf)

    @property
    def is_lookup(self) -> bool:
        """Whether some of its values are looked up in a table."""
        return self.lookup_minimum is not None or self.lookup_maximum is not None

    def lookup_bounds(self) -> tuple[AnyArray, AnyArray]:
        """The lowest and the highest value that can be looked up, of `shape` or of (); infinite without a bound."""
        return self._compact(self.lookup_minimum, -math.inf), self._compact(self.lookup_maximum, math.inf)

    def neutral(self, rows: int) -> AnyArray:  # -> [rows, *shape]
        """Rows that the policy can take: zeros, or the values nearest to zero within the bounds."""
        value: AnyArray = np.zeros(())
        bounds = self._compact(self.minimum, -math.inf), self._compact(self.maximum, math.inf)
        for low, high in (bounds, self.lookup_bounds()):
            value = np.clip(value, low, high)
        shape = (rows, *self.shape)
        return np.broadcast_to(value, shape).astype(self.numpy_dtype) if value.any() else np.zeros(shape, self.dtype)

    def _bound(self, bound: float | Sequence[float | None] | None, unbounded: float) -> AnyArray:
        return np.broadcast_to(self._compact(bound, unbounded), self.shape)

    def _compact(self, bound: float | Sequence[float | None] | None, unbounded: float) -> AnyArray:
        if isinstance(bound, Sequence):
            return np.array([unbounded if b is None else b for b in bound], np.float64).reshape(self.shape)
        return np.array(unbounded if bound is None else bound, np.float64)


def make_spec(
    name: str, shape: tuple[int, ...], dtype: str, low: Any, high: Any, path: tuple[str, ...] = ()
) -> TensorSpec:
    """A spec from bounds as gymnasium and TF-Agents give them: arrays or numbers, infinite where unbounded."""
    return TensorSpec(name, tuple(int(n) for n in shape), dtype, compact_bound(low), compact_bound(high), path)


def compact_bound(bound: Any) -> float | list[float | None] | None:
    """One number when all elements share it, else one per element; None stands for infinity, which JSON lacks."""
    flat = np.asarray(bound, np.float64).ravel()
    # A float32 space often has its largest number as the bound where it means infinity.
    values = [None if not math.isfinite(v) or abs(v) >= float(np.finfo(np.float32).max) else float(v) for v in flat]
    return values[0] if len(set(values)) == 1 else values


def at(where: str, key: object) -> str:
    """The path of a part: `observation["joints"]`."""
    return f"{where}[{json.dumps(str(key)[:LONGEST_KEY], ensure_ascii=False)}]"


def find_faults(value: Any, spec: TensorSpec, where: str) -> list[Fault]:
    """The first `MAX_FAULTS` places where a value (nested lists of numbers) does not fit one row of `spec`."""
    faults = list(islice(_walk(value, spec, spec.shape, where), MAX_FAULTS))
    if not faults and spec.is_lookup:
        faults = find_lookup_faults(np.array(value, object).astype(spec.numpy_dtype), spec, where)
    return faults


def table_ends(spec: TensorSpec) -> tuple[AnyArray, AnyArray]:
    """The first and the last index of each element's table, or the dtype's limit where there is no bound."""
    dtype = spec.numpy_dtype
    real = dtype.kind == "f"
    least, most = (-math.inf, math.inf) if real else (int(limit) for limit in _limits(dtype))

    def end(bound: int | Sequence[int | None] | None, free: float) -> AnyArray:
        places = [free if place is None else place for place in (bound if isinstance(bound, Sequence) else [bound])]
        array = np.array([min(max(place, least), most) for place in places], dtype)
        return array.reshape(spec.shape if isinstance(bound, Sequence) else ())

    return end(spec.lookup_minimum, least), end(spec.lookup_maximum, most)


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    return (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


def beyond(numbers: AnyArray, dtype: np.dtype[Any]) -> AnyArray:  # -> bool, likewise
    """Which numbers a dtype of whole numbers, or of flags, does not have.

    Converting and comparing does not tell, because processors convert what is beyond differently: on ARM, 2.0**63
    becomes the largest int64, which is equal to 2.0**63 when numpy compares the two as float64.
    """
    low, high = _limits(dtype)
    if numbers.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # of a signalling NaN
            wide = numbers.astype(np.float64)
        return np.asarray(~((np.trunc(wide) == wide) & (wide >= float(low)) & (wide < float(high + 1))))
    if not numbers.size or (int(numbers.min()) >= low and int(numbers.max()) <= high):
        return np.zeros(numbers.shape, bool)
    exact = numbers.astype(object)  # numpy compares uint64 with negative numbers as floats
    return np.asarray((exact < low) | (exact > high), bool)


def outside_lookup(rows: AnyArray, spec: TensorSpec) -> AnyArray:  # [..., *shape] -> bool, likewise
    """Which values lie outside the table in which the policy looks them up."""
    first, last = table_ends(spec)
    outside: AnyArray = (rows < first) | (rows > last)
    return outside


def find_lookup_faults(row: AnyArray, spec: TensorSpec, where: str) -> list[Fault]:
    """The first `MAX_FAULTS` values of one row that lie outside their table."""
    low, high = (np.broadcast_to(bound, spec.shape) for bound in spec.lookup_bounds())
    faults = []
    row = np.asarray(row)  # one number may be Python's
    for place in np.argwhere(outside_lookup(row, spec))[:MAX_FAULTS]:
        index = tuple(int(i) for i in place)
        expected = f"{describe_range(low[index], high[index])}, as the policy looks it up in a table"
        got = row[index].item() if isinstance(row[index], np.generic) else row[index]
        faults.append(Fault(where + "".join(f"[{i}]" for i in index), expected, describe(got)))
    return faults


def describe_range(low: float, high: float) -> str:
    """A range of whole numbers in words, bounds included: `0 to 9`, `at most 9`, `any`. Infinity means no bound."""
    if math.isinf(low):
        return "any" if math.isinf(high) else f"at most {high:.0f}"
    return f"at least {low:.0f}" if math.isinf(high) else f"{low:.0f} to {high:.0f}"


def _walk(value: Any, spec: TensorSpec, shape: tuple[int, ...], where: str) -> Iterator[Fault]:
    if not shape:
        yield from _element_faults(value, spec, where)
        return
    expected = f"{spec.dtype}{list(shape)}"
    if not isinstance(value, list | tuple):
        yield Fault(where, expected, describe(value))
    elif len(value) != shape[0]:
        yield Fault(where, expected, f"{len(value)} {'element' if len(value) == 1 else 'elements'}")
    else:
        for i, item in enumerate(value):
            yield from _walk(item, spec, shape[1:], f"{where}[{i}]")


def _element_faults(value: Any, spec: TensorSpec, where: str) -> Iterator[Fault]:
    kind = spec.numpy_dtype.kind
    if kind == "b":
        if not isinstance(value, bool):
            yield Fault(where, "bool", describe(value))
    elif isinstance(value, bool) or not isinstance(value, int | float):
        yield Fault(where, spec.dtype, describe(value))
    elif kind == "f":
        if not is_finite(value, spec.numpy_dtype):
            yield Fault(where, f"finite {spec.dtype}", describe(value))
    elif value % 1 != 0 or not np.iinfo(spec.dtype).min <= value <= np.iinfo(spec.dtype).max:
        yield Fault(where, spec.dtype, describe(value))


def is_finite(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a number is finite once it is rounded to the dtype."""
    try:
        with np.errstate(over="ignore"):
            return bool(np.isfinite(dtype.type(float(value))))
    except OverflowError:  # a whole number beyond float64
        return False


def describe(value: Any) -> str:
    """A value from a request in a word or two, for an error message."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case float():
            return f"{value:.6g}"
        case int():
            digits = str(value)
            return digits if len(digits) <= LONGEST_NUMBER else f"a number of {len(digits.lstrip('-'))} digits"
        case str():
            return "a string"
        case list() | tuple():
            return f"an array of {len(value)}"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"
