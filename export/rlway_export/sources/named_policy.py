"""The policy that a function is, whose tensors have names: a Keras network, or a SavedModel's signature.

In:      the function, where it comes from, what the user says of its tensors.
Out:     `TensorPolicy`; what was assumed, as its notes.
Refuses: tensors without a role, recorded answers that are others than its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rlway_export.graphs.named_function import NamedFunction
from rlway_export.graphs.nests import Leaf
from rlway_export.reference.tensor_policy import TensorPolicy
from rlway_export.sources.recipe import usual_names
from rlway_export.sources.recorded import check_recorded
from rlway_export.sources.roles import find_roles
from rlway_export.sources.tensor_file import FileTensor, signature_of
from rlway_export.sources.tensor_options import TensorOptions


class NamedTensors(NamedTuple):
    """The function's tensors, as a `TensorFile`."""

    path: Path
    inputs: list[FileTensor]
    outputs: list[FileTensor]

    @property
    def signature(self) -> str:
        """What it takes and gives, for a sentence."""
        return signature_of(self.inputs, self.outputs)


def named_policy(named: NamedFunction, path: Path, options: TensorOptions, name: str) -> TensorPolicy:
    """`path` is where the function comes from, and `name` what messages call it."""
    tensors = NamedTensors(path, *([_tensor(leaf) for leaf in side] for side in (named.inputs, named.outputs)))
    roles, notes = find_roles(tensors, options, usual_names(tensors))
    policy = TensorPolicy(named, roles, name)
    if options.reference is not None:
        check_recorded(options.reference, policy)
    policy.notes += notes
    return policy


def _tensor(leaf: Leaf) -> FileTensor:
    return FileTensor(leaf.name, leaf.dtype, leaf.shape)
