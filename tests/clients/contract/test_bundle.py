"""Bundles on disk: their checksums and their versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlway_client import Bundle
from rlway_client.contract.bundle import bundle_versions, newest_bundle
from rlway_client.contract.errors import BundleInvalid
from tests.bundles import linear_policy


def test_a_bundle_is_verified_when_opened(tmp_path: Path) -> None:
    """The first file that differs is named; without `verify` the manifest alone is read."""
    bundle = linear_policy(tmp_path)
    assert Bundle.open(bundle.path) == bundle
    model = bundle.path / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(BundleInvalid, match=r"model\.onnx.*SHA-256"):
        Bundle.open(bundle.path)
    assert Bundle.open(bundle.path, verify=False) == bundle
    model.unlink()
    with pytest.raises(BundleInvalid, match=r"model\.onnx.*missing"):
        Bundle.open(bundle.path)
    with pytest.raises(BundleInvalid, match="nowhere"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(BundleInvalid, match=r"manifest\.json"):
        Bundle.open(tmp_path)


def test_versions_are_numbers_and_the_newest_is_first(tmp_path: Path) -> None:
    """Drafts, names and numbers with leading zeros are no versions."""
    for name in ["1", "2", "10", "03", "0", ".11.draft", "latest", "-1", "٣"]:
        (tmp_path / name).mkdir()
    (tmp_path / "12").touch()
    assert bundle_versions(tmp_path) == [10, 2, 1]
    assert newest_bundle(tmp_path) == tmp_path / "10"
