"""How much memory a policy takes.

In:      its weights, as its source has them; its graph as ONNX.
Out:     `Memory`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rlway_client.contract.errors import ExportRefused
from rlway_export.formats.c.network import Network, read_network
from rlway_export.inspect.report import Memory

LARGEST = 2**63 - 1  # that JSON's readers take; a damaged file may claim more


def memory(weights: list[tuple[int, int]], model: Any | None) -> Memory:
    """`weights` are pairs of elements and bytes; `model` is the policy as ONNX in plain operators, if there is one."""
    parameters, weight_bytes = (
        (min(sum(column), LARGEST) for column in zip(*weights, strict=True)) if weights else (0, 0)
    )
    return Memory(parameters=parameters, weight_bytes=weight_bytes, activation_bytes=_activation_bytes(model))


def onnx_weights(model: Any | None) -> list[tuple[int, int]]:
    """The elements and bytes of each constant of a model that holds numbers with fractions."""
    import onnx

    if model is None:
        return []
    tensors = [*model.graph.initializer]
    tensors += [
        attribute.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    found = []
    for tensor in tensors:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        if dtype.kind == "f":
            elements = math.prod(tensor.dims)
            found.append((elements, elements * dtype.itemsize))
    return found


def _activation_bytes(model: Any | None) -> int | None:
    if model is None:
        return None
    try:
        return most_at_once(read_network(model))
    except ExportRefused:  # sizes that depend on the observation
        return None


def most_at_once(network: Network) -> int:
    """The bytes of all values but constants that are needed at one time, for one row, at most."""
    last = {name: at for at, operation in enumerate(network.operations) for name in operation.inputs}
    last |= dict.fromkeys(network.outputs, len(network.operations))
    live = {name: _bytes(network, name) for name in network.inputs}
    most = sum(live.values())
    for at, operation in enumerate(network.operations):
        live |= {name: _bytes(network, name) for name in operation.outputs if name}
        most = max(most, sum(live.values()))
        live = {name: size for name, size in live.items() if last.get(name, -1) > at}
    return most


def _bytes(network: Network, name: str) -> int:
    return network.size(name) * np.dtype(network.dtypes[name]).itemsize
