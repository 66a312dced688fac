"""What Triton Inference Server has to know about a policy: `models/<policy>/config.pbtxt`.

In:      the manifest.
Out:     the text of a ModelConfig for onnxruntime; Triton finds `model.onnx` in the version folders by itself.

Triton has one such file for all versions of a policy. It is written again with each version as long as it begins with
`OURS`. Without that line it belongs to the user, and stays as it is.
"""

from __future__ import annotations

import json
from pathlib import Path

from rlway_client.common.files import write_atomically
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.model_files import ONNX_FILE
from rlway_client.contract.specs import TensorSpec

FILE = "config.pbtxt"
OURS = "# Written by rlway export with each version; take this line out to keep what you change.\n"
# No delay: the next batch is whatever has arrived while the last one ran.
BATCHES = "max_batch_size: 256\ndynamic_batching { }\n"
ROWS = "max_batch_size: 0\n"  # the dimensions then include the batch
TYPES = {"bool": "TYPE_BOOL", "float16": "TYPE_FP16", "float32": "TYPE_FP32", "float64": "TYPE_FP64"}


def publish_config(policy: Path, manifest: Manifest) -> None:
    """Writes the policy's configuration, unless the user has taken the first line out."""
    path = policy / FILE
    if not path.exists() or path.read_text(encoding="utf-8").startswith(OURS):
        write_atomically(path, triton_config(manifest).encode())


def triton_config(manifest: Manifest) -> str:
    """The configuration as protobuf text."""
    interface = manifest.interface
    tensors = [("input", spec) for spec in interface.inputs] + [("output", spec) for spec in interface.results]
    return (
        f"{OURS}"
        f"name: {json.dumps(manifest.policy)}\n"
        'platform: "onnxruntime_onnx"\n'
        f"{BATCHES if takes_batches(manifest) else ROWS}"
        + "".join(_tensor(kind, spec, takes_batches(manifest)) for kind, spec in tensors)
    )


def takes_batches(manifest: Manifest) -> bool:
    """Whether `model.onnx` was run with several rows at once; a graph for one row was not."""
    return not any(row.file == ONNX_FILE and row.batch_sizes == [1] for row in manifest.parity)


def _tensor(kind: str, spec: TensorSpec, in_batches: bool) -> str:
    # Triton has no tensors without dimensions: a scalar gets one dimension, which `reshape` removes.
    dims = ", ".join(map(str, spec.shape if in_batches else (1, *spec.shape))) or "1"
    scalar = "" if spec.shape or not in_batches else "\n  reshape { shape: [ ] }"
    return f"{kind} {{\n  name: {json.dumps(spec.name)}\n  data_type: {_type(spec)}\n  dims: [ {dims} ]{scalar}\n}}\n"


def _type(spec: TensorSpec) -> str:
    return TYPES.get(spec.dtype, f"TYPE_{spec.dtype.upper()}")
