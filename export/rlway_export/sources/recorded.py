"""Answers that the original framework recorded, compared with those of the file that was made from it.

In:      an NPZ file: inputs and outputs by their names in the file or in the contract, one row per observation.
Out:     nothing; the file's own answers are within 1e-5 of each output's largest value.
Refuses: a file that cannot be read, arrays that do not fit (UsageError); other answers (ExportRefused).

A policy with state starts each row from the state that is recorded, or else from the beginning of an episode.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Protocol

import numpy as np

from rlway_client.common.quote import named, reason, short_name
from rlway_client.contract.errors import ExportRefused, UsageError
from rlway_client.contract.interface import RESET, Interface
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec, beyond
from rlway_export.reference.roles import Roles

TOLERANCE = 1e-5
UNREADABLE = (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile)  # TypeError: a single array


class RoledPolicy(Protocol):
    """A policy whose file has tensors of other names than the contract."""

    name: str
    roles: Roles

    @property
    def interface(self) -> Interface: ...

    def run_act(self, inputs: Arrays) -> Arrays: ...


def check_recorded(path: Path, policy: RoledPolicy) -> None:
    """Raises unless the policy answers as recorded."""
    arrays = _read(path)
    interface, roles = policy.interface, policy.roles
    takes = dict(zip(roles.observation, interface.observation, strict=True))
    takes |= {part.taken: spec for part, spec in zip(roles.state, interface.state, strict=True)}
    gives = _outputs(policy)
    inputs = {spec.name: spec for spec in (*interface.inputs, *takes.values())}
    known = {*takes, *inputs, *gives, *(spec.name for spec in gives.values())}
    unknown = next((name for name in arrays if name not in known), None)
    if unknown is not None:
        raise UsageError(
            f"{path}: its array {short_name(unknown)} is no tensor of the policy; it has {named([*known])}."
        )
    rows = _observed(path, arrays, takes, interface.observation)
    given = {name: _fit(path, array, spec, rows) for name, array, spec in _by_spec(arrays, takes | inputs)}
    has_state = any(spec.name in given for spec in interface.state)
    for spec in interface.inputs:
        is_reset = spec.name == RESET.name and not has_state
        empty = np.full((rows, *spec.shape), is_reset, spec.numpy_dtype)
        given.setdefault(spec.name, empty)
    recorded = {name: _fit(path, array, spec, rows) for name, array, spec in _by_spec(arrays, gives)}
    if not recorded:
        raise UsageError(f"{path}: has no output to compare with; expected one of {named([*gives])}.")
    answers = policy.run_act(given)
    for name, expected in recorded.items():
        _compare(path, policy.name, name, expected, answers[name])


def _read(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except UNREADABLE as error:
        is_one = isinstance(error, TypeError)
        why = "it is one array, and no archive of arrays by name" if is_one else reason(error)
        raise UsageError(f"--reference {path}: cannot be read: {why}.") from None


def _outputs(policy: RoledPolicy) -> dict[str, TensorSpec]:
    """What each output of the file becomes, by both of its names."""
    interface, scores = policy.interface, iter(policy.interface.outputs)
    found = {}
    for part, spec in zip(policy.roles.action, interface.actions, strict=True):
        found[part.tensor] = next(scores) if part.is_scores else spec
        found.setdefault(spec.name, spec)
    for state, spec in zip(policy.roles.state, interface.next_state, strict=True):
        found[state.given] = spec
    return found | {spec.name: spec for spec in interface.results}


def _by_spec(arrays: Arrays, specs: dict[str, TensorSpec]) -> list[tuple[str, AnyArray, TensorSpec]]:
    return [(specs[name].name, array, specs[name]) for name, array in arrays.items() if name in specs]


def _observed(path: Path, arrays: Arrays, takes: dict[str, TensorSpec], observation: list[TensorSpec]) -> int:
    """The number of rows, once every part of the observation is there."""
    there = {spec.name for name, spec in takes.items() if name in arrays or spec.name in arrays}
    missing = next((spec.name for spec in observation if spec.name not in there), None)
    if missing is not None:
        raise UsageError(f"{path}: has no array for {short_name(missing)}; expected {named([*takes])} and outputs.")
    first = next(array for name, array in arrays.items() if name in takes or name == observation[0].name)
    return len(first) if first.ndim else 0


def _fit(path: Path, array: AnyArray, spec: TensorSpec, rows: int) -> AnyArray:
    if array.dtype.kind not in "biuf" or array.shape != (rows, *spec.shape) or not rows:
        raise UsageError(
            f"{path}: {short_name(spec.name)}: expected {rows or 'some'} rows of {spec.label}, got {array.dtype} of "
            f"the shape {list(array.shape)}."
        )
    if spec.numpy_dtype.kind != "f" and beyond(array, spec.numpy_dtype).any():
        raise UsageError(
            f"{path}: {short_name(spec.name)}: expected {spec.dtype}, got {array.dtype} with fractions or of a larger "
            f"range; record what the file takes and gives."
        )
    return array.astype(spec.numpy_dtype)


def _compare(path: Path, policy: str, name: str, expected: AnyArray, found: AnyArray) -> None:
    difference = np.abs(expected.astype(np.float64) - found).max()
    whole = expected.dtype.kind in "biu"
    allowed = 0.0 if whole else TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not difference <= allowed:
        raise ExportRefused(
            f"{policy} does not answer as {path.name} recorded: {short_name(name)} differs by {difference:.2e}, "
            f"expected at most {allowed:.1e}; nothing was published; write the file again, or record again."
        )
