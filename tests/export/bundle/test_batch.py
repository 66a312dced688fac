"""Several sources in one command, once one of them interrupts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlway_client.contract.bundle import Bundle
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
