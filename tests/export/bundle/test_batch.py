"""Several sources in one command: an interruption, and a process that is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused
from rlway_export.bundle.batch import export_all
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
    assert len(published) + len(notes) == 4
    assert len(published) >= 2
    assert all("its process was killed, perhaps for want of memory; use fewer --jobs." in note for note in notes)
