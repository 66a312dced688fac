"""What a path is opened as, and what the bundle will say of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rlway_client.common.files import sha256
from rlway_client.contract.errors import RunInvalid
from rlway_export.sources.content import content_files, content_of
from rlway_export.sources.detect import open_source
from tests.export import networks, onnx_forms


@pytest.mark.parametrize("name", ["policy-\udcff.onnx", "policy-\udcff.keras", "no-policy-\udcff"])
def test_a_path_whose_bytes_are_no_text_is_refused(name: str, tmp_path: Path) -> None:
    """The manifest could not name it; the sentence can."""
    onnx_forms.save(onnx_forms.cleanrl_ppo(), tmp_path / name)
    with pytest.raises(RunInvalid, match=r"udcff.*': expected a path whose bytes are UTF-8; rename it\.$") as refusal:
        open_source(tmp_path / name, "best")
    assert str(refusal.value).isascii()


def test_a_folder_has_a_checksum_whatever_its_files_are_called(tmp_path: Path) -> None:
    """Their names are bytes."""
    (tmp_path / "graph").write_bytes(b"0")
    (tmp_path / "weights-\udcff.bin").write_bytes(b"1")
    before = content_of(content_files(tmp_path))
    (tmp_path / "weights-\udcff.bin").write_bytes(b"2")
    assert content_of(content_files(tmp_path)) != before


def test_an_onnx_file_that_is_replaced_later_is_named_as_it_was_read(tmp_path: Path) -> None:
    """Else who follows the file would take the newer one for published."""
    path = onnx_forms.save(onnx_forms.cleanrl_ppo(), tmp_path / "policy.onnx")
    read = sha256(path)
    source = open_source(path, "best")
    onnx_forms.save(onnx_forms.sb3_ppo(), path)
    assert source.provenance.training["sha256"] == source.provenance.training["content"] == read


@pytest.mark.slow
def test_a_keras_network_that_is_replaced_later_is_named_as_it_was_read(tmp_path: Path) -> None:
    """As an ONNX file is."""
    path = networks.save(networks.q_network(), tmp_path / "policy.keras")
    read = sha256(path)
    source = open_source(path, "best")
    shutil.copyfile(__file__, path)
    assert source.provenance.training["sha256"] == read
