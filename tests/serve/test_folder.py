"""A models folder is read again only where it may have changed, and never missed where it has."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from rlway_serve.folder import SETTLED_S, ModelsFolder
from tests.bundles import linear_policy


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("first", "second"):
        for version in (1, 2):
            linear_policy(tmp_path / "models", name, version=version)
    return tmp_path / "models"


def settle(*folders: Path) -> None:
    """As if nobody had touched them for a while."""
    then = time.time() - 10 * SETTLED_S
    for folder in folders:
        os.utime(folder, (then, then))


def test_what_has_not_changed_is_not_read_again(models: Path) -> None:
    """The very same answer for a policy whose folder is as it was, and a new one for its neighbour."""
    (models / "first" / "labels.json").write_text('{"stable": 1}')
    settle(models, models / "first", models / "first" / "labels.json", models / "second")
    folder = ModelsFolder(models)
    before = folder.scan()
    linear_policy(models, "second", version=3)
    after = folder.scan()
    assert after["first"] is before["first"]
    assert list(after["second"].versions) == [3, 2, 1]


def test_a_change_within_the_clocks_grain_is_not_missed(models: Path) -> None:
    """Two versions that come under one modification time are both found."""
    folder = ModelsFolder(models)
    assert list(folder.scan()["first"].versions) == [2, 1]
    times = (models / "first").stat()
    linear_policy(models, "first", version=3)
    os.utime(models / "first", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert list(folder.scan()["first"].versions) == [3, 2, 1]


def test_a_clock_that_jumps_hides_nothing(models: Path) -> None:
    """A folder from the future is read every time."""
    folder = ModelsFolder(models)
    future = time.time() + 3600
    os.utime(models / "first", (future, future))
    folder.scan()
    linear_policy(models, "first", version=3)
    os.utime(models / "first", (future, future))
    assert list(folder.scan()["first"].versions) == [3, 2, 1]


def test_a_version_under_the_same_number_is_another(models: Path) -> None:
    """Its stamp differs from that of the one before."""
    folder = ModelsFolder(models)
    before = folder.scan()["first"].versions
    shutil.rmtree(models / "first" / "2")
    linear_policy(models, "first", version=2)
    after = folder.scan()["first"].versions
    assert (after[1], after[2] == before[2]) == (before[1], False)


@pytest.mark.parametrize("content", ["{", '{"stable": 0}', '{"stable": 1.5}', '{"-": 1}', "[]", "\0"])
def test_faulty_labels_are_told(models: Path, content: str) -> None:
    """No labels rather than half of them, and a sentence that names the file."""
    (models / "first" / "labels.json").write_text(content)
    found = ModelsFolder(models).scan()["first"]
    assert found.labels is None
    assert found.labels_fault.startswith("labels.json: ")


def test_a_folder_that_is_out_of_reach_is_not_taken_for_an_empty_one(models: Path) -> None:
    """OSError, so that nothing is unloaded; and back again when it is."""
    folder = ModelsFolder(models)
    before = folder.scan()
    models.rename(models.with_name("away"))
    with pytest.raises(OSError, match="models"):
        folder.scan()
    models.with_name("away").rename(models)
    assert folder.scan() == before
