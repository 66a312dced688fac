"""How a policy's observation and its action nest their tensors: as environments have them, and as JSON holds them.

In:      the specs of the tensors, each with its path; an observation of tuples, lists, arrays and dicts, or an action.
Out:     the observation in objects alone, for JSON; or the arrays of its tensors, for a policy in this process. The
         action as an environment takes it.
Refuses: an observation that has other parts than the policy observes, or values that it cannot take (SpecViolated).

The parts of a Tuple space have the keys "0", "1", … A tuple of four numbers may also be one tensor of shape [4]: only
the specs tell which of the two it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.interface import Interface
from rlway_client.contract.meaning import Names
from rlway_client.contract.named_values import find_named_faults, in_order
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import (
    AnyArray,
    Fault,
    TensorSpec,
    at,
    beyond,
    describe,
    find_faults,
    outside_lookup,
)

LONGEST_LABEL = 120
Tree = TensorSpec | dict[str, Any]  # a tensor, or trees by key


def grow(specs: Sequence[TensorSpec]) -> Tree:
    """The specs in the nesting of the observation, or of the action."""
    if len(specs) == 1 and not specs[0].path:
        return specs[0]
    tree: dict[str, Any] = {}
    for spec in specs:
        branch = tree
        *above, last = spec.path or (spec.name,)
        for key in above:
            branch = branch.setdefault(key, {})
        branch[last] = spec
    return tree


def leaves(observation: Any, tree: Tree, where: str = "observation") -> Iterator[tuple[TensorSpec, Any, str]]:
    """Yields each tensor's spec, its part of one observation, and that part's path. Raises SpecViolated."""
    if isinstance(tree, TensorSpec):
        yield tree, observation, where
        return
    parts = parts_of(observation, tree)
    if parts is None:
        raise SpecViolated([Fault(where, _label(tree), _describe(observation))])
    unknown = [key for key in parts if key not in tree]
    if unknown:
        raise SpecViolated([Fault(at(where, unknown[0]), "nothing: the policy has no such input", "it")])
    for key, branch in tree.items():
        if key not in parts:
            raise SpecViolated([Fault(at(where, key), _label(branch), "nothing")])
        yield from leaves(parts[key], branch, at(where, key))


def read(observation: Any, tree: Tree, names: Names | None = None) -> Arrays:  # -> [1, …] by the tensors' names
    """One observation as a policy's inputs. Raises SpecViolated, with the path of the part that does not fit.

    `names` are those of the elements, by tensor: a part may be an object of them, in any order.
    """
    arrays = {}
    for spec, part, where in leaves(observation, tree):
        elements = (names or {}).get(spec.name)
        if elements and isinstance(part, Mapping):
            row = _named_row(part, spec, elements, where)
        else:
            row = _row(part, spec, where)
        arrays[spec.name] = row[None]
    return arrays


def nest(arrays: Arrays, tree: Tree) -> Any:
    """Nests arrays, given by the tensors' names, as the observation or the action does: the inverse of `leaves`."""
    if isinstance(tree, TensorSpec):
        return arrays[tree.name]
    return {key: nest(arrays, branch) for key, branch in tree.items()}


def neutral_observation(specs: Sequence[TensorSpec]) -> Any:
    """One that the policy can take, though nobody has observed it: zeros, or the values nearest to zero."""
    return nest({spec.name: spec.neutral(1)[0] for spec in specs}, grow(specs))


def arrange_action(action: Any) -> Any:
    """An action, or the actions of several rows, as an environment takes it; `action` has its arrays nested in objects.

    Objects become dicts, and tuples where their keys are "0", "1", …; one whole number becomes an int.
    """
    if isinstance(action, Mapping):
        parts = {key: arrange_action(part) for key, part in action.items()}
        return tuple(parts[str(i)] for i in range(len(parts))) if is_tuple(parts) else parts
    return int(action) if np.ndim(action) == 0 and np.asarray(action).dtype.kind in "iu" else action


def row_of(arrays: Arrays, tree: Tree, row: int = 0) -> Any:
    """The action of one row, given the actions' tensors [B, …] by name, as an environment takes it."""
    return arrange_action(nest({name: array[row] for name, array in arrays.items()}, tree))


def arrange(observation: Any, tree: Tree | None) -> Any:
    """One observation with dicts in place of tuples. A part that does not fit stays, and the server refuses it."""
    parts = parts_of(observation, tree) if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or parts is None:
        return observation
    return {key: arrange(_as_number(part, tree.get(key)), tree.get(key)) for key, part in parts.items()}


