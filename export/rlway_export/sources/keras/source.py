"""A file of a Keras network as the source of an export.

In:      a `.keras` or `.h5` file, and what the user says of its tensors.
Out:     `KerasSource`: the policy that the network is, and a SavedModel of it.
Refuses: a file that cannot be a policy, before TensorFlow loads where that can be told; a checkpoint, which a file does
         not have.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rlway_client.common.files import sha256
from rlway_client.contract.errors import UsageError
from rlway_export.common.provenance import Provenance
from rlway_export.reference.policy import loading
from rlway_export.reference.tensor_policy import TensorPolicy
from rlway_export.sources.keras.file import KerasFile, read_keras
from rlway_export.sources.keras.network import load_network, named_function, write_saved_model
from rlway_export.sources.named_policy import named_policy
from rlway_export.sources.tensor_options import TensorOptions


class KerasSource(NamedTuple):
    """A file that was read, and what the user says of its tensors."""

    folder: Path  # the file itself
    file: KerasFile
    options: TensorOptions
    checksum: str  # from before it was read: a file that is replaced meanwhile counts as another

    @classmethod
    def open(cls, path: Path, checkpoint: str, options: TensorOptions) -> KerasSource:
        """`checkpoint` may only be `best` or `latest`."""
        if checkpoint not in ("best", "latest"):
            raise UsageError(f"{path}: is one network without checkpoints; leave out --checkpoint.")
        checksum = sha256(path)
        return cls(path, read_keras(path), options, checksum)

    @property
    def title(self) -> str:
        return self.folder.name

    @property
    def recorded(self) -> None:
        return None

    @property
    def is_busy(self) -> bool:
        return False

    @property
    def interface(self) -> None:
        return None

    @property
    def provenance(self) -> Provenance:
        facts = {
            "checkpoint": None,
            "file": self.title,
            "kind": "Keras network",
            "sha256": self.checksum,
            "producer": f"Keras {self.file.version}",
        }
        return Provenance(None, None, None, None, facts)

    def materialize(self, destination: Path) -> TensorPolicy:
        """The network's SavedModel in the folder, and the network itself as the policy."""
        with loading(f"{self.folder}: cannot be run as a policy"):
            named = named_function(load_network(self.file), self.title)
            policy = named_policy(named, self.folder, self.options, self.title)
            write_saved_model(named, destination, self.title)
        return policy
