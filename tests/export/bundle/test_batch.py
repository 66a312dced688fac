"""Several sources in one command: an interruption, and a process that is killed."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

import rlway_export
from rlway_client.common.garbage import PATIENT
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused
from rlway_export.bundle.batch import Result, export_all, export_one
from tests.export import onnx_forms

pytestmark = pytest.mark.slow


def test_no_further_source_is_begun_after_an_interruption(tmp_path: Path) -> None:
    """What runs is finished, and what only waits is left out."""
    names = [f"policy-{i}" for i in range(6)]
    sources = [onnx_forms.save(onnx_forms.cleanrl_ppo(), tmp_path / f"{name}.onnx") for name in names]

    def interrupt(_: Bundle) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_all(sources, names, tmp_path / "models", {"formats": "onnx"}, 2, interrupt, lambda _: None)
    published = list((tmp_path / "models").glob("*/1"))
    assert 1 <= len(published) < len(names)


def test_a_process_that_is_killed_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it did is reported, and new processes take what is left."""
    flag = tmp_path / "flag"
    code = f"import os, pathlib\nif not pathlib.Path({str(flag)!r}).exists():\n"
    code += f"    pathlib.Path({str(flag)!r}).touch()\n    os._exit(9)\n"
    (tmp_path / "ends_its_process_once.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    names = [f"policy-{i}" for i in range(4)]
    sources = [onnx_forms.save(onnx_forms.cleanrl_ppo(), tmp_path / f"{name}.onnx") for name in names]
    options = {"formats": "onnx", "imports": ["ends_its_process_once"]}
    published: list[str] = []
    notes: list[str] = []
    with pytest.raises(ExportRefused, match="of 4 sources could not be published, as told above"):
        export_all(
            sources, names, tmp_path / "models", options, 2, lambda b: published.append(b.manifest.policy), notes.append
        )
    failed = [note for note in notes if "is not published" in note]
    assert len(published) + len(failed) == 4
    assert len(published) >= 2
    assert all("its process was killed, perhaps for want of memory; use fewer --jobs." in note for note in failed)


def test_notes_are_told_with_the_name_of_their_policy(tmp_path: Path) -> None:
    """As they are of one source; the steps of several would run into each other. Here without further processes."""
    sources = [onnx_forms.save(onnx_forms.cleanrl_ppo(), tmp_path / f"{name}.onnx") for name in ("left", "right")]
    bundles: list[Bundle] = []
    notes: list[str] = []
    export_all(sources, ["left", "right"], tmp_path / "models", {"formats": "onnx"}, 1, bundles.append, notes.append)
    told = [f"{bundle.manifest.policy}: note: {note}" for bundle in bundles for note in bundle.manifest.notes]
    assert told
    assert set(told) <= set(notes)
    assert all(note.startswith(("left: note: ", "right: note: ")) for note in notes)


def test_the_collector_is_patient_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While TensorFlow is imported; what each later export leaves has to go."""
    seen: list[Any] = []

    def export(*_: Any, log: Any, **__: Any) -> Any:
        seen.append(gc.get_threshold())
        log("note: a note")
        log("a step")
        raise ValueError("no more")

    monkeypatch.setattr(rlway_export, "export", export)
    gc.unfreeze()
    before = gc.get_threshold()
    results = [export_one(tmp_path, "p", tmp_path, {}) for _ in range(2)]
    gc.unfreeze()
    assert seen == [PATIENT, before]
    assert gc.get_threshold() == before
    assert results == [Result(None, "ValueError: no more.", ["note: a note"])] * 2
