"""Which checkpoints a folder has, and which of them are complete, by the names of their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlway_client.contract.errors import UsageError
from rlway_export.sources.saved_checkpoint import find_checkpoint, is_checkpoint_folder, saved_checkpoints


def written(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_checkpoints_are_listed_by_their_numbers(tmp_path: Path) -> None:
    """Those of a trigger lie in folders; one that was written without a number comes first."""
    folder = written(tmp_path, "ckpt-10.index", "ckpt-9.index", "final.index", "checkpoint")
    written(folder, "policy_checkpoint_0000000012/variables/variables.index", "policy_checkpoint_0000000013/x")
    assert [one.number for one in saved_checkpoints(folder)] == [None, 9, 10, 12]
    assert not is_checkpoint_folder(written(tmp_path / "none", "checkpoint"))


@pytest.mark.parametrize(
    ("shards", "is_complete"),
    [
        (["00000-of-00001"], True),
        (["00000-of-00002", "00001-of-00002"], True),
        (["00000-of-00002"], False),
        (["00000-of-00001", "00001-of-00002"], False),
        ([], False),
    ],
)
def test_a_checkpoint_is_complete_with_all_of_its_shards(shards: list[str], is_complete: bool, tmp_path: Path) -> None:
    """Its name may have any characters; a longer name is that of another one."""
    prefix = "best[1]*-7"
    names = [f"{prefix}.index", *(f"{prefix}.data-{shard}" for shard in shards), f"{prefix}0.data-00001-of-00002"]
    (one,) = saved_checkpoints(written(tmp_path, *names))
    assert one.is_complete == is_complete
    assert [path.name for path in one.files] == sorted(names[:-1])


def test_the_latest_is_the_one_that_tensorflow_noted(tmp_path: Path) -> None:
    """Whatever folder it lay in then; without a note it has the highest number."""
    folder = written(tmp_path, "ckpt-3.index", "ckpt-20.index")
    assert find_checkpoint(folder, "latest").number == 20
    (folder / "checkpoint").write_text(
        'model_checkpoint_path: "/elsewhere/ckpt-3"\nall_model_checkpoint_paths: "ckpt-20"\n'
    )
    assert find_checkpoint(folder, "best").number == 3
    (folder / "checkpoint").write_text('model_checkpoint_path: "../../ckpt-4"\n')
    assert find_checkpoint(folder, "latest").number == 20


def test_a_number_that_several_have_is_refused(tmp_path: Path) -> None:
    """With their names."""
    folder = written(tmp_path, "actor-3.index", "critic-3.index")
    with pytest.raises(UsageError, match=r"has several checkpoints 3 \(actor-3 and critic-3\); move one"):
        find_checkpoint(folder, "3")


def test_the_content_of_a_checkpoint_is_that_of_all_its_files(tmp_path: Path) -> None:
    """By it a bundle that was made of it is known."""
    (one,) = saved_checkpoints(written(tmp_path, "ckpt-1.index", "ckpt-1.data-00000-of-00001"))
    before = one.content()
    assert one.content() == before
    (tmp_path / "ckpt-1.data-00000-of-00001").write_text("other")
    assert one.content() != before
