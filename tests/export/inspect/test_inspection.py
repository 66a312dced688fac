"""What `rlway inspect` refuses: the same as an export, in the same words."""

from __future__ import annotations

from pathlib import Path

import pytest

import rlway_export
from rlway_client.contract.errors import RlwayError, RunInvalid
from rlway_export.inspect.inspection import inspect_path

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("garbage/saved_model.pb", r"its saved_model\.pb is damaged"),
        ("garbage", r"its saved_model\.pb is damaged"),
        ("garbage.onnx", "is no ONNX file, or a damaged one"),
        ("garbage.keras", "is no network of Keras"),
        ("notes.txt", "is a file, and no saved_model"),
        ("nowhere", "no such file or folder"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_is_no_policy_is_refused_with_the_exports_sentence(name: str, sentence: str, tmp_path: Path) -> None:
    """Damaged files, files of another kind, paths that do not exist."""
    (tmp_path / "garbage/variables").mkdir(parents=True)
    for file in ("garbage/saved_model.pb", "garbage.onnx", "garbage.keras", "notes.txt"):
        (tmp_path / file).write_bytes(b"\xff\x01" * 500)
    with pytest.raises(RunInvalid, match=sentence) as refusal:
        inspect_path(tmp_path / name)
    with pytest.raises(RlwayError) as exported:
        rlway_export.export(tmp_path / name, tmp_path / "models", "p")
    assert str(refusal.value) == str(exported.value)
