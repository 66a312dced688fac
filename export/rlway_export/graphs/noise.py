"""A graph whose draws come in through one input.

In:      a graph, and its draws.
Out:     the same graph with the input `noise` [B, n] in their place, and the logits of its choices as further outputs.

Numbers take the place of a draw as they are. One of several choices, drawn with probabilities softmax(logits), becomes
argmax(logits + Gumbel noise), which has the same distribution (Maddison, Tarlow & Minka, "A* sampling", 2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rlway_export.graphs.draw_site import DrawSite
from rlway_export.graphs.editing import GraphEditor
from rlway_export.graphs.frozen import FrozenGraph


def take_noise(graph: FrozenGraph, sites: list[DrawSite], rows: int | None) -> FrozenGraph:
    """The graph with `noise` as its last input; `rows` is its fixed batch, None for any."""
    changed = graph.copy()
    editor = GraphEditor(changed.graph)
    total = sum(site.size for site in sites)
    noise, start = editor.placeholder("noise", (rows, total), np.float32), 0
    for site in sites:
        part = noise if len(sites) == 1 else _columns(editor, noise, start, start + site.size)
        start += site.size
        if site.logits is None:
            _replace_numbers(editor, site, part)
        else:
            _replace_choice(editor, site, part)
    return changed._replace(inputs=[*changed.inputs, noise]).pruned()


def _columns(editor: GraphEditor, noise: str, start: int, end: int) -> str:
    begin, size = (editor.constant(np.array(ends, np.int32)) for ends in ([0, start], [-1, end - start]))
    return editor.add("Slice", [noise, begin, size], T=np.float32, Index=np.int32)


def _replace_numbers(editor: GraphEditor, site: DrawSite, noise: str) -> None:
    dtype = _dtype(editor.node(site.node))
    shaped = editor.reshape(noise, site.layout, np.float32)
    if site.order is not None:
        order = editor.constant(np.array(site.order, np.int32))
        shaped = editor.add("Transpose", [shaped, order], T=np.float32, Tperm=np.int32)
    if site.negated:
        shaped = editor.add("Neg", [shaped], T=np.float32)
    if dtype != np.float32:
        shaped = editor.add("Cast", [shaped], SrcT=np.float32, DstT=dtype)
    editor.become(site.node, "Identity", [shaped], T=dtype)


def _replace_choice(editor: GraphEditor, site: DrawSite, noise: str) -> None:
    node, dtype = editor.node(site.node), _logits_dtype(editor, site)
    shaped = editor.reshape(noise, site.layout, np.float32)
    if dtype != np.float32:
        shaped = editor.add("Cast", [shaped], SrcT=np.float32, DstT=dtype)
    assert site.logits is not None
    scores = editor.add("AddV2", [site.logits, shaped], T=dtype)
    if node.op == "ArgMax":
        node.input[0] = scores
        return
    axis = editor.constant(np.array(-1, np.int32))
    given = node.attr["output_dtype"].type or 9  # int64
    chosen = editor.add("ArgMax", [scores, axis], T=dtype, Tidx=np.int32, output_type=given)
    editor.become(site.node, "ExpandDims", [chosen, axis], T=given, Tdim=np.int32)


def _dtype(node: Any) -> Any:
    """The type of a draw's numbers: `T` may be that of its shape."""
    import tensorflow as tf

    kind = "dtype" if "dtype" in node.attr else "T"
    return tf.as_dtype(node.attr[kind].type).as_numpy_dtype


def _logits_dtype(editor: GraphEditor, site: DrawSite) -> Any:
    import tensorflow as tf

    return tf.as_dtype(editor.node(site.node).attr["T"].type).as_numpy_dtype
