"""An ONNX file of any library, or a bundle of LEAPP, as the source of an export.

In:      the file, and what the user says of its tensors.
Out:     `OnnxSource`: the policy that onnxruntime runs.
Refuses: a file that cannot be a policy, before TensorFlow loads; a checkpoint, which a file does not have; answers
         other than those that the original framework recorded.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rlway_client.common.files import sha256
from rlway_client.contract.errors import UsageError
from rlway_export.common.provenance import Provenance
from rlway_export.reference.onnx.policy import OnnxPolicy
from rlway_export.reference.roles import Roles
from rlway_export.sources.content import content_of
from rlway_export.sources.kinds import is_onnx
from rlway_export.sources.onnx.file import OnnxFile, read_onnx
from rlway_export.sources.onnx.leapp import leapp_file, read_leapp
from rlway_export.sources.onnx.parts import model_files
from rlway_export.sources.onnx.recipes import recognise
from rlway_export.sources.recorded import check_recorded
from rlway_export.sources.roles import find_roles
from rlway_export.sources.tensor_options import TensorOptions


class OnnxSource(NamedTuple):
    """A file that was read and checked, and the role of each of its tensors."""

    folder: Path  # the file itself; of a bundle, its YAML file
    file: OnnxFile
    roles: Roles
    notes: list[str]
    reference: Path | None
    checksums: dict[str, str]  # from before it was read: a file that is replaced meanwhile counts as another

    @classmethod
    def open(cls, path: Path, checkpoint: str, options: TensorOptions) -> OnnxSource:
        """`checkpoint` may only be `best` or `latest`."""
        if checkpoint not in ("best", "latest"):
            raise UsageError(f"{path}: is one ONNX file without checkpoints; leave out --checkpoint.")
        pipeline = leapp_file(path)
        if pipeline is not None:
            wiring = [name for name in options.given if name != "--reference"]
            if wiring:
                raise UsageError(f"{' and '.join(wiring)}: {pipeline.name} says what its tensors are; leave it out.")
            checksums = _checksums(pipeline)
            bundle = read_leapp(pipeline)
            return cls(pipeline, bundle.file, bundle.roles, [], options.reference, checksums)
        checksums = _checksums(path)
        file = read_onnx(path)
        roles, notes = find_roles(file, options, recognise(file))
        return cls(path, file, roles, notes, options.reference, checksums)

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
            "kind": "ONNX file" if is_onnx(self.folder) else "LEAPP pipeline",
            "producer": self.file.producer,
            **self.checksums,
        }
        return Provenance(None, None, None, None, facts)

    def materialize(self, _: Path) -> OnnxPolicy:
        """The policy, whose answers are those of the framework where these are known."""
        policy = OnnxPolicy(self.file.model, self.roles, self.title)
        if self.reference is not None:
            check_recorded(self.reference, policy)
        policy.notes += self.notes
        return policy


def _checksums(file: Path) -> dict[str, str]:
    return {"sha256": sha256(file), "content": content_of(model_files(file))}
