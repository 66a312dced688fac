"""Operators that pick elements at constant places: Gather, GatherElements, GatherND.

In:      an operation, the body that it is written into.
Out:     a view where one will do; else a loop over a table of places.
Refuses: places that are computed (ExportRefused): C source never reads at an index that an observation decides.
"""

from __future__ import annotations

import numpy as np

from rlway_client.contract.specs import AnyArray
from rlway_export.formats.c.body import Body, refusal
from rlway_export.formats.c.network import Operation
from rlway_export.formats.c.views import View, nested_loops, sum_of


def gather(operation: Operation, body: Body) -> None:
    """One index along an axis, or several."""
    view, out = body.view(operation.inputs[0]), operation.outputs[0]
    axis = operation.attributes.get("axis", 0) % len(view.shape)
    places = _places(operation, body.constant(operation.inputs[1], operation), view.shape[axis])
    if places.size == 1:
        place = int(places.item())
        alone = view.slice(axis, slice(place, place + 1)).reshape(body.network.shapes[out])
        assert alone is not None  # only axes of size 1 come and go
        body.give(out, alone)
        return
    before, after = view.strides[:axis], view.strides[axis + 1 :]
    offsets = places.reshape(*[1] * len(before), *places.shape, *[1] * len(after)) * view.strides[axis]
    _pick(operation, body, view, (*before, *[0] * places.ndim, *after), offsets)


def gather_elements(operation: Operation, body: Body) -> None:
    """For each element of the output, a place along one axis."""
    view = body.view(operation.inputs[0])
    axis = operation.attributes.get("axis", 0) % len(view.shape)
    places = _places(operation, body.constant(operation.inputs[1], operation), view.shape[axis])
    _pick(operation, body, view, (*view.strides[:axis], 0, *view.strides[axis + 1 :]), places * view.strides[axis])


def gather_nd(operation: Operation, body: Body) -> None:
    """For each element of the output, a place along several axes."""
    view, given = body.view(operation.inputs[0]), body.constant(operation.inputs[1], operation)
    batch, depth = operation.attributes.get("batch_dims", 0), given.shape[-1]
    inner = view.strides[batch + depth :]
    offsets = np.zeros(given.shape[:-1], np.int64)
    for i in range(depth):
        offsets += _places(operation, given[..., i], view.shape[batch + i]) * view.strides[batch + i]
    strides = (*view.strides[:batch], *[0] * (offsets.ndim - batch), *inner)
    _pick(operation, body, view, strides, offsets.reshape(*offsets.shape, *[1] * len(inner)))


def _places(operation: Operation, given: AnyArray, n: int) -> AnyArray:
    """Indices, which count from the end if they are negative."""
    places = np.where(given < 0, given + n, given).astype(np.int64)
    if places.size and not (places.min() >= 0 and places.max() < n):
        raise refusal(operation, f"a place outside of {n}")
    return places


def _pick(operation: Operation, body: Body, view: View, strides: tuple[int, ...], offsets: AnyArray) -> None:
    """Copies elements: each lies where the strides lead, and as much further as the table of offsets says."""
    out = operation.outputs[0]
    shape, made = body.network.shapes[out], body.make(out)
    table = View.whole(body.add_constant(offsets.astype(np.int32)), offsets.shape).broadcast(shape)

    def statement(at: list[str]) -> list[str]:
        return [f"{made.array}[{at[0]}] = {view.array}[{sum_of(at[2], f'{table.array}[{at[1]}]')}];"]

    body.lines += nested_loops([made, table, view._replace(shape=shape, strides=strides)], statement)
