"""The files of a bundle that people look at: its model card, its learning curve, its films.

In:      a loaded version; the name of a file.
Out:     the file's path, media type and checksum.
Refuses: other names, and files that the manifest does not list or that lie outside the version's folder (NotFound).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import NotFound
from rlway_serve.registry.loaded_version import LoadedVersion

MEDIA_TYPES = {
    "README.md": "text/markdown; charset=utf-8",  # the model card
    "learning_curve.png": "image/png",
    "training_curve.png": "image/png",
    "q_values.png": "image/png",
    "evaluations.csv": "text/csv; charset=utf-8",
    "trained.mp4": "video/mp4",
    "random.mp4": "video/mp4",
}


class ShownFile(NamedTuple):
    """A file that may be shown. Its content had this SHA-256 when the version was loaded."""

    path: Path
    media_type: str
    sha256: str


def shown_names(version: LoadedVersion) -> list[str]:
    """The files that `find_shown` finds, as far as the manifest says."""
    return [name for name in MEDIA_TYPES if name in version.manifest.files]


def find_shown(version: LoadedVersion, name: str) -> ShownFile:
    """The file with this name. Raises NotFound."""
    if name in shown_names(version):
        path = version.path / name
        if path.is_file() and path.resolve().is_relative_to(version.path.resolve()):
            return ShownFile(path, MEDIA_TYPES[name], version.manifest.files[name])
    names = ", ".join(shown_names(version)) or "none"
    policy = version.manifest.policy
    raise NotFound(f"policy {policy!r}: version {version.number} shows no file {clipped(name)!r}; it shows: {names}.")
