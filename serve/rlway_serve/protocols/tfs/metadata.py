"""Status and metadata of a model as JSON, as TensorFlow Serving prints its messages.

In:      the states of versions; a loaded version.
Out:     values that become JSON. The status also holds the keys that KServe's client of version 1 reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlway_serve.protocols.tfs.signatures import PREDICT, Signature, TensorInfo, signatures_of
from rlway_serve.protocols.tfs.status import VersionState
from rlway_serve.registry.loaded_version import LoadedVersion


def describe_status(model: str, states: Sequence[VersionState]) -> dict[str, Any]:
    """The states of versions, and whether any of them answers."""
    statuses = [
        {
            "version": str(state.version),  # 64-bit numbers are strings in the JSON of protobuf
            "state": state.state,
            "status": {"error_code": state.error_code, "error_message": state.error_message},
        }
        for state in states
    ]
    ready = any(state.state == "AVAILABLE" for state in states)
    return {"name": model, "ready": ready, "model_version_status": statuses}


def describe_metadata(version: LoadedVersion) -> dict[str, Any]:
    """The signatures of a version."""
    spec = {"name": version.manifest.policy, "signature_name": "", "version": str(version.number)}
    signatures = {signature.name: _signature(signature) for signature in signatures_of(version.manifest)}
    return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}}


def _signature(signature: Signature) -> dict[str, Any]:
    inputs, outputs = _tensors(signature.input_infos), _tensors(signature.output_infos)
    return {"inputs": inputs, "outputs": outputs, "method_name": PREDICT, "defaults": {}}


def _tensors(infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
    return {
        name: {
            "dtype": info.data_type.name,
            "tensor_shape": {"dim": [{"size": str(size), "name": ""} for size in info.shape], "unknown_rank": False},
            "name": info.node,
        }
        for name, info in infos.items()
    }
