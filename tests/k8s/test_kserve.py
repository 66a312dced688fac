"""What the manifests for KServe promise: KServe takes them, and its clients find the server that they start."""

from __future__ import annotations

import copy
import inspect
import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from rlway_serve.cli import serve
from tests.bundles import linear_policy
from tests.ports import free_port
from tests.servers import Server, get_request, running_server

from .kustomize import Manifest, read

ROOT = Path(__file__).parents[2]
SCHEMAS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("kserve_schema.yaml").read_text())
FILES = sorted((ROOT / "k8s" / "kserve").glob("*.yaml"))


@pytest.fixture
def runtime() -> Manifest:
    """The ServingRuntime."""
    return read(ROOT / "k8s" / "kserve" / "servingruntime.yaml")


@pytest.fixture
def container(runtime: Manifest) -> Manifest:
    """Its only container."""
    (container,) = runtime["spec"]["containers"]
    assert isinstance(container, dict)
    return container


@pytest.fixture
def service() -> Manifest:
    """The InferenceService."""
    return read(ROOT / "k8s" / "kserve" / "inferenceservice.yaml")


def _validate(manifest: Manifest) -> None:
    jsonschema.validate(manifest, SCHEMAS[f"{manifest['apiVersion']} {manifest['kind']}"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_manifest_fits_kserves_own_schema_strictly(path: Path) -> None:
    """The API server of a cluster with KServe would take each file as it is."""
    _validate(read(path))


def test_a_misspelt_field_or_a_wrong_type_does_not_pass(runtime: Manifest, service: Manifest) -> None:
    """The test above can fail, at any depth."""
    wrong = [copy.deepcopy(runtime), copy.deepcopy(runtime), copy.deepcopy(service), copy.deepcopy(service)]
    wrong[0]["spec"]["containers"][0]["readynessProbe"] = {}
    wrong[1]["spec"]["containers"][0]["ports"][0]["containerPort"] = "8080"
    wrong[2]["spec"]["predictor"]["storageUris"][0]["mountPath"] = "mnt/models"
    del wrong[3]["spec"]["predictor"]["model"]["modelFormat"]["name"]
    for manifest in wrong:
        with pytest.raises(jsonschema.ValidationError):
            _validate(manifest)


def test_the_service_asks_for_what_the_runtime_offers(runtime: Manifest, service: Manifest) -> None:
    """Its runtime, its model format and its protocol."""
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in [model["name"] for model in runtime["spec"]["supportedModelFormats"]]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


def test_the_policy_is_mounted_under_the_services_name(container: Manifest, service: Manifest) -> None:
    """In the folder that the server is told, since clients ask for the model by the InferenceService's name."""
    (storage,) = service["spec"]["predictor"]["storageUris"]
    assert container["args"][:2] == ["serve", "/mnt/models"]
    assert storage["mountPath"] == f"/mnt/models/{service['metadata']['name']}"


def test_ports_and_probes_lead_to_the_command(runtime: Manifest, container: Manifest) -> None:
    """The first port is the one behind the InferenceService's URL; KServe takes `h2c` for gRPC."""
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http1": int(_option(container, "port")), "h2c": int(_option(container, "grpc-port"))}
    assert container["ports"][0]["name"] == "http1"
    assert runtime["spec"]["annotations"]["prometheus.kserve.io/port"] == str(ports["http1"])
    for probe, path in (("startupProbe", "/healthz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        assert container[probe]["httpGet"] == {"path": path, "port": ports["http1"]}


def test_the_command_takes_every_option_it_is_given(container: Manifest) -> None:
    """An option renamed in `rlway serve` is noticed here and not by a crash loop."""
    flags = {parameter.replace("_", "-") for parameter in inspect.signature(serve).parameters} | {"default"}
    assert {argument.removeprefix("--").partition("=")[0] for argument in container["args"][2:]} <= flags


def test_the_container_is_restricted_as_that_of_the_base_is(container: Manifest, server: Manifest) -> None:
    """The `restricted` Pod Security Standard, a read-only root, bounded memory, and no CPU limit."""
    context = container["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert server["securityContext"].items() <= context.items()
    assert container["resources"] == server["resources"]
    assert container["lifecycle"] == server["lifecycle"]


def test_the_image_carries_the_version_of_the_project(container: Manifest) -> None:
    """Never `latest`, and never a version that `make image` does not build."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert container["image"] == f"rlway-serve:{version}"


@contextmanager
def _started(container: Manifest, name: str, models: Path) -> Iterator[Server]:
    """A server by the runtime's command, as KServe fills it in for an InferenceService of this name."""
    own = {"--port": "0", "--grpc-port": str(free_port()), "--host": "127.0.0.1"}
    options = [argument.replace("{{.Name}}", name) for argument in container["args"][2:]]
    kept = [option for option in options if option.partition("=")[0] not in own]
    with running_server(models, models.with_name("log"), *kept, *sum(own.items(), ())) as server:
        yield server


def test_a_server_by_this_command_answers_kserves_clients(container: Manifest, tmp_path: Path) -> None:
    """Ready, and its model is found by the InferenceService's name over v1 and v2."""
    linear_policy(tmp_path / "models", "cartpole")
    with _started(container, "cartpole", tmp_path / "models") as server:
        assert server.ask(get_request("/readyz")).status == 200
        assert server.ask(get_request("/v2/models/cartpole/ready")).json == {"name": "cartpole", "ready": True}
        assert server.ask(get_request("/v1/models/cartpole")).json["ready"] is True


def test_a_service_with_another_name_than_the_policy_is_never_ready(container: Manifest, tmp_path: Path) -> None:
    """KServe then shows a service that is not ready, instead of one whose clients get 404; the log says why."""
    linear_policy(tmp_path / "models", "cartpole")
    with _started(container, "pendulum", tmp_path / "models") as server:
        assert server.ask(get_request("/readyz")).status == 503
        assert json.loads(server.ask(get_request("/v2/health/ready")).body)["ready"] is False
        assert b"--default pendulum: no such policy yet" in server.log.read_bytes()


def _option(container: Manifest, name: str) -> str:
    arguments: list[str] = container["args"]
    return next(argument for argument in arguments if argument.startswith(f"--{name}=")).partition("=")[2]
