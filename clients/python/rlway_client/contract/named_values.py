"""Values by name: the elements of a tensor have names in the manifest's meaning.

In:      an object of these names in place of a tensor's list, in any order.
Out:     the values in their elements' places; or what is wrong with them, each by its name.
Refuses: names that are missing, not known or given twice (SpecViolated).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from rlway_client.common.quote import named
from rlway_client.common.suggest import near
from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.specs import LONGEST_KEY, MAX_FAULTS, Fault, TensorSpec, at, find_faults

INDEX = re.compile(r"\[(\d+)\]")  # of an element in a path
MOST_COMPARED = 256  # names with which an unknown one is compared


class Doubled(dict[str, Any]):
    """An object of JSON that has a key twice. As in any dict, the last value counts."""

    key: str = ""


def keep_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The `object_pairs_hook` with which Python's json tells of a key that comes twice."""
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    doubled, seen = Doubled(fields), set[str]()
    doubled.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return doubled


def in_order(values: Mapping[str, Any], spec: TensorSpec, names: Sequence[str], where: str = "observation") -> Any:
    """The values as the tensor's nested list; only their names are checked. Raises SpecViolated."""
    if values.keys() != {*names} or isinstance(values, Doubled):
        raise SpecViolated(find_named_faults(values, spec, names, where))
    return _nested([values[name] for name in names], spec.shape)


def find_named_faults(values: Mapping[str, Any], spec: TensorSpec, names: Sequence[str], where: str) -> list[Fault]:
    """The first `MAX_FAULTS` names and values that do not fit; `where` is the path of the object."""
    faults = _unknown_names(values, names, where)
    if isinstance(values, Doubled):
        faults.append(Fault(at(where, values.key), "each name once", "it twice"))
    missing = [name for name in names if name not in values]
    faults += [Fault(at(where, name), spec.dtype, "nothing") for name in missing[:MAX_FAULTS]]
    row = [values.get(name, 0) for name in names]
    row = [value.tolist() if isinstance(value, np.ndarray | np.generic) else value for value in row]
    for fault in find_faults(_nested(row, spec.shape), spec, where):
        indices = [int(digits) for digits in INDEX.findall(fault.path, len(where))]
        name = names[int(np.ravel_multi_index(indices, spec.shape))]
        if name in values:
            faults.append(Fault(at(where, name), fault.expected, fault.got))
    return faults[:MAX_FAULTS]


def _unknown_names(values: Mapping[str, Any], names: Sequence[str], where: str) -> list[Fault]:
    """The keys that are no names; such a key may be one of the missing names, misspelt."""
    known, expected = {*names}, f"one of {named(names)}"
    missing = [name for name in names if name not in values]
    keys = islice((str(key) for key in values if key not in known), MAX_FAULTS)
    return [Fault(at(where, key), expected, describe_unknown(key, missing)) for key in keys]


def describe_unknown(name: str, missing: Sequence[str]) -> str:
    """A name that is not known, in words: of those that are missing, it may be a misspelt one."""
    alike = near(name[:LONGEST_KEY], missing[:MOST_COMPARED])
    return f"a name close to {alike[0]}" if alike else "an unknown name"


def _nested(values: list[Any], shape: Sequence[int]) -> Any:
    if not shape:
        return values[0]
    for length in reversed(shape[1:]):
        values = [values[i : i + length] for i in range(0, len(values), length)]
    return values
