"""Operators that only move data: the same elements, or some of them, in another shape or order.

In:      an operation, the body that it is written into.
Out:     a view of the input; a copy only where several arrays become one, or where no view has the order.
Refuses: sizes and places that are computed (ExportRefused).
"""

from __future__ import annotations

from rlway_export.formats.c.body import Body, refusal
from rlway_export.formats.c.constants import literals
from rlway_export.formats.c.network import Operation
from rlway_export.formats.c.views import View


def reshape(operation: Operation, body: Body) -> None:
    """Identity, and every change of shape."""
    name, out = operation.inputs[0], operation.outputs[0]
    view = body.view(name).reshape(body.network.shapes[out])
    if view is not None:
        body.give(out, view)
    else:
        made = body.make(out)
        body.copy(body.view(name), View.whole(made.array, body.network.shapes[name]))


def transpose(operation: Operation, body: Body) -> None:
    """The axes in another order."""
    view = body.view(operation.inputs[0])
    order = operation.attributes.get("perm", list(range(len(view.shape)))[::-1])
    body.give(operation.outputs[0], view.transpose(order))


def expand(operation: Operation, body: Body) -> None:
    """Repeated along axes of size 1."""
    out = operation.outputs[0]
    body.give(out, body.view(operation.inputs[0]).broadcast(body.network.shapes[out]))


def slice_axes(operation: Operation, body: Body) -> None:
    """Slice: starts, ends and steps, along some of the axes."""
    view = body.view(operation.inputs[0])
    given = [[int(n) for n in body.constant(name, operation)] if name else None for name in operation.inputs[1:]]
    starts, ends, axes, steps = [*given, None, None][:4]
    starts, ends = starts or [], ends or []
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        n = view.shape[axis]
        whole = step < 0 and end < -n  # in numpy, "down to the first one" is None
        view = view.slice(axis, slice(start, None if whole else end, step))
    body.give(operation.outputs[0], view)


def split(operation: Operation, body: Body) -> None:
    """One array as several."""
    view, start = body.view(operation.inputs[0]), 0
    axis = operation.attributes.get("axis", 0) % len(view.shape)
    for out in operation.outputs:
        n = body.network.shapes[out][axis]
        body.give(out, view.slice(axis, slice(start, start + n)))
        start += n


def concat(operation: Operation, body: Body) -> None:
    """Several arrays as one."""
    out = operation.outputs[0]
    made, start = body.make(out), 0
    axis = operation.attributes["axis"] % len(made.shape)
    for name in operation.inputs:
        n = body.network.shapes[name][axis]
        body.copy(body.view(name), made.slice(axis, slice(start, start + n)))
        start += n


def tile(operation: Operation, body: Body) -> None:
    """The whole, repeated along its axes."""
    view, out = body.view(operation.inputs[0]), operation.outputs[0]
    repeats = [int(n) for n in body.constant(operation.inputs[1], operation)]
    shape = [n for pair in zip(repeats, view.shape, strict=True) for n in pair]
    strides = [stride for one in view.strides for stride in (0, one)]
    made = body.make(out)
    body.copy(view._replace(shape=tuple(shape), strides=tuple(strides)), View.whole(made.array, shape))


def pad(operation: Operation, body: Body) -> None:
    """A constant around the input."""
    if operation.attributes.get("mode", b"constant") != b"constant":
        raise refusal(operation, "anything but a constant")
    view, out = body.view(operation.inputs[0]), operation.outputs[0]
    rank = len(view.shape)
    given = [int(n) for n in body.constant(operation.inputs[1], operation)]
    named = operation.inputs[3:4] if any(operation.inputs[3:4]) else ()
    axes = [int(axis) % rank for name in named for axis in body.constant(name, operation)] or range(rank)
    before = dict(zip(axes, given, strict=False))
    if min(given) < 0:
        raise refusal(operation, "less than nothing")
    value = operation.inputs[2] if any(operation.inputs[2:3]) else ""
    (filling,) = literals(body.constant(value, operation)) if value else ("0",)
    made = body.make(out)
    body.each([made], lambda to: f"{to} = {filling};")
    inner = made
    for axis, n in enumerate(view.shape):
        inner = inner.slice(axis, slice(before.get(axis, 0), before.get(axis, 0) + n))
    body.copy(view, inner)
