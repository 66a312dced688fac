"""What the manifests say, as Python values."""

from __future__ import annotations

from pathlib import Path

import pytest

from .kustomize import Manifest, read, render

K8S = Path(__file__).parents[2] / "k8s"


@pytest.fixture
def base() -> dict[str, Manifest]:
    """The base's objects by kind; there is one of each."""
    return {manifest["kind"]: manifest for manifest in render(K8S / "base")}


@pytest.fixture
def production() -> dict[str, Manifest]:
    """The example overlay's objects by kind."""
    return {manifest["kind"]: manifest for manifest in render(K8S / "overlays" / "production")}


@pytest.fixture
def pods(base: dict[str, Manifest]) -> dict[str, Manifest]:
    """The specification of every pod that the manifests can start."""
    loader = read(K8S / "models" / "loader.yaml")
    return {"server": base["Deployment"]["spec"]["template"]["spec"], "loader": loader["spec"]}


@pytest.fixture
def server(base: dict[str, Manifest]) -> Manifest:
    """The server's container."""
    (container,) = base["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container
