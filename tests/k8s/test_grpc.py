"""The overlay with gRPC: the base, and one port more on every way to the server."""

from __future__ import annotations

import copy
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from .kustomize import Manifest, key, render

OVERLAY = Path(__file__).parents[2] / "k8s" / "overlays" / "grpc"
PORT = 8500


@pytest.fixture
def with_grpc() -> dict[str, Manifest]:
    """The overlay's objects by kind."""
    return {manifest["kind"]: manifest for manifest in render(OVERLAY)}


def test_the_overlay_fits_the_schema_strictly(with_grpc: dict[str, Manifest]) -> None:
    """Patching leaves objects that the API server takes."""
    for manifest in with_grpc.values():
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_one_port_more_leads_to_the_command(with_grpc: dict[str, Manifest]) -> None:
    """The Service and the network policy name the container's port, which is the one that the server is told."""
    (container,) = with_grpc["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][-2:] == ["--grpc-port", str(PORT)]
    assert {"name": "grpc", "containerPort": PORT} in container["ports"]
    service = next(port for port in with_grpc["Service"]["spec"]["ports"] if port["name"] == "grpc")
    assert (service["port"], service["targetPort"]) == (PORT, "grpc")
    (ingress,) = with_grpc["NetworkPolicy"]["spec"]["ingress"]
    assert {"port": "grpc", "protocol": "TCP"} in ingress["ports"]


def test_without_that_port_it_is_the_base(with_grpc: dict[str, Manifest], base: dict[str, Manifest]) -> None:
    """What changes in the base changes here, too; above all the command."""
    bare = copy.deepcopy(with_grpc)
    (container,) = bare["Deployment"]["spec"]["template"]["spec"]["containers"]
    del container["args"][-2:], container["ports"][1], bare["Service"]["spec"]["ports"][1]
    del bare["NetworkPolicy"]["spec"]["ingress"][0]["ports"][1]
    assert bare == base


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kubectl_renders_the_same_objects(with_grpc: dict[str, Manifest]) -> None:
    """What these tests look at is what `kubectl apply -k` sends."""
    output = subprocess.run(["kubectl", "kustomize", str(OVERLAY)], check=True, capture_output=True, text=True).stdout
    theirs = {key(manifest): manifest for manifest in yaml.safe_load_all(output)}
    assert theirs == {key(manifest): manifest for manifest in with_grpc.values()}
