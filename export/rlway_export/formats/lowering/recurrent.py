"""ONNX's recurrent layers as products, sums and activations, step by step.

In:      an LSTM, GRU or RNN over a sequence of known length, usually one step.
Out:     nodes that compute the same; None for a form that is not known here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rlway_client.contract.specs import AnyArray
from rlway_export.formats.lowering.builder import Builder

LONGEST = 128  # steps
ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
STEPS = np.zeros(1, np.int64)  # the axis of the sequence


def unroll_layer(node: Any, attributes: dict[str, Any], builder: Builder) -> bool:
    """Whether the nodes could be made."""
    kind = node.op_type
    x, w, r, b, lengths, h, c, p = (*node.input, *[""] * 8)[:8]
    shape, weights, recurrent = builder.shapes.get(x), builder.constants.get(w), builder.constants.get(r)
    known = [part in builder.constants for part in (b, p) if part]
    if shape is None or len(shape) != 3 or weights is None or recurrent is None or lengths or not all(known):
        return False
    steps, directions = shape[0], len(weights)
    usual = ACTIVATIONS[kind] * directions
    activations = [one.decode() for one in attributes.get("activations", [one.encode() for one in usual])]
    if not 0 < steps <= LONGEST or "clip" in attributes or attributes.get("layout") or attributes.get("input_forget"):
        return False
    if activations != usual and not (kind == "RNN" and set(activations) <= {"Tanh", "Relu"}):
        return False
    bias = builder.constants[b] if b else np.zeros((directions, 2 * weights.shape[1]), weights.dtype)
    peephole = builder.constants[p] if p else None
    inputs = [_step(builder, x, i, steps) for i in range(steps)]
    direction = attributes.get("direction", b"forward")
    orders = {b"forward": [1], b"reverse": [-1], b"bidirectional": [1, -1]}[direction]
    answers: list[list[str]] = []  # of each direction, step by step
    last: list[list[str]] = []  # h and c of each direction
    for d, order in enumerate(orders):
        layer = _Layer(builder, kind, weights[d], recurrent[d], bias[d], None if peephole is None else peephole[d])
        layer.after_reset = bool(attributes.get("linear_before_reset", 0))
        layer.activation = activations[d] if kind == "RNN" else "Tanh"
        state = [_direction(builder, name, d, directions) if name else None for name in (h, c)]
        given: list[str] = []
        for step in inputs[::order]:
            state = layer.step(step, *state)
            given.append(str(state[0]))
        answers.append(given[::order])
        last.append([str(one) for one in state if one])
    _give(node, builder, answers, last)
    return True


class _Layer:
    """The weights of one direction."""

    after_reset, activation = False, "Tanh"

    def __init__(
        self, builder: Builder, kind: str, w: AnyArray, r: AnyArray, bias: AnyArray, peephole: AnyArray | None
    ) -> None:
        self._add, self._split, self._kind, self._peephole = builder.add, builder.split, kind, peephole
        self._w, self._r = np.ascontiguousarray(w.T), np.ascontiguousarray(r.T)
        self._bias_w, self._bias_r = np.split(bias, 2)

    def step(self, x: str, h: str | None, c: str | None) -> list[str | None]:
        """The next h and c."""
        if self._kind == "LSTM":
            return self._lstm(x, h, c)
        return [self._gru(x, h) if self._kind == "GRU" else self._rnn(x, h), None]

    def _sums(self, x: str, h: str | None) -> str:
        given = self._add("Gemm", x, self._w, self._bias_w + self._bias_r)
        return given if h is None else self._add("Add", given, self._add("MatMul", h, self._r))

    def _rnn(self, x: str, h: str | None) -> str:
        return self._add(self.activation, self._sums(x, h))

    def _lstm(self, x: str, h: str | None, c: str | None) -> list[str | None]:
        i, o, f, g = self._split(self._sums(x, h), 4, 1)
        pi, po, pf = (None, None, None) if self._peephole is None else np.split(self._peephole, 3)
        kept = self._add("Mul", self._gate(f, c, pf), c) if c else None
        added = self._add("Mul", self._gate(i, c, pi), self._add("Tanh", g))
        after = self._add("Add", kept, added) if kept else added
        return [self._add("Mul", self._gate(o, after, po), self._add("Tanh", after)), after]

    def _gate(self, value: str, c: str | None, peephole: AnyArray | None) -> str:
        if peephole is not None and c:
            value = self._add("Add", value, self._add("Mul", c, peephole))
        return self._add("Sigmoid", value)

    def _gru(self, x: str, h: str | None) -> str:
        given = self._split(self._add("Gemm", x, self._w, self._bias_w), 3, 1)
        if h is None:
            again = [np.reshape(part, (1, -1)) for part in np.split(self._bias_r, 3)]
            z, r = (self._add("Sigmoid", self._add("Add", given[i], again[i])) for i in (0, 1))
            past: Any = self._add("Mul", r, again[2]) if self.after_reset else again[2]
            candidate = self._add("Tanh", self._add("Add", given[2], past))
            return self._add("Mul", self._add("Sub", 1.0, z), candidate)
        hidden = self._split(self._add("Gemm", h, self._r, self._bias_r), 3, 1)
        z, r = (self._add("Sigmoid", self._add("Add", given[i], hidden[i])) for i in (0, 1))
        if self.after_reset:
            past = self._add("Mul", r, hidden[2])
        else:
            n = len(self._bias_r) // 3
            weights = np.ascontiguousarray(self._r[:, 2 * n :])
            past = self._add("Gemm", self._add("Mul", r, h), weights, self._bias_r[2 * n :])
        candidate = self._add("Tanh", self._add("Add", given[2], past))
        return self._add("Add", candidate, self._add("Mul", z, self._add("Sub", h, candidate)))


def _step(builder: Builder, x: str, i: int, steps: int) -> str:
    """One element of the sequence."""
    if steps > 1:
        bounds = [np.array([at], np.int64) for at in (i, i + 1)]
        x = builder.add("Slice", x, *bounds, STEPS)
    return builder.add("Squeeze", x, STEPS)


def _direction(builder: Builder, state: str, d: int, directions: int) -> str:
    return _step(builder, state, d, directions)


def _give(node: Any, builder: Builder, answers: list[list[str]], last: list[list[str]]) -> None:
    """The layer's outputs: the sequence [steps, directions, batch, n], and the last states [directions, batch, n]."""
    sequence, *states = (*node.output, "", "")[:3]
    for place, name in enumerate(states):
        if name:
            _stack(builder, [one[place] for one in last], name)
    if sequence:
        steps = [_stack(builder, list(step)) for step in zip(*answers, strict=True)]
        _stack(builder, steps, sequence)


def _stack(builder: Builder, values: list[str], output: str | None = None) -> str:
    """The values along a new first axis."""
    if len(values) == 1:
        return builder.add("Unsqueeze", values[0], STEPS, output=output)
    return builder.add("Concat", *(builder.add("Unsqueeze", one, STEPS) for one in values), output=output, axis=0)
