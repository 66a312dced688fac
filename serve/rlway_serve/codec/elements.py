"""Elements of the observation as inputs of their own, for protocols whose inputs are arrays by name.

In:      a request's tensors, some of which are named as an element: `hip`, `observation/hip`, `joints/arm/hip`.
Out:     the tensors, with the whole array in place of its elements.
Refuses: nothing; it returns the faults, each by the name that the request has for the element: one that is missing,
         doubled, of another dtype or another number of rows, not finite, or not in the table in which it is looked up.

An element is an array [B], or [B, 1] as columns of tables are sent; without a batch it is one number. The names are
those of the manifest's meaning. Behind a `/` they follow any name of their tensor, and without it they stand for those
of a sole tensor. The name of an input goes before that of an element.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.named_values import describe_unknown
from rlway_client.contract.specs import MAX_FAULTS, AnyArray, Fault, TensorSpec, find_faults, outside_lookup
from rlway_serve.codec.tensor_reader import TensorReader


class Element(NamedTuple):
    """Where an input belongs."""

    tensor: str
    place: int  # in row-major order


class Given(NamedTuple):
    """An element that a request gives."""

    where: str  # its name there
    value: Any


class ElementForm:
    """The elements with names of one policy's observation."""

    def __init__(self, manifest: Manifest, inputs: Mapping[str, str], max_rows: int) -> None:
        """`inputs` are all names that a request may use for an input, each with the manifest's own."""
        names = manifest.meaning.names if manifest.meaning else {}
        specs = [spec for spec in manifest.observation if spec.name in names]
        self.names = {spec.name: names[spec.name] for spec in specs}
        self._specs = {spec.name: spec for spec in specs}
        self._inputs = inputs
        self._readers = {spec.name: TensorReader(TensorSpec(spec.name, (), spec.dtype), max_rows) for spec in specs}
        roots = [(f"{spelling}/", name) for spelling, name in inputs.items() if name in self.names]
        if specs and len(manifest.observation) == 1:
            roots.append(("", specs[0].name))
        self._elements = {
            root + element: Element(name, i)
            for root, name in roots
            for i, element in enumerate(self.names[name])
            if root + element not in inputs
        }

    def __contains__(self, name: str) -> bool:
        return name in self._elements

    def describe_unknown(self, name: str) -> str:
        """A name that is neither an input's nor an element's, in words."""
        root, leaf = _split(name)
        elsewhere = (one for one in self._elements if not root and _split(one)[1] == leaf)
        alike = next(elsewhere, None)
        if alike is not None:
            return f"the end of {alike}"
        return describe_unknown(name, [one for one in self._elements if _split(one)[0] == root])

    def gather(self, tensors: Mapping[str, Any], batched: bool) -> tuple[dict[str, Any], list[Fault]]:
        """The tensors with whole arrays, and the faults of the elements."""
        rest: dict[str, Any] = {}
        found: dict[str, dict[int, Given]] = {}
        faults: list[Fault] = []
        for name, value in tensors.items():
            element = self._elements.get(name)
            if element is None:
                rest[name] = value
                continue
            given = found.setdefault(element.tensor, {})
            if element.place in given:
                faults.append(Fault(clipped(name), f"{given[element.place].where} once", "it twice"))
            given.setdefault(element.place, Given(clipped(name), value))
        whole = {self._inputs[name]: name for name in rest if name in self._inputs}
        for tensor, given in found.items():
            where = next(iter(given.values())).where
            if tensor in whole:
                faults.append(Fault(where, f"either {clipped(whole[tensor])} or its elements", "both"))
                continue
            try:
                rest[tensor] = self._join(tensor, given, batched)
            except SpecViolated as error:
                faults += error.faults
        return rest, faults[:MAX_FAULTS]

    def _join(self, tensor: str, given: Mapping[int, Given], batched: bool) -> AnyArray:
        """The tensor of its elements, [rows, *shape], or its shape unless `batched`. Raises SpecViolated."""
        spec, names, reader = self._specs[tensor], self.names[tensor], self._readers[tensor]
        first = next(iter(given.values())).where
        root, _ = _split(first)
        faults: list[Fault] = []
        columns: dict[int, AnyArray] = {}
        for place, name in enumerate(names):
            if place not in given:
                faults.append(Fault(root + name, spec.dtype, "nothing"))
                continue
            where, value = given[place]
            try:
                columns[place] = reader.read(_column(value, batched), where, batched)
            except SpecViolated as error:
                faults += error.faults
                continue
            rows = len(next(iter(columns.values())))
            if len(columns[place]) != rows:
                faults.append(Fault(where, f"{rows} rows, as the elements before it", str(len(columns[place]))))
        if faults:
            raise SpecViolated(faults)
        array = np.stack([columns[place] for place in range(len(names))], axis=1)
        faults = self._unfit(array, spec, [given[place] for place in range(len(names))], batched)
        if faults:
            raise SpecViolated(faults)
        array = array.reshape(-1, *spec.shape)
        return array if batched else array[0]

    def _unfit(self, rows: AnyArray, spec: TensorSpec, given: list[Given], batched: bool) -> list[Fault]:
        """The values in rows [rows, elements] that are not finite, or in no table."""
        odd = np.zeros(rows.shape, bool) if spec.numpy_dtype.kind != "f" else ~np.isfinite(rows)
        if spec.is_lookup:
            odd |= outside_lookup(rows.reshape(-1, *spec.shape), spec).reshape(rows.shape)
        faults: list[Fault] = []
        for row, place in np.argwhere(odd)[:MAX_FAULTS].tolist():
            where, value = given[place]
            number = np.ravel(value)[row].item()  # as it was sent: in the policy's dtype it may be infinite
            faults += find_faults(number, spec.element(place), f"{where}[{row}]" if batched else where)
        return faults


def _split(name: str) -> tuple[str, str]:
    """What precedes the name of an element, and that name."""
    place = name.rfind("/") + 1
    return name[:place], name[place:]


def _column(value: Any, batched: bool) -> Any:
    """[B] of [B, 1], or a number of an array that holds one."""
    is_column = isinstance(value, np.ndarray) and value.ndim == (2 if batched else 1) and value.shape[-1] == 1
    return value[..., 0] if is_column else value
