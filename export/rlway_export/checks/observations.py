"""The observations on which files are compared, and from which int8 takes its ranges.

In:      a file of arrays by the names of the observation's tensors, or by its keys joined with slashes; or a function
         that collects some now; or only the specs.
Out:     `Observations`: arrays by name, where they come from, and the range of each value.
Refuses: a file that cannot be read, or whose arrays do not fit the policy (one sentence that names array and shape).
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from rlway_client.common.quote import named, reason, short_name
from rlway_client.contract.errors import RlwayError, RunInvalid, UsageError
from rlway_client.contract.interface import Interface
from rlway_client.contract.manifest import Observed
from rlway_client.contract.parity import Arrays, rows_of
from rlway_client.contract.specs import AnyArray, TensorSpec, beyond

ENOUGH_ROWS = 2000
SAMPLED_ROWS = 4096
LARGEST_SAMPLE = 10  # of whole numbers without bounds
MOST_RANGES = 512  # of one input; an input with more values, such as an image, has one range for all
UNREADABLE = (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile)  # TypeError: a single array
Origin = Literal["visited", "given", "sampled"]


class Observations(NamedTuple):
    """Rows of the observation's tensors, at least one."""

    arrays: Arrays  # [N, …] by name
    origin: Origin
    notes: tuple[str, ...] = ()  # what a user should know about them, a sentence each

    @classmethod
    def find(
        cls,
        interface: Interface,
        given: Path | None,
        recorded: Path | None,
        collect: Callable[[], Arrays | None] = lambda: None,
    ) -> Observations:
        """Those of the given file, else the recorded ones, else those collected now, else samples within the bounds."""
        if given is not None:
            arrays = read_observations(given, interface, UsageError)
            return cls(arrays, "given", _note_few(arrays))
        few: Arrays = {}
        if recorded is not None and recorded.is_file():
            few = read_observations(recorded, interface, RunInvalid)
            if rows_of(few) >= ENOUGH_ROWS:
                return cls(few, "visited")
        why: tuple[str, ...] = ()
        try:
            collected = collect()
            if collected is not None:
                return cls(collected, "visited")
        except RlwayError as error:
            why = (f"no observations could be collected: {error}",)
        if few:
            return cls(few, "visited", (*why, *_note_few(few)))
        generator = np.random.default_rng(0)
        return cls({spec.name: _sample(spec, generator) for spec in interface.observation}, "sampled", why)

    def ranges(self) -> list[Observed]:
        """The lowest and highest of every value; none for samples, which say nothing about the training."""
        if self.origin == "sampled":
            return []
        return [_range_of(name, array) for name, array in self.arrays.items()]


def _range_of(name: str, array: AnyArray) -> Observed:
    values = array.reshape(len(array), -1)
    if values.shape[1] > MOST_RANGES:
        return Observed(name=name, rows=len(array), minimum=float(values.min()), maximum=float(values.max()))
    lowest, highest = (ends.astype(np.float64).tolist() for ends in (values.min(axis=0), values.max(axis=0)))
    return Observed(name=name, rows=len(array), minimum=lowest, maximum=highest)


def _note_few(arrays: Arrays) -> tuple[str, ...]:
    rows = rows_of(arrays)
    return () if rows >= ENOUGH_ROWS else (f"the files were compared over {rows:,} observations only.",)


