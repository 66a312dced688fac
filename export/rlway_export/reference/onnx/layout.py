"""Where the rows of a batch lie in the tensors of an ONNX file.

In:      the declared shapes of its inputs, their roles.
Out:     `Layout`: the axis of the rows in every input, the shape of one row, and whether the batch is free.
Refuses: inputs of unknown shape, a fixed batch other than one row (ExportRefused).

A file may take any number of rows, one row with a batch dimension of 1, or one row without such a dimension. PyTorch's
recurrent layers have the rows of their state on the second axis: [layers, batch, size].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.specs import AnyArray
from rlway_export.reference.onnx.draws import GraphDraw
from rlway_export.reference.roles import Roles

Dims = list[int | str]  # a name, or "" for a free dimension without one


class Place(NamedTuple):
    """How one input takes its rows."""

    axis: int | None  # of the rows; None: it takes one row without a batch dimension
    shape: tuple[int, ...]  # of one row
    dtype: np.dtype[Any]

    def put(self, rows: AnyArray) -> AnyArray:  # [n, …] -> as the file takes it
        """The rows as the file takes them."""
        return rows[0] if self.axis is None else np.ascontiguousarray(np.moveaxis(rows, 0, self.axis))

    def take(self, value: AnyArray) -> AnyArray:  # as the file gives it -> [n, …]
        """The rows of an output that is laid out likewise."""
        return value[np.newaxis] if self.axis is None else np.ascontiguousarray(np.moveaxis(value, self.axis, 0))


class Layout(NamedTuple):
    """The inputs' places by name, the draws' not yet included."""

    places: dict[str, Place]
    is_free: bool  # whether the file takes any number of rows at once

    @property
    def is_batched(self) -> bool:
        """Whether outputs have a batch dimension."""
        return any(place.axis is not None for place in self.places.values())

    @classmethod
    def of(cls, model: Any, roles: Roles, draws: list[GraphDraw], where: str) -> Layout:
        """`where` is the file in messages."""
        drawn = {draw.name for draw in draws}
        inputs = {value.name: value for value in model.graph.input if value.name not in drawn}
        needed = [*roles.observation, *(part.taken for part in roles.state)]
        unread = next((name for name in needed if name not in inputs), None)
        if unread is not None:
            raise ExportRefused(f"{where}: its action does not depend on {short_name(unread)}; leave that out.")
        dims = {name: _dims(value, where) for name, value in inputs.items()}
        observed = [dims[name] for name in roles.observation]
        batch = observed[0][0] if observed[0] else 1
        free = all(shape and not isinstance(shape[0], int) for shape in observed)
        states = [part.taken for part in roles.state]
        axes: dict[str, int | None] = {name: _observation_axis(dims[name]) for name in roles.observation}
        for name in states:
            axes[name] = _state_axis(dims[name], batch)
        for name in roles.fixed.keys() & dims.keys():
            axes[name] = 0 if dims[name] and not _is_whole(dims[name][0]) else None
        free = free and all(axes[name] is not None and not _is_whole(dims[name][axes[name] or 0]) for name in states)
        places = {name: _place(inputs[name], dims[name], axis, where) for name, axis in axes.items()}
        return cls(places, free)


def _dims(value: Any, where: str) -> Dims:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        raise ExportRefused(f"{where}: {short_name(value.name)} has no shape; export it with shapes.")
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in kind.shape.dim]


def _is_whole(dim: int | str) -> bool:
    return isinstance(dim, int)


def _observation_axis(dims: Dims) -> int | None:
    return 0 if dims and dims[0] in (1, *(dim for dim in dims if not _is_whole(dim))) else None


def _state_axis(dims: Dims, batch: int | str) -> int | None:
    """The axis with the observation's batch, else a free one, else one of size 1, the second first."""
    free = [axis for axis, dim in enumerate(dims) if not _is_whole(dim)]
    if free:
        return next((axis for axis in free if dims[axis] == batch), free[0])
    return next((axis for axis in (1, 0) if len(dims) > axis + 1 and dims[axis] == 1), None)


def _place(value: Any, dims: Dims, axis: int | None, where: str) -> Place:
    import onnx

    shape = [dim for i, dim in enumerate(dims) if i != axis]
    if not all(isinstance(dim, int) and dim > 0 for dim in shape):
        shown = ", ".join(str(dim) or "?" for dim in dims)
        raise ExportRefused(
            f"{where}: {short_name(value.name)}: expected only the batch to be free, got [{shown}]; export it with "
            f"fixed sizes."
        )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return Place(axis, tuple(int(dim) for dim in shape), dtype)
