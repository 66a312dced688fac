"""The signatures of a policy: which tensors a request may give, and which it gets.

In:      a manifest.
Out:     two signatures as plain values: `serving_default` with the manifest's names, and `action` with those of
         TF-Agents' own signature.
Refuses: the name of another signature (RequestMalformed).

A request may use the input names of either signature. The signature that it names decides the names of its outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import RequestMalformed
from rlway_client.contract.interface import INFO, NEXT, TIME_STEP
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import TensorSpec

DEFAULT: Final = "serving_default"
ACTION: Final = "action"
SIGNATURES = (DEFAULT, ACTION)
PREDICT: Final = "tensorflow/serving/predict"  # the method of both


class DataType(NamedTuple):
    """A data type of TensorFlow."""

    name: str
    number: int


DATA_TYPES = {
    "float32": DataType("DT_FLOAT", 1),
    "float64": DataType("DT_DOUBLE", 2),
    "int32": DataType("DT_INT32", 3),
    "uint8": DataType("DT_UINT8", 4),
    "int16": DataType("DT_INT16", 5),
    "int8": DataType("DT_INT8", 6),
    "int64": DataType("DT_INT64", 9),
    "bool": DataType("DT_BOOL", 10),
    "uint16": DataType("DT_UINT16", 17),
    "float16": DataType("DT_HALF", 19),
    "uint32": DataType("DT_UINT32", 22),
    "uint64": DataType("DT_UINT64", 23),
}


class TensorInfo(NamedTuple):
    """One input or output, as metadata describe it."""

    node: str  # its name in a graph that TensorFlow would run
    data_type: DataType
    shape: tuple[int, ...]  # -1 for the batch


class Signature(NamedTuple):
    """One signature: the specs of its inputs and outputs, by the names that it gives them."""

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    @property
    def input_infos(self) -> dict[str, TensorInfo]:
        return {name: _info(f"{self.name}_{name}:0", spec) for name, spec in self.inputs.items()}

    @property
    def output_infos(self) -> dict[str, TensorInfo]:
        return {
            name: _info(f"StatefulPartitionedCall:{i}", spec) for i, (name, spec) in enumerate(self.outputs.items())
        }


def check_signature(name: str) -> str:
    """The signature's name; an empty one stands for the default."""
    if name and name not in SIGNATURES:
        raise RequestMalformed(
            f'Serving signature name: "{clipped(name)}" not found in signature def; '
            f"there are {' and '.join(SIGNATURES)}."
        )
    return name or DEFAULT


def signatures_of(manifest: Manifest) -> list[Signature]:
    """Both signatures of a policy."""
    return [signature_of(manifest, name) for name in SIGNATURES]


def signature_of(manifest: Manifest, name: str) -> Signature:
    """One of the policy's signatures."""
    interface = manifest.interface
    if name == DEFAULT:
        noise = [manifest.noise] if manifest.noise else []
        inputs = [*manifest.observation, *noise, *manifest.time_step, *manifest.state]
        return Signature(name, {spec.name: spec for spec in inputs}, {spec.name: spec for spec in interface.results})
    named_inputs = {_below("0/observation", spec): spec for spec in manifest.observation}
    named_inputs |= {f"0/{part}": TensorSpec(part, (), dtype) for part, dtype in TIME_STEP.items()}
    named_inputs |= {_below("1", spec): spec for spec in manifest.state}
    return Signature(name, dict(sorted(named_inputs.items())), _agent_outputs(manifest))


def output_names(manifest: Manifest, signature: str) -> dict[str, str]:
    """The outputs of a signature: the manifest's name of each."""
    if signature == DEFAULT:
        return {spec.name: spec.name for spec in manifest.interface.results}
    return {name: spec.name for name, spec in _agent_outputs(manifest).items()}


def _agent_outputs(manifest: Manifest) -> dict[str, TensorSpec]:
    """The outputs under the names of TF-Agents' signature; those that it does not have keep their own."""
    interface = manifest.interface
    outputs = {_below("action", spec): spec for spec in interface.actions}
    for spec in interface.outputs:
        is_info = spec.name == INFO or spec.name.startswith(f"{INFO}_")
        outputs[_below(INFO, spec) if is_info else spec.name] = spec
    next_state = {spec.name: spec for spec in interface.next_state}
    return outputs | {_below("state", spec): next_state[NEXT + spec.name] for spec in interface.state}


def _below(root: str, spec: TensorSpec) -> str:
    return "/".join((root, *spec.path))


def _info(node: str, spec: TensorSpec) -> TensorInfo:
    return TensorInfo(node, DATA_TYPES[spec.dtype], (-1, *spec.shape))
