"""What the Kubernetes manifests promise: valid for the API server, safe by default, gentle to callers."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from rlway_serve.cli import serve

from .kustomize import Manifest, key, read, render

ROOT = Path(__file__).parents[2]
BASE = ROOT / "k8s" / "base"
PRODUCTION = ROOT / "k8s" / "overlays" / "production"
FILES = sorted(
    path
    for folder in (BASE, ROOT / "k8s" / "models")
    for path in folder.glob("*.yaml")
    if path.name != "kustomization.yaml"
)
OLDEST = "1.30"  # the first version in which preStop may sleep without a feature gate
NEWEST = kubernetes_validate.latest_version()

both_folders = pytest.mark.parametrize("folder", [BASE, PRODUCTION], ids=["base", "production"])
every_pod = pytest.mark.parametrize("name", ["server", "loader"])


# ------------------------------------------------------------------------------------------------ valid


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_manifest_fits_the_schema_strictly(path: Path, version: str) -> None:
    """The API server would take each file as it is, without dropping a misspelt field."""
    kubernetes_validate.validate(read(path), version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_overlay_fits_the_schema_strictly(production: dict[str, Manifest], version: str) -> None:
    """Patching leaves objects that the API server takes."""
    for manifest in production.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_field_does_not_pass(base: dict[str, Manifest]) -> None:
    """The two tests above can fail."""
    container = base["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    container["readynessProbe"] = container.pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(base["Deployment"], NEWEST, strict=True)


@both_folders
def test_a_kustomization_lists_every_file_beside_it(folder: Path) -> None:
    """No manifest is forgotten, and none is listed that does not exist."""
    kustomization = read(folder / "kustomization.yaml")
    listed = [*kustomization["resources"], *(patch["path"] for patch in kustomization.get("patches", []))]
    assert all((folder / name).exists() for name in listed)
    assert sorted(name for name in listed if not (folder / name).is_dir()) == sorted(
        path.name for path in folder.glob("*.yaml") if path.name != "kustomization.yaml"
    )


def test_the_overlay_has_the_objects_of_the_base(production: dict[str, Manifest], base: dict[str, Manifest]) -> None:
    """Its patches add, drop and rename none, and put every one into its namespace."""
    assert [key(manifest) for manifest in production.values()] == [key(manifest) for manifest in base.values()]
    assert {manifest["metadata"]["namespace"] for manifest in production.values()} == {"rlway"}


def test_a_patch_for_nothing_is_refused(tmp_path: Path) -> None:
    """The test above can fail: a patch whose object is gone from the base does not pass in silence."""
    (tmp_path / "service.yaml").write_text((BASE / "service.yaml").read_text())
    (tmp_path / "patch.yaml").write_text("{apiVersion: v1, kind: Service, metadata: {name: gone}}")
    (tmp_path / "kustomization.yaml").write_text("{resources: [service.yaml], patches: [{path: patch.yaml}]}")
    with pytest.raises(ValueError, match="v1 Service gone, which is not there"):
        render(tmp_path)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
@both_folders
def test_kubectl_renders_the_same_objects(folder: Path) -> None:
    """What these tests look at is what `kubectl apply -k` sends."""
    output = subprocess.run(["kubectl", "kustomize", str(folder)], check=True, capture_output=True, text=True).stdout
    theirs = {key(manifest): manifest for manifest in yaml.safe_load_all(output)}
    ours = {key(manifest): manifest for manifest in render(folder)}
    for manifest in [*theirs.values(), *ours.values()]:
        for constraint in _spread_constraints(manifest):
            constraint.sort(key=lambda item: item["topologyKey"])  # a set to Kubernetes, whatever the order
    assert theirs == ours


# ------------------------------------------------------------------------------------------------ joined up


def test_everything_that_selects_the_server_selects_its_pods(base: dict[str, Manifest]) -> None:
    """Service, disruption budget, network policy, spreading and the Deployment itself mean the same pods."""
    template = base["Deployment"]["spec"]["template"]
    selectors = [
        base["Deployment"]["spec"]["selector"]["matchLabels"],
        base["Service"]["spec"]["selector"],
        base["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        base["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *(item["labelSelector"]["matchLabels"] for item in template["spec"]["topologySpreadConstraints"]),
    ]
    assert len(selectors) == 5
    for selector in selectors:
        assert selector
        assert selector.items() <= template["metadata"]["labels"].items()


def test_the_service_does_not_reach_the_loader(base: dict[str, Manifest]) -> None:
    """The pod that only copies files gets no requests."""
    loader = read(ROOT / "k8s" / "models" / "loader.yaml")
    assert not base["Service"]["spec"]["selector"].items() <= loader["metadata"]["labels"].items()


def test_the_autoscaler_owns_the_number_of_replicas(base: dict[str, Manifest]) -> None:
    """It names the Deployment, which itself asks for no number, so an apply never undoes the scaling."""
    target = base["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert f"{target['apiVersion']} {target['kind']} {target['name']}" == key(base["Deployment"])
    assert "replicas" not in base["Deployment"]["spec"]


def test_the_autoscaler_has_a_request_to_measure_against(server: Manifest, base: dict[str, Manifest]) -> None:
    """A utilisation target means nothing without a CPU request."""
    (metric,) = base["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    assert server["resources"]["requests"]["cpu"]


def test_one_port_goes_from_the_service_to_the_command(server: Manifest, base: dict[str, Manifest]) -> None:
    """Service, probes, network policy and metrics lead to the port that the server is told to listen on."""
    (port,) = server["ports"]
    template = base["Deployment"]["spec"]["template"]
    assert _option(server, "--port") == str(port["containerPort"])
    assert base["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert base["NetworkPolicy"]["spec"]["ingress"] == [{"ports": [{"port": port["name"], "protocol": "TCP"}]}]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"]["port"] == port["name"]


def test_the_command_takes_every_option_it_is_given(server: Manifest) -> None:
    """An option renamed in `rlway serve` is noticed here and not by a crash loop."""
    assert server["args"][0] == "serve"
    options = [word for word in server["args"] if word.startswith("--")]
    assert options
    for option in options:
        assert option.removeprefix("--").replace("-", "_") in inspect.signature(serve).parameters


def test_server_and_loader_mount_the_claim_that_is_there(pods: dict[str, Manifest]) -> None:
    """Both see the same models, at the place that the server is told."""
    claim = read(ROOT / "k8s" / "models" / "claim.yaml")["metadata"]["name"]
    for pod in pods.values():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["models"]["persistentVolumeClaim"]["claimName"] == claim
        assert _mount(pod, "models")["mountPath"] == "/models"
    assert pods["server"]["containers"][0]["args"][1] == "/models"


@every_pod
def test_images_carry_the_version_of_the_project(pods: dict[str, Manifest], name: str) -> None:
    """Never `latest`, and never a version that `make image` does not build."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert [container["image"] for container in pods[name]["containers"]] == [f"rlway-serve:{version}"]


