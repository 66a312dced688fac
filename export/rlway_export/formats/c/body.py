"""The body of the C function: its statements so far, and the arrays that they work on.

In:      a network, the C names of its inputs.
Out:     for the writers of operators: views of the values to read, room for the values to compute.
Refuses: values of a type that C source is not written for (ExportRefused).

An array is reused after its last read, so a network takes about as much memory as its two largest layers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.specs import AnyArray
from rlway_export.formats.c.network import Network, Operation
from rlway_export.formats.c.signature import C_TYPES
from rlway_export.formats.c.views import View, nested_loops

BYTES = {"double": 8, "float": 4, "int8_t": 1, "int16_t": 2, "int32_t": 4, "uint8_t": 1, "uint16_t": 2}


def refusal(operation: Operation, what: str) -> ExportRefused:
    """The error for what cannot be written."""
    return ExportRefused(
        f"C: the operator {operation.kind} ({short_name(operation.name)}) with {what} cannot be written as C source; "
        f"leave c out of --formats."
    )


class LocalArray(NamedTuple):
    """One array of the function's own."""

    kind: str  # C's name
    size: int


class Body:
    """Statements, and how often each array will still be read."""

    def __init__(self, network: Network, parameters: dict[str, str]) -> None:
        """`parameters`: the C names of the network's inputs."""
        self.network = network
        self.lines: list[str] = []
        self.arrays: dict[str, LocalArray] = {}
        self.constants: dict[str, AnyArray] = {}  # by their names in C
        self._views: dict[str, View] = {}
        self._free: list[str] = []
        self._unread: Counter[str] = Counter()  # how often each array will still be read
        for name in network.inputs:
            self._views[name] = View.whole(parameters[name], network.shapes[name])

    @property
    def memory_bytes(self) -> int:
        """What the function's own arrays take."""
        return sum(BYTES[kind] * size for kind, size in self.arrays.values())

    def view(self, name: str) -> View:
        """The value of that name: an input, a constant, or the output of an operator that is already written."""
        if name not in self._views:
            array = self.add_constant(self.network.constants[name])
            self._views[name] = View.whole(array, self.network.shapes[name])
        return self._views[name]

    def constant(self, name: str, operation: Operation) -> AnyArray:
        """The value of an argument that has to be constant."""
        if name not in self.network.constants:
            raise refusal(operation, "an argument that is computed")
        return self.network.constants[name]

    def add_constant(self, value: AnyArray) -> str:
        """The C name of an array of constants."""
        if str(value.dtype) not in C_TYPES:
            raise ExportRefused(f"C: a constant is of {value.dtype}, which C source is not written for; leave c out.")
        kind = "row" if value.ndim < 2 else "weights"
        name = f"{kind}_{sum(known.startswith(kind) for known in self.constants)}"
        self.constants[name] = value
        return name

    def make(self, name: str, order: Sequence[int] | None = None) -> View:
        """Room for a value; `order` lists its axes as they lie in memory, the one with the largest stride first."""
        kind, shape = self.type_of(name), self.network.shapes[name]
        view = View.whole(self._take(kind, self.network.size(name)), shape)
        if order is not None:
            inner = View.whole(view.array, [shape[axis] for axis in order])
            view = inner.transpose([list(order).index(axis) for axis in range(len(shape))])
        self.give(name, view)
        return view

    def like(self, name: str, other: View) -> View:
        """Room for a value, with the memory layout of another value of the same shape."""
        view = other._replace(array=self._take(self.type_of(name), other.size), offset=0)
        self.give(name, view)
        return view

    def give(self, name: str, view: View) -> None:
        """Makes the view known as the value of this name."""
        self._views[name] = view
        if view.array in self.arrays:
            self._unread[view.array] += self.network.uses[name]

    def is_last_read(self, name: str) -> bool:
        """Whether the value fills one of the function's own arrays, and this operation reads it last."""
        view = self._views.get(name)
        if view is None or view.array not in self.arrays or self._unread[view.array] != 1:
            return False
        return view.is_dense and view.offset == 0 and self.arrays[view.array].kind == self.type_of(name)

    def scratch(self, kind: str, shape: Sequence[int]) -> View:
        """Room for the time of this operation."""
        view = View.whole(self._take(kind, int(np.prod(shape))), shape)
        self._unread[view.array] = 0
        return view

    def row_major(self, name: str) -> View:
        """The value in row-major order, copied if necessary."""
        view = self.view(name)
        return view if view.is_row_major else self.copy(view, self.scratch(self.type_of(name), view.shape))

    def copy(self, source: View, target: View) -> View:
        """Copies, and returns the target."""
        self.each([target, source], lambda to, value: f"{to} = {value};")
        return target

    def each(self, views: Sequence[View], statement: Callable[..., str]) -> None:
        """A statement for every element of views of one shape; it takes the elements' C expressions."""

        def body(positions: list[str]) -> list[str]:
            elements = [f"{view.array}[{position}]" for view, position in zip(views, positions, strict=True)]
            return statement(*elements).splitlines()

        self.lines += nested_loops(views, body)

    def type_of(self, name: str) -> str:
        """A value's type in C."""
        dtype = self.network.dtypes[name]
        if dtype not in C_TYPES:
            raise ExportRefused(
                f"C: the value {short_name(name)} is of {dtype}, which C source is not written for; leave c out."
            )
        return C_TYPES[dtype]

    def finish(self, operation: Operation) -> None:
        """Frees the arrays that the operation read last."""
        for name in operation.inputs:
            if name in self._views and self._views[name].array in self.arrays:
                self._unread[self._views[name].array] -= 1
        self._free = [array for array in self.arrays if not self._unread[array]]

    def used_constants(self, further: list[str]) -> dict[str, AnyArray]:
        """The constants that the statements name, or the further lines."""
        text = set(re.findall(r"\w+", "\n".join([*self.lines, *further])))
        return {name: value for name, value in self.constants.items() if name in text}

    def _take(self, kind: str, size: int) -> str:
        """A free array that is large enough, else the largest free one, enlarged, else a new one."""
        free = [array for array in self._free if self.arrays[array].kind == kind]
        enough = [array for array in free if self.arrays[array].size >= size]
        if enough:
            array = min(enough, key=lambda name: self.arrays[name].size)
        elif free:
            array = max(free, key=lambda name: self.arrays[name].size)
        else:
            array = f"value_{len(self.arrays)}"
        self.arrays[array] = LocalArray(kind, max(size, self.arrays[array].size if array in self.arrays else 0))
        self._free = [name for name in self._free if name != array]
        return array
