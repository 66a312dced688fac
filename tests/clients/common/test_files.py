"""Files and folders appear whole, or not at all."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from rlway_client.common.files import FolderTaken, folder_that_appears_whole, write_atomically
from rlway_client.contract.bundle import bundle_versions


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    """Nothing is visible until it is finished; then everything is, and no draft is left."""
    path = tmp_path / "models" / "policy" / "1"
    with folder_that_appears_whole(path) as draft:
        (draft / "file").write_text("content")
        assert not path.exists()
        assert bundle_versions(path.parent) == []
    assert (path / "file").read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_whose_making_fails_never_appears(tmp_path: Path) -> None:
    """Neither the folder nor its draft nor the parents that were made for it."""
    with (
        pytest.raises(KeyboardInterrupt),
        folder_that_appears_whole(tmp_path / "models" / "policy" / "1") as draft,
    ):
        (draft / "file").write_text("content")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, "theirs"], ids=["empty", "filled"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_folder_that_exists_is_left_alone(tmp_path: Path, content: str | None, when: str) -> None:
    """FolderTaken, whether it existed before or came meanwhile; its content stays, and no draft is left."""
    path = tmp_path / "1"

    def publish() -> None:
        path.mkdir()
        if content:
            (path / "file").write_text(content)

    if when == "before":
        publish()
    with pytest.raises(FolderTaken), folder_that_appears_whole(path) as draft:
        (draft / "file").write_text("ours")
        if when == "meanwhile":
            publish()
    assert [file.read_text() for file in path.iterdir()] == ([content] if content else [])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, "theirs"], ids=["empty", "filled"])
def test_only_an_empty_folder_is_replaced_where_that_is_wanted(tmp_path: Path, content: str | None) -> None:
    """FolderTaken for one that holds something; its content stays."""
    path = tmp_path / "1"
    path.mkdir()
    if content:
        (path / "file").write_text(content)
    with suppress(FolderTaken), folder_that_appears_whole(path, replace_empty=True) as draft:
        (draft / "file").write_text("ours")
    assert (path / "file").read_text() == (content or "ours")
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    """A reader finds the old or the new content; no draft is left, and other users may read the file."""
    path = tmp_path / "labels.json"
    for content in (b"old", b"new"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644