def test_the_overlay_deploys_the_version_of_the_project(production: dict[str, Manifest]) -> None:
    """The example moves on with every release."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    image = production["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.endswith(f"/rlway-serve:{version}")


# ------------------------------------------------------------------------------------------------ safe


@every_pod
def test_no_pod_runs_as_root(pods: dict[str, Manifest], name: str) -> None:
    """A numeric user, so that the kubelet can tell without reading the image."""
    context = pods[name]["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["runAsGroup"] > 0


@every_pod
def test_every_container_is_restricted(pods: dict[str, Manifest], name: str) -> None:
    """The `restricted` Pod Security Standard, and a read-only root besides."""
    assert pods[name]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pods[name]["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pods[name])
    assert not any("hostPath" in volume for volume in pods[name]["volumes"])


@every_pod
def test_no_pod_holds_a_token_or_the_addresses_of_its_neighbours(pods: dict[str, Manifest], name: str) -> None:
    """Nothing here talks to the Kubernetes API, and no service's variables leak into the environment."""
    assert pods[name]["automountServiceAccountToken"] is False
    assert pods[name]["enableServiceLinks"] is False


def test_the_server_has_an_account_of_its_own(base: dict[str, Manifest]) -> None:
    """Rights given to the namespace's default account are not the server's."""
    account = base["ServiceAccount"]
    assert account["automountServiceAccountToken"] is False
    assert base["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == account["metadata"]["name"]


def test_the_server_cannot_write_models(pods: dict[str, Manifest]) -> None:
    """Its mount is read-only; only the loader's is not."""
    assert _mount(pods["server"], "models")["readOnly"] is True
    assert "readOnly" not in _mount(pods["loader"], "models")


def test_the_server_opens_no_connections(base: dict[str, Manifest]) -> None:
    """The policy names egress and allows none."""
    policy = base["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []


@every_pod
def test_memory_is_bounded_and_cpu_is_not_throttled(pods: dict[str, Manifest], name: str) -> None:
    """A leak ends one pod and not the node; a CPU limit would turn into latency."""
    for container in pods[name]["containers"]:
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert set(container["resources"]["limits"]) == {"memory"}


def test_deleting_the_server_keeps_the_models(base: dict[str, Manifest]) -> None:
    """`kubectl delete -k` takes no volume with it."""
    assert "PersistentVolumeClaim" not in base


# ------------------------------------------------------------------------------------------------ gentle


def test_traffic_waits_for_warm_policies_and_restarts_do_not(server: Manifest) -> None:
    """Readiness asks /readyz; liveness and start-up ask /healthz, for a broken bundle is not cured by a restart."""
    paths = {probe: server[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}


def test_a_busy_server_is_not_taken_for_a_dead_one(server: Manifest) -> None:
    """Half a minute of silence, at least, before a restart."""
    probe = server["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 30
    assert probe["timeoutSeconds"] >= 5


def test_a_stopping_server_has_time_to_drain(server: Manifest, pods: dict[str, Manifest]) -> None:
    """The grace period covers the wait before SIGTERM and the longest drain after it."""
    pause_s = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain_s = float(_option(server, "--drain-s"))
    assert pause_s > 0
    assert pods["server"]["terminationGracePeriodSeconds"] >= pause_s + drain_s + 5


def test_a_rollout_never_has_fewer_servers(base: dict[str, Manifest]) -> None:
    """A new server is ready before an old one goes."""
    assert base["Deployment"]["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }


def test_one_server_may_always_go(base: dict[str, Manifest], production: dict[str, Manifest]) -> None:
    """Two replicas at least and one disruption at most: draining nodes never stops the service, nor waits for ever."""
    for objects in (base, production):
        budget = objects["PodDisruptionBudget"]["spec"]
        assert budget["maxUnavailable"] == 1
        assert objects["HorizontalPodAutoscaler"]["spec"]["minReplicas"] > budget["maxUnavailable"]
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


# ------------------------------------------------------------------------------------------------ how to look things up


def _option(container: Manifest, name: str) -> str:
    arguments: list[str] = container["args"]
    return arguments[arguments.index(name) + 1]


def _mount(pod: Manifest, volume: str) -> Manifest:
    mounts: list[Manifest] = pod["containers"][0]["volumeMounts"]
    return next(mount for mount in mounts if mount["name"] == volume)


def _spread_constraints(manifest: Manifest) -> list[list[dict[str, Any]]]:
    return (
        [manifest["spec"]["template"]["spec"]["topologySpreadConstraints"]] if manifest["kind"] == "Deployment" else []
    )
