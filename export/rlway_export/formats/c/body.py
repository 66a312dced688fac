"""The inside of the C function: its statements so far, and the arrays that they work on.

In:      a network, the C names of its inputs.
Out:     for whoever writes an operator: views of what it reads, room for what it computes.
Refuses: values of a type that the source has no room for (ExportRefused).

An array is used again once nobody reads it any more: a network takes as much memory as its two largest layers.
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
from rlway_export.formats.c.views import View, nest

BYTES = {"float": 4, "int8_t": 1, "int16_t": 2, "int32_t": 4, "uint8_t": 1, "uint16_t": 2}


def refusal(operation: Operation, what: str) -> ExportRefused:
    """The error for what cannot be written."""
    return ExportRefused(
        f"C: the operator {operation.kind} ({short_name(operation.name)}) with {what} cannot be written as C source; "
        f"leave c out of --formats."
    )


class Memory(NamedTuple):
    """One array of the function's own."""

    kind: str  # C's name
    size: int


class Body:
    """Statements, and who reads what."""

    def __init__(self, network: Network, parameters: dict[str, str]) -> None:
        """`parameters`: the C names of the network's inputs."""
        self.network = network
        self.lines: list[str] = []
        self.memory: dict[str, Memory] = {}
        self.constants: dict[str, AnyArray] = {}  # by their names in C
        self._views: dict[str, View] = {}
        self._free: list[str] = []
        self._unread: Counter[str] = Counter()  # how often each array will still be read
        for name in network.inputs:
            self._views[name] = View.whole(parameters[name], network.shapes[name])

    @property
    def memory_bytes(self) -> int:
        """What the function's own arrays take."""
        return sum(BYTES[kind] * size for kind, size in self.memory.values())

    def view(self, name: str) -> View:
        """What is known under the name: an input, a constant, or a value that is already computed."""
        if name not in self._views:
            array = self.add_constant(self.network.constants[name])
            self._views[name] = View.whole(array, self.network.shapes[name])
        return self._views[name]

    def constant(self, name: str, operation: Operation) -> AnyArray:
        """The value of what must be known now."""
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
        """Room for a value; `order` lists its axes as they lie in memory, first the one with the longest steps."""
        kind, shape = self.type_of(name), self.network.shapes[name]
        view = View.whole(self._take(kind, self.network.size(name)), shape)
        if order is not None:
            inner = View.whole(view.array, [shape[axis] for axis in order])
            view = inner.transpose([list(order).index(axis) for axis in range(len(shape))])
        self.give(name, view)
        return view

    def like(self, name: str, other: View) -> View:
        """Room for a value whose elements lie as those of another one of its shape do."""
        view = other._replace(array=self._take(self.type_of(name), other.size), offset=0)
        self.give(name, view)
        return view

    def give(self, name: str, view: View) -> None:
        """Makes a value known."""
        self._views[name] = view
        if view.array in self.memory:
            self._unread[view.array] += self.network.uses[name]

    def is_last_read(self, name: str) -> bool:
        """Whether the value fills an array of the function's own, which nobody reads after this operation."""
        view = self._views.get(name)
        if view is None or view.array not in self.memory or self._unread[view.array] != 1:
            return False
        return view.is_dense and view.offset == 0 and self.memory[view.array].kind == self.type_of(name)

    def scratch(self, kind: str, shape: Sequence[int]) -> View:
        """Room that is free again after the operation."""
        view = View.whole(self._take(kind, int(np.prod(shape))), shape)
        self._unread[view.array] = 0
        return view

    def row_major(self, name: str) -> View:
        """The value with its elements one behind the other, copied if it takes that."""
        view = self.view(name)
        return view if view.is_row_major else self.copy(view, self.scratch(self.type_of(name), view.shape))

    def copy(self, source: View, target: View) -> View:
        """Copies, and returns the target."""
        self.each([target, source], lambda to, value: f"{to} = {value};")
        return target

    def each(self, views: Sequence[View], statement: Callable[..., str]) -> None:
        """A statement for every element of views of one shape, of which it gets the elements' C expressions."""

        def body(positions: list[str]) -> list[str]:
            elements = [f"{view.array}[{position}]" for view, position in zip(views, positions, strict=True)]
            return statement(*elements).splitlines()

        self.lines += nest(views, body)

    def type_of(self, name: str) -> str:
        """A value's type in C."""
        dtype = self.network.dtypes[name]
        if dtype not in C_TYPES:
            raise ExportRefused(
                f"C: the value {short_name(name)} is of {dtype}, which C source is not written for; leave c out."
            )
        return C_TYPES[dtype]

    def finish(self, operation: Operation) -> None:
        """Frees what the operation was the last to read."""
        for name in operation.inputs:
            if name in self._views and self._views[name].array in self.memory:
                self._unread[self._views[name].array] -= 1
        self._free = [array for array in self.memory if not self._unread[array]]

    def used_constants(self, further: list[str]) -> dict[str, AnyArray]:
        """Those that the statements name, or the further ones."""
        text = set(re.findall(r"\w+", "\n".join([*self.lines, *further])))
        return {name: value for name, value in self.constants.items() if name in text}

    def _take(self, kind: str, size: int) -> str:
        """A free array that is large enough; else the largest, made larger; else a new one."""
        free = [array for array in self._free if self.memory[array].kind == kind]
        enough = [array for array in free if self.memory[array].size >= size]
        if enough:
            array = min(enough, key=lambda name: self.memory[name].size)
        elif free:
            array = max(free, key=lambda name: self.memory[name].size)
        else:
            array = f"value_{len(self.memory)}"
        self.memory[array] = Memory(kind, max(size, self.memory[array].size if array in self.memory else 0))
        self._free = [name for name in self._free if name != array]
        return array