def arrange_batch(observations: Any, tree: Tree | None) -> Any:
    """Several observations, arranged likewise.

    Tuples and dicts hold columns [B, …], as vectorised environments give them; lists and arrays hold rows. Raises
    SpecViolated for columns that do not fit.
    """
    if not isinstance(tree, dict):
        return observations
    if isinstance(observations, Mapping | tuple):
        parts = parts_of(observations, tree)
        if parts is None:
            expected = f"a list of rows, or columns as {_label(tree)}"
            raise SpecViolated([Fault("observations", expected, _describe(observations))])
        return {key: arrange_batch(_as_number(part, tree.get(key)), tree.get(key)) for key, part in parts.items()}
    if isinstance(observations, list | np.ndarray):
        return [arrange(row, tree) for row in observations]
    return observations


def holds_tuple(value: Any) -> bool:
    """Whether a tuple is among its parts. Of a list, only the first element is looked at: rows are alike."""
    if isinstance(value, Mapping):
        return any(map(holds_tuple, value.values()))
    return isinstance(value, tuple) or (isinstance(value, list) and bool(value) and holds_tuple(value[0]))


def expression(whole: str, path: Sequence[str]) -> str:
    """A part as programs write it: `action["legs"]["left"]`."""
    return whole + "".join(f"[{json.dumps(key)}]" for key in path)


def places(interface: Interface) -> dict[str, str]:
    """Where each tensor lies that is a part of something: `action["gear"]` by the tensor's name."""
    groups = {
        "observation": interface.observation,
        "action": interface.actions,
        "info": interface.outputs,
        "state": interface.state,
    }
    return {spec.name: expression(whole, spec.path) for whole, specs in groups.items() for spec in specs if spec.path}


def is_tuple(tree: Tree) -> bool:
    """Whether it stands for a tuple: its keys are "0", "1", …"""
    return isinstance(tree, dict) and set(tree) == {str(i) for i in range(len(tree))}


def parts_of(value: Any, tree: dict[str, Any]) -> dict[str, Any] | None:
    """The parts by key; None for a value that is neither a dict nor a sequence of the tuple's length."""
    if isinstance(value, Mapping):
        return {str(key): part for key, part in value.items()}
    fields = getattr(value, "_fields", None)
    if isinstance(value, tuple) and fields is not None and set(fields) == set(tree):  # a NamedTuple
        return dict(zip(fields, value, strict=True))
    is_sequence = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)
    if is_sequence and is_tuple(tree) and len(value) == len(tree):
        return {str(i): part for i, part in enumerate(value)}
    return None


def _named_row(values: Mapping[str, Any], spec: TensorSpec, names: list[str], where: str) -> AnyArray:  # -> spec.shape
    try:
        return _row(in_order(values, spec, names, where), spec, where)
    except SpecViolated as error:
        raise SpecViolated(find_named_faults(values, spec, names, where) or error.faults) from None


def _row(value: Any, spec: TensorSpec, where: str) -> AnyArray:  # -> spec.shape
    """A value as an array of the spec's dtype. Raises SpecViolated if that changes it, or the policy cannot take it."""
    try:
        given = np.asarray(value)
    except (ValueError, TypeError):  # rows of different lengths
        raise SpecViolated(_faults(value, spec, where)) from None
    if given.shape != spec.shape or given.dtype.kind not in "biuf":
        raise SpecViolated(_faults(value, spec, where))
    with np.errstate(all="ignore"):
        row = given.astype(spec.numpy_dtype, copy=False)
    kind = row.dtype.kind
    if kind == "f":
        fits = bool(np.isfinite(row).all())
    else:  # any number but 0 is true
        fits = kind == "b" or given.dtype == row.dtype or not beyond(given, row.dtype).any()
    if not fits or (spec.is_lookup and outside_lookup(row, spec).any()):
        raise SpecViolated(_faults(value, spec, where))
    return row


def _faults(value: Any, spec: TensorSpec, where: str) -> list[Fault]:
    faults = find_faults(value.tolist() if isinstance(value, np.ndarray | np.generic) else value, spec, where)
    return faults or [Fault(where, spec.label, f"an array of shape {list(np.shape(value))}")]


def _as_number(value: Any, tree: Tree | None) -> Any:
    """0 or 1 for a flag that the policy observes as a number: in JSON, true and false are no numbers."""
    is_flag = isinstance(value, bool | np.bool_) or (isinstance(value, np.ndarray) and value.dtype.kind == "b")
    return np.asarray(value, np.int8) if is_flag and isinstance(tree, TensorSpec) and tree.dtype != "bool" else value


def _label(tree: Tree) -> str:
    """A tensor's spec, or a tuple or dict of them, cut to `LONGEST_LABEL` characters."""
    if isinstance(tree, TensorSpec):
        return tree.label
    if is_tuple(tree):
        label = f"a tuple of {len(tree)} ({', '.join(_label(tree[str(i)]) for i in range(len(tree)))})"
    else:
        parts = (f"{json.dumps(key, ensure_ascii=False)}: {_label(branch)}" for key, branch in tree.items())
        label = f"a dict of {', '.join(parts)}"
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {list(value.shape)}"
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else describe(value)
