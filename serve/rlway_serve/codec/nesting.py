"""The nesting of an observation: one tensor, or an object of tensors and further objects.

In:      a manifest's specs, each with its path of keys; observations as Python's json reads them.
Out:     their tensors in a fixed order; their faults, by path; the msgspec types that read them.
Refuses: an object with other keys (`pick_leaves` raises ValueError).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from rlway_client.contract.meaning import Names
from rlway_client.contract.named_values import find_named_faults
from rlway_client.contract.nesting import Tree, is_tuple
from rlway_client.contract.specs import Fault, TensorSpec, describe, find_faults

UNPLAIN_KEY = re.compile(r'["\\\x00-\x1f]')  # characters that JSON has to escape


def leaves_of(tree: Any) -> Iterator[TensorSpec]:
    """The tree's specs, in order."""
    if isinstance(tree, TensorSpec):
        yield tree
    else:
        yield from chain.from_iterable(map(leaves_of, tree.values()))


def pick_leaves(value: Any, tree: Any) -> Iterator[Any]:
    """The tensors of an observation, in the order of the tree. Raises ValueError if its keys are not the tree's."""
    if isinstance(tree, TensorSpec):
        yield value
        return
    value = _with_keys(value, tree)
    if not isinstance(value, dict) or value.keys() != tree.keys():
        raise ValueError("other keys than the policy's")
    for key, branch in tree.items():
        yield from pick_leaves(value[key], branch)


def _with_keys(value: Any, tree: dict[str, Any]) -> Any:
    """Turns an array that stands for a tuple into an object with the keys "0", "1", …"""
    if isinstance(value, list) and len(value) == len(tree) and is_tuple(tree):
        return {str(i): part for i, part in enumerate(value)}
    return value


def label(tree: TensorSpec | dict[str, Any]) -> str:
    """For error sentences: `float32[4]`, or `{"camera": uint8[8, 8, 3], "speed": float32}`."""
    if isinstance(tree, TensorSpec):
        return tree.label
    return (
        "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {label(branch)}" for key, branch in tree.items()) + "}"
    )


def example(tree: TensorSpec | dict[str, Any], names: Names) -> Any:
    """An observation for JSON: zeros, or the allowed values nearest to zero; by name where a tensor is in `names`."""
    if isinstance(tree, TensorSpec):
        row = tree.neutral(1)[0]
        return dict(zip(names[tree.name], row.ravel().tolist(), strict=True)) if tree.name in names else row.tolist()
    return {key: example(branch, names) for key, branch in tree.items()}


def tree_faults(value: Any, tree: TensorSpec | dict[str, Any], where: str, names: Names) -> list[Fault]:
    """The faults of one observation as Python's json reads it; `where` is its path, `names` are its elements' names."""
    if isinstance(tree, TensorSpec):
        if tree.name in names and isinstance(value, dict):
            return find_named_faults(value, tree, names[tree.name], where)
        return find_faults(value, tree, where)
    value = _with_keys(value, tree)
    if not isinstance(value, dict):
        return [Fault(where, f"an object {label(tree)}", describe(value))]
    faults: list[Fault] = []
    for key, branch in tree.items():
        place = where + in_brackets([key])
        found = tree_faults(value[key], branch, place, names) if key in value else None
        faults += [Fault(place, label(branch), "nothing")] if found is None else found
    unknown = [key for key in value if key not in tree]
    return faults + [
        Fault(where + in_brackets([key[:64]]), "nothing: the policy has no such input", "it") for key in unknown
    ]


def in_brackets(path: Sequence[str]) -> str:
    """The keys of a path as error sentences show them: `["camera"]["left"]`."""
    return "".join(f"[{json.dumps(key, ensure_ascii=False)}]" for key in path)


def are_plain_keys(tree: Any) -> bool:
    """Whether JSON has to escape no key of the tree."""
    return isinstance(tree, TensorSpec) or all(
        not UNPLAIN_KEY.search(key) and are_plain_keys(branch) for key, branch in tree.items()
    )


def object_type(tree: Any, name: str = "Observation") -> Any:
    """The msgspec type of a row. Objects become structs with numbered fields, since a key may be no valid name."""
    if isinstance(tree, TensorSpec):
        return row_type(tree)
    keys = {f"f{i}": key for i, key in enumerate(tree)}
    fields = [(field, object_type(tree[key], name + field)) for field, key in keys.items()]
    return msgspec.defstruct(name, fields, rename=keys, forbid_unknown_fields=True)


def getters(tree: Tree, prefix: str) -> Iterator[Callable[[Any], Any]]:
    """Functions that read each tensor from a struct of `object_type`, in the tree's order; none for a single tensor."""
    for i, branch in enumerate(tree.values() if isinstance(tree, dict) else ()):
        if isinstance(branch, TensorSpec):
            yield attrgetter(f"{prefix}f{i}")
        else:
            yield from getters(branch, f"{prefix}f{i}.")


def row_type(spec: TensorSpec, finite: bool = False) -> Any:
    """The msgspec type of one tensor: nested lists of exactly the spec's shape.

    With `finite`, floats have to fit the dtype; otherwise they may be too large for it.
    """
    kind: Any = {"f": float, "b": bool}.get(spec.numpy_dtype.kind, int)
    if kind is float and finite:
        largest = float(np.finfo(spec.numpy_dtype).max)
        kind = Annotated[float, Meta(ge=-largest, le=largest)]
    if kind is int:
        limits = np.iinfo(spec.dtype)
        # msgspec's bounds are signed 64-bit numbers; the slow reader takes larger uint64 values.
        kind = Annotated[int, Meta(ge=int(limits.min), le=min(int(limits.max), 2**63 - 1))]
    return _nested(kind, spec.shape)


def loose_row_type(spec: TensorSpec) -> Any:
    """As `row_type`, for values read by Python's json: integers may be written as floats."""
    kinds: dict[str, Any] = {"f": float, "b": bool}
    return _nested(kinds.get(spec.numpy_dtype.kind, int | float), spec.shape)


def _nested(kind: Any, shape: Sequence[int]) -> Any:
    for length in reversed(shape):
        kind = Annotated[list[kind], Meta(min_length=length, max_length=length)]
    return kind
