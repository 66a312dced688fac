"""A models folder is read again only where it may have changed, and no change is missed."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from rlway_serve.registry.models_folder import SETTLED_S, ModelsFolder
from tests.bundles import linear_policy


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("first", "second"):
        for version in (1, 2):
            linear_policy(tmp_path / "models", name, version=version)
    return tmp_path / "models"


def settle(*folders: Path) -> None:
    """Dates the files back, so that they count as unchanged."""
    then = time.time() - 10 * SETTLED_S
    for folder in folders:
        os.utime(folder, (then, then))


def test_what_has_not_changed_is_not_read_again(models: Path) -> None:
    """An unchanged policy folder gives the same object; a changed neighbour gives a new one."""
    (models / "first" / "labels.json").write_text('{"stable": 1}')
    settle(models, models / "first", models / "first" / "labels.json", models / "second")
    folder = ModelsFolder(models)
    before = folder.scan()
    linear_policy(models, "second", version=3)
    after = folder.scan()
    assert after["first"] is before["first"]
    assert list(after["second"].versions) == [3, 2, 1]


def test_a_change_within_the_clocks_grain_is_not_missed(models: Path) -> None:
    """Two versions added within one modification time are both found."""
    folder = ModelsFolder(models)
    assert list(folder.scan()["first"].versions) == [2, 1]
    times = (models / "first").stat()
    linear_policy(models, "first", version=3)
    os.utime(models / "first", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert list(folder.scan()["first"].versions) == [3, 2, 1]


def test_a_clock_that_jumps_hides_nothing(models: Path) -> None:
    """A folder with a time in the future is read at every look."""
    folder = ModelsFolder(models)
    future = time.time() + 3600
    os.utime(models / "first", (future, future))
    folder.scan()
    linear_policy(models, "first", version=3)
    os.utime(models / "first", (future, future))
    assert list(folder.scan()["first"].versions) == [3, 2, 1]


def test_a_version_under_the_same_number_is_another(models: Path) -> None:
    """A replaced version has another stamp."""
    folder = ModelsFolder(models)
    before = folder.scan()["first"].versions
    shutil.rmtree(models / "first" / "2")
    linear_policy(models, "first", version=2)
    after = folder.scan()["first"].versions
    assert (after[1], after[2] == before[2]) == (before[1], False)


@pytest.mark.parametrize("content", ["{", '{"stable": 0}', '{"stable": 1.5}', '{"-": 1}', "[]", "\0"])
def test_faulty_labels_are_told(models: Path, content: str) -> None:
    """A faulty file gives no labels at all, and a sentence that names it."""
    (models / "first" / "labels.json").write_text(content)
    found = ModelsFolder(models).scan()["first"]
    assert found.labels is None
    assert found.labels_fault.startswith("labels.json: ")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 1_000_000,
        '{"stable":' * 6_000,
        '{"a": ' + "9" * 6_000 + "}",
        json.dumps({f"l{i}": 1 for i in range(9_999)}),
    ],
    ids=["nested", "nested and small enough", "a large number", "too many"],
)
def test_labels_that_go_on_and_on_cost_nothing(models: Path, content: str) -> None:
    """A huge or deeply nested file is a fault like any other."""
    (models / "first" / "labels.json").write_text(content)
    found = ModelsFolder(models).scan()
    assert found["first"].labels is None
    assert len(found["first"].labels_fault) < 200
    assert found["second"].labels == {}


def test_labels_that_are_no_file_are_not_waited_for(models: Path) -> None:
    """A pipe without a writer, or a folder, is a fault."""
    os.mkfifo(models / "first" / "labels.json")
    (models / "second" / "labels.json").mkdir()
    found = ModelsFolder(models).scan()
    assert [found[name].labels_fault for name in ("first", "second")] == ["labels.json: is not a file."] * 2


def test_a_version_behind_a_link_is_followed(models: Path) -> None:
    """Also when the target is itself a link that is moved, which changes no time of the folder."""
    linear_policy(models.with_name("builds"), "first", version=17)
    linear_policy(models.with_name("builds"), "first", version=18)
    current = models.with_name("current")
    current.symlink_to(models.with_name("builds") / "first" / "17")
    (models / "first" / "3").symlink_to(current)
    settle(models, models / "first")
    folder = ModelsFolder(models)
    before = folder.scan()["first"].versions
    current.unlink()
    current.symlink_to(models.with_name("builds") / "first" / "18")
    after = folder.scan()["first"].versions
    assert (list(before), before[3] == after[3]) == ([3, 2, 1], False)


def test_links_that_lead_nowhere_are_no_versions(models: Path) -> None:
    """Nor are links in a circle, or links to a file."""
    (models / "first" / "3").symlink_to(models / "nowhere")
    (models / "first" / "4").symlink_to(models / "first" / "4")
    (models / "first" / "5").symlink_to(models / "first" / "1" / "model.onnx")
    (models / "circle").symlink_to(models / "circle")
    found = ModelsFolder(models).scan()
    assert (list(found), list(found["first"].versions)) == (["first", "second"], [2, 1])


def test_numbers_without_end_are_no_versions(models: Path) -> None:
    """A name with too many digits is ignored, since no request could name that version."""
    (models / "first" / ("9" * 200)).mkdir()
    assert list(ModelsFolder(models).scan()["first"].versions) == [2, 1]


def test_a_folder_that_is_out_of_reach_is_not_taken_for_an_empty_one(models: Path) -> None:
    """It raises OSError, so that nothing is unloaded, and is read again once it is back."""
    folder = ModelsFolder(models)
    before = folder.scan()
    models.rename(models.with_name("away"))
    with pytest.raises(OSError, match="models"):
        folder.scan()
    models.with_name("away").rename(models)
    assert folder.scan() == before
