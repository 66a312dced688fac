"""What the server and its models say of themselves.

In:      a loaded version.
Out:     the protocol's metadata, as dicts and lists: REST sends them as JSON, gRPC as messages.
Refuses: nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import TensorSpec
from rlway_serve import __version__
from rlway_serve.protocols.oip.datatypes import NAMES
from rlway_serve.registry.loaded_version import LoadedVersion
from rlway_serve.registry.served_policy import ServedPolicy

SERVER = "rlway"
# Triton's names. The repository extension is left out: the server follows its folder, and nobody loads or unloads.
EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "parameters",
    "schedule_policy",
    "sequence",
    "statistics",
)


def server_metadata() -> dict[str, Any]:
    """Name, version and extensions of the server."""
    return {"name": SERVER, "version": __version__, "extensions": [*EXTENSIONS]}


def model_metadata(policy: ServedPolicy, version: LoadedVersion) -> dict[str, Any]:
    """Name, versions, inputs and outputs of a model; -1 stands for the batch dimension.

    All inputs but the observation may be left out of a request, and outputs besides the action come when named.
    """
    manifest = version.manifest
    return {
        "name": policy.name,
        "versions": [str(number) for number in sorted(policy.loaded)],
        "platform": platform_of(version),
        "inputs": [_tensor(spec) for spec in inputs_of(manifest)],
        "outputs": [_tensor(spec) for spec in manifest.interface.results],
    }


def inputs_of(manifest: Manifest) -> Iterable[TensorSpec]:
    """The inputs that a request may give and the policy reads; of these, only the observation is required."""
    noise = [manifest.noise] if manifest.noise else []
    return [*manifest.observation, *noise, *manifest.time_step, *manifest.state]


def platform_of(version: LoadedVersion) -> str:
    """The runtime and the device: `onnxruntime-cpu`."""
    return version.runtime.name


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": NAMES[spec.dtype], "shape": [-1, *spec.shape]}