def check_file(path: Path, interface: Interface | None) -> None:
    """Checks that the file can be read, and that it has the arrays, if their names are already known."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if interface is not None and not any(
                set(names) <= set(arrays.files) for names in _spellings(interface.observation)
            ):
                raise UsageError(_missing_array(path, interface.observation, arrays.files))
    except UNREADABLE as error:
        raise UsageError(f"{path}: cannot be read: {_why(error)}.") from None


def _why(error: Exception) -> str:
    return "it is one array, and no archive of arrays by name" if isinstance(error, TypeError) else reason(error)


def read_observations(path: Path, interface: Interface, refusal: type[RlwayError]) -> Arrays:
    """Rows of the observation's tensors; a file without them raises `refusal`."""
    specs = interface.observation
    try:
        with np.load(path, allow_pickle=False) as arrays:
            called = next((names for names in _spellings(specs) if set(names) <= set(arrays.files)), None)
            if called is None:
                raise refusal(_missing_array(path, specs, arrays.files))
            found = {spec.name: arrays[name] for spec, name in zip(specs, called, strict=True)}
    except UNREADABLE as error:
        raise refusal(f"{path}: cannot be read: {_why(error)}.") from None
    rows = {len(array) if array.ndim else 0 for array in found.values()}
    converted = {}
    for spec in interface.observation:
        array = found[spec.name]
        if array.shape[1:] != spec.shape or not array.shape[:1] or not len(array):
            got = f"an array of shape {list(array.shape)}"
            raise refusal(f"{path}: {short_name(spec.name)}: expected rows of {spec.label}, got {got}.")
        converted[spec.name] = _convert(path, array, spec, refusal)
    if len(rows) > 1:
        raise refusal(f"{path}: expected as many rows of each array, got {sorted(rows)}.")
    return converted


def _spellings(specs: list[TensorSpec]) -> Iterator[list[str]]:
    """The names that the file's arrays may have: the tensors' names, or the keys that the policy was trained with."""
    yield [spec.name for spec in specs]
    keys = ["/".join(spec.path) for spec in specs]
    if len(set(keys)) == len(keys):
        yield keys


def _missing_array(path: Path, specs: list[TensorSpec], found: list[str]) -> str:
    wanted = [spec.name for spec in specs]
    missing = next(name for name in wanted if name not in found)
    return f"{path}: has no array {short_name(missing)}; expected the arrays {named(wanted)}."


def _convert(path: Path, array: AnyArray, spec: TensorSpec, refusal: type[RlwayError]) -> AnyArray:
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise refusal(
            f"{path}: {short_name(spec.name)}: expected finite {spec.dtype}, got NaN, infinity or no numbers."
        )
    if spec.numpy_dtype.kind != "f" and beyond(array, spec.numpy_dtype).any():
        raise refusal(f"{path}: {short_name(spec.name)}: expected {spec.dtype}, got {array.dtype} that is none.")
    with np.errstate(all="ignore"):
        return np.asarray(array.astype(spec.numpy_dtype))


def _whole(bounds: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    """Bounds as numbers of the dtype: a float64 would round the largest int64 up."""
    limits = np.iinfo(dtype)
    exact = [min(max(int(bound), limits.min), limits.max) for bound in bounds.ravel()]
    return np.array(exact, dtype).reshape(bounds.shape)


def _sample(spec: TensorSpec, generator: np.random.Generator) -> AnyArray:  # -> [SAMPLED_ROWS, …]
    """Uniform between two bounds, else normal and clipped to the one bound there is."""
    shape = (SAMPLED_ROWS, *spec.shape)
    kind = spec.numpy_dtype.kind
    if kind == "b":
        return generator.random(shape) < 0.5
    low, high = spec.bounds()
    if kind in "iu":
        least = 0 if kind == "u" else -LARGEST_SAMPLE
        low, high = np.where(np.isfinite(low), low, least), np.where(np.isfinite(high), high, LARGEST_SAMPLE)
        least_of, most_of = _whole(low, spec.numpy_dtype), _whole(np.maximum(low, high), spec.numpy_dtype)
        sampled: AnyArray = generator.integers(least_of, most_of, shape, spec.numpy_dtype.type, endpoint=True)
        return sampled
    bounded = np.isfinite(low) & np.isfinite(high)
    start, width = np.where(bounded, low, 0.0), np.where(bounded, high - low, 1.0)
    sampled = np.where(bounded, start + width * generator.random(shape), generator.standard_normal(shape))
    return np.clip(sampled, low, high).astype(spec.numpy_dtype)
