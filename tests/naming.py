"""Names for the elements of a policy's tensors, in a bundle that is written already."""

from __future__ import annotations

from msgspec.structs import replace

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.manifest import Manifest, encode_manifest
from rlway_client.contract.meaning import Meaning, TensorMeaning


def with_names(manifest: Manifest, tensor: str, names: list[str]) -> Manifest:
    """The manifest with names for the elements of one tensor."""
    return replace(manifest, meaning=Meaning(tensors={tensor: TensorMeaning(names=names)}))


def name_elements(bundle: Bundle, tensor: str, names: list[str]) -> None:
    """Writes the names into the bundle's manifest."""
    (bundle.path / "manifest.json").write_bytes(encode_manifest(with_names(bundle.manifest, tensor, names)))
