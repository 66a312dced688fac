"""The scores among which a policy chooses: logits, or the Q-values of an ε-greedy one, as outputs of its graph.

In:      a graph with noise, the action's tensors.
Out:     `Score`s; the graph with each of them as a further output.

Two files that choose different actions are both right where the two best scores are nearly equal.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rlway_client.contract.specs import TensorSpec
from rlway_export.graphs.editing import GraphEditor
from rlway_export.graphs.frozen import FrozenGraph, base, whole
from rlway_export.graphs.sampled import SampledGraph

FLOATS = ("float32", "float64")


class Score(NamedTuple):
    """An output of the policy, and the tensor of its graph that it is."""

    spec: TensorSpec
    logits: str
    node: str  # which chooses by them


def find_scores(sampled: SampledGraph, actions: list[TensorSpec], tensors: list[str]) -> list[Score]:
    """The scores of each part of the action that one choice alone decides; `tensors` are the parts in its graph."""
    kind, found = "q_values" if sampled.explorations else "logits", list[Score]()
    for site in sampled.sites:
        graph = sampled.graph
        decided = [spec for spec, t in zip(actions, tensors, strict=True) if site.node in graph.ancestors([t])]
        if site.logits is None or len(decided) != 1 or math.prod(decided[0].shape) != site.shape[0]:
            continue
        (action,) = decided
        name, shape = kind + action.name.removeprefix("action"), (*action.shape, site.shape[1])
        dtype = _dtype(graph, site.node)
        if dtype in FLOATS and all(score.spec.name != name for score in found):
            found.append(Score(TensorSpec(name, shape, dtype), whole(site.logits), site.node))
    return found


def add_scores(graph: FrozenGraph, scores: list[Score]) -> FrozenGraph:
    """The graph with the scores after its own outputs."""
    changed = graph.copy()
    editor = GraphEditor(changed.graph)
    added = [editor.reshape(s.logits, (-1, *s.spec.shape), np.dtype(s.spec.dtype)) for s in scores]
    return changed._replace(outputs=[*changed.outputs, *added])


def _dtype(graph: FrozenGraph, node: str) -> str:
    import tensorflow as tf

    found = graph.nodes[base(node)]
    scores = graph.nodes[base(found.input[0])] if found.op == "ExpandDims" else found
    return str(tf.as_dtype(scores.attr["T"].type).name)
