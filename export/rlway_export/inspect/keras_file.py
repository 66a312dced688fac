"""The report on a Keras network.

In:      a `.keras` or `.h5` file.
Out:     `Report`.
Refuses: what is no such file, a damaged one, one with code in it (with the sentence of the export).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from rlway_client.contract.errors import RlwayError
from rlway_export.graphs.named_function import NamedFunction
from rlway_export.inspect.file_time import file_time
from rlway_export.inspect.flags import signature_flags
from rlway_export.inspect.memory import memory
from rlway_export.inspect.report import Keras, Report, Signature, Tensor, Written
from rlway_export.inspect.trial import Trial
from rlway_export.sources.keras.file import KerasFile, read_keras
from rlway_export.sources.keras.network import load_network, named_function


def keras_report(path: Path) -> Report:
    """What the network is, and what an export makes of it."""
    file = read_keras(path)
    network = _named(file)
    trial = Trial.of(path)
    signature = _signature(network) if network else None
    return Report(
        path=str(path),
        kind="Keras",
        title="a Keras network",
        written=Written(by=f"Keras {file.version}", file_time=file_time(path)),
        signatures=[signature] if signature else [],
        policy=trial.policy,
        saved_rows=_fixed_rows(network) if network else None,
        exported_rows=trial.rows,
        memory=memory(_weights(network), trial.model) if network else None,
        keras=Keras(layers=_layers(file.config)),
        export=trial.export(path, signature_flags(signature, path) if signature else []),
    )


def _named(file: KerasFile) -> NamedFunction | None:
    """The network; None where an export would be refused because of it."""
    try:
        return named_function(load_network(file), file.path.name)
    except RlwayError:
        return None


def _signature(network: NamedFunction) -> Signature:
    sides = (network.inputs, network.outputs)
    return Signature("", *([Tensor(leaf.name, leaf.dtype, _dims(leaf.shape)) for leaf in side] for side in sides))


def _dims(shape: tuple[int | None, ...] | None) -> list[int | str | None] | None:
    return None if shape is None else list(shape)


def _fixed_rows(network: NamedFunction) -> int | None:
    return next((leaf.shape[0] for leaf in network.inputs if leaf.shape and leaf.shape[0] is not None), None)


def _weights(network: NamedFunction) -> list[tuple[int, int]]:
    """The elements and bytes of each of its variables."""
    found = [variable.numpy() for variable in network.owner.weights]
    return [(value.size, value.nbytes) for value in found]


def _layers(config: dict[str, Any]) -> dict[str, int]:
    """How often each kind of layer occurs, as the description has it."""
    settings = config.get("config")
    layers = settings.get("layers") if isinstance(settings, dict) else None
    kinds = [layer.get("class_name") for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []
    return dict(Counter(kind for kind in kinds if isinstance(kind, str)).most_common())
