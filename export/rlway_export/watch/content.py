"""A file or a SavedModel that is replaced: an ONNX file, a Keras network, a folder.

In:      its path, whether or not it is there yet; what finds its files.
Out:     what is there now, once it has not changed between two looks; a version for each other content.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from rlway_client.common.files import sha256
from rlway_client.contract.manifest import Manifest
from rlway_export.sources.base import SAVED_MODEL, Source
from rlway_export.sources.content import content_of
from rlway_export.watch.followed import Found, Stamp, stamp


class FollowedContent:
    """One path, which is `open`ed anew each time."""

    things, ends_itself = "versions", False

    def __init__(self, path: Path, files: Callable[[], list[Path]], open_now: Callable[[], Source]) -> None:
        self.path, self._files, self._open = path, files, open_now
        self._stamp: Stamp | None = ()
        self.damage: set[str] = set()
        self.is_settled = False

    def has_ended(self) -> bool:
        return False

    def look(self, is_last: bool) -> list[Found]:
        del is_last  # what is there is complete once nobody changes it
        before, self._stamp = self._stamp, self._stamp_now()
        self.is_settled = self._stamp is not None and before == self._stamp
        if not self.is_settled or not self._stamp:
            return []
        key = self._stamp
        return [Found(self.path.name, key, self._open, self._comparison(), partial(self._is_still, key))]

    def _stamp_now(self) -> Stamp | None:
        try:
            return stamp(self._files())
        except OSError:  # replaced at this moment
            return None

    def _is_still(self, key: Stamp) -> bool:
        return self._stamp_now() == key

    def _comparison(self) -> Callable[[Manifest], bool]:
        """Whether a bundle was made of what is there now: a SavedModel is copied into it, of others it says so."""
        if (self.path / SAVED_MODEL).is_file():
            return partial(_has_files, cache(partial(_model_files, self.path)))
        return partial(_names_content, cache(lambda: content_of(self._files())))


def _has_files(files: Callable[[], dict[str, str]], manifest: Manifest) -> bool:
    return all(manifest.files.get(name) == checksum for name, checksum in files().items())


def _names_content(content: Callable[[], str], manifest: Manifest) -> bool:
    told = manifest.training
    return told.get("content", told.get("sha256")) == content()


def _model_files(folder: Path) -> dict[str, str]:
    """The checksums of a SavedModel's graph and weights by their names."""
    files = [folder / SAVED_MODEL, *(folder / "variables").glob("*.data-*")]
    return {str(one.relative_to(folder)): sha256(one) for one in files}
