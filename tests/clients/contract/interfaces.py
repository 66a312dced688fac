"""Interfaces with actions of several parts that hypothesis generates, and outputs that a policy with them may give."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from rlway_client import TensorSpec
from rlway_client.contract.interface import Draw, Interface
from rlway_client.contract.parity import Arrays

ROWS = 12
OBSERVATION = [TensorSpec("observation", (3,), "float32")]
NESTS: list[list[tuple[str, ...]]] = [
    [()],
    [("0",)],
    [("0",), ("1",)],
    [("arm", "left"), ("arm", "right"), ("gear",)],
]
SHAPES: st.SearchStrategy[tuple[int, ...]] = st.sampled_from([(), (1,), (3,), (2, 2)])


@st.composite
def actions(draw: st.DrawFn, kinds: str = "continuous discrete") -> list[TensorSpec]:
    """One plain tensor, or the tensors of a dict or of a tuple."""
    found = []
    for path in draw(st.sampled_from(NESTS)):
        shape, size = draw(SHAPES.map(lambda shape: (shape, math.prod(shape))))
        name = "_".join(("action", *path))
        if draw(st.sampled_from(kinds.split())) == "discrete":
            lowest = draw(st.sampled_from([0, 0, 2, -3]))
            dtype = draw(st.sampled_from(["int64", "int32"]))
            found.append(TensorSpec(name, shape, dtype, lowest, lowest + draw(st.integers(1, 4)), path))
        else:
            width = st.none() | st.floats(0.5, 100)
            high = draw(width) if draw(st.booleans()) else draw(st.lists(width, min_size=size, max_size=size))
            found.append(TensorSpec(name, shape, draw(st.sampled_from(["float32", "float64"])), -1.0, high, path))
    return found


@st.composite
def interfaces(draw: st.DrawFn, kinds: str = "continuous discrete", scored: bool | None = None) -> Interface:
    """Policies with draws for each part; discrete parts have scores if they are `scored`, None leaves it open."""
    parts, draws, outputs = draw(actions(kinds)), [], []
    for spec in parts:
        count = spec.size
        if spec.is_discrete:
            low, high = spec.bounds()
            choices = int((high - low).max()) + 1
            count *= choices
            if draw(st.booleans()) if scored is None else scored:
                scores = draw(st.sampled_from(["q_values", "logits"])) + spec.name.removeprefix("action")
                outputs.append(TensorSpec(scores, (*spec.shape, choices), "float32"))
        draws.append(Draw("gumbel" if spec.is_discrete else "normal", count))
    if draw(st.booleans()):
        outputs.append(TensorSpec("info_log_probability", (), "float32"))
    noise = TensorSpec("noise", (sum(one.size for one in draws),), "float32") if draw(st.booleans()) else None
    return Interface(OBSERVATION, parts, noise, [], outputs, (), draws if noise else ())


def make_rows(interface: Interface, seed: int) -> tuple[Arrays, Arrays]:
    """Inputs, and outputs as a policy gives them: each discrete action is the largest of its scores and its noise."""
    generator = np.random.default_rng(seed)
    inputs: Arrays = {
        spec.name: generator.standard_normal((ROWS, *spec.shape)).astype(spec.numpy_dtype) for spec in interface.inputs
    }
    outputs: Arrays = {}
    for spec in interface.results:
        low, high = spec.bounds()
        if spec.is_discrete:
            outputs[spec.name] = generator.integers(low, high, (ROWS, *spec.shape), endpoint=True)
        else:
            large = np.where(np.isfinite(high), high, 7.0)
            outputs[spec.name] = (generator.uniform(-1, 1, (ROWS, *spec.shape)) * large).astype(spec.numpy_dtype)
    for choice in interface.choices:
        if choice.scores is not None:
            scores = outputs[choice.scores.name].reshape(ROWS, choice.action.size, -1)
            noise = inputs["noise"][:, choice.noise].reshape(scores.shape) if choice.noise is not None else 0.0
            best = (scores + noise).argmax(axis=-1).reshape(ROWS, *choice.action.shape)
            outputs[choice.action.name] = best + np.int64(choice.action.bounds()[0].min())
    return inputs, outputs
