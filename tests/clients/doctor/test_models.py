"""What the doctor says of a models folder, with folders that are broken in each way; a server agrees with it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlway_client.doctor.finding import Finding
from rlway_client.doctor.models import models_folder
from tests.bundles import linear_policy
from tests.servers import get_request, running_server

NOBODY = 65534


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two versions of a policy."""
    models = tmp_path_factory.mktemp("whole") / "models"
    linear_policy(models)
    linear_policy(models, version=2)
    return models


@pytest.fixture
def models(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be broken."""
    return Path(shutil.copytree(whole, tmp_path / "models"))


def look(models: Path) -> dict[str, Finding]:
    """The findings by subject; that of the folder is under "models"."""
    findings = models_folder(models, asked_for=True)
    assert all(finding.area == "models" for finding in findings)
    return {finding.subject.replace(f"{models}/", "models"): finding for finding in findings}


def test_a_whole_folder_is_well(whole: Path) -> None:
    """The folder, and its one policy with what would be active."""
    found = look(whole)
    assert [(subject, one.remedy) for subject, one in found.items()] == [("models", ""), ("linear", "")]
    assert found["linear"].state == "versions 2, 1; 2 would be active, model.onnx"
    assert found["linear"].facts["sound"] == [2, 1]


def damage(version: Path) -> None:
    (version / "model.onnx").write_bytes(b"something else")


def lose_a_file(version: Path) -> None:
    (version / "model.onnx").unlink()


def lose_the_manifest(version: Path) -> None:
    (version / "manifest.json").unlink()


def misspell_the_manifest(version: Path) -> None:
    (version / "manifest.json").write_text("{")


def future_schema(version: Path) -> None:
    manifest = version / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema_version": 99}))


def empty(version: Path) -> None:
    shutil.rmtree(version)
    version.mkdir()


def another_place(version: Path) -> None:
    shutil.rmtree(version)
    shutil.copytree(version.with_name("1"), version)


def a_guard_beside(version: Path) -> None:
    (version / "guard.json").write_text("{}")


BROKEN: dict[Callable[[Path], None], tuple[str, str]] = {
    damage: ("model.onnx: damaged", "export the policy again"),
    lose_a_file: ("model.onnx: missing, though the manifest lists it", "export the policy again"),
    lose_the_manifest: ("has no manifest.json", "half of a version"),
    misspell_the_manifest: ("manifest.json", "export the policy again"),
    future_schema: ("schema", "export the policy again"),
    empty: ("has no manifest.json", "half of a version"),
    another_place: ("its manifest says policy 'linear' version 1", "move it back"),
    a_guard_beside: ("guard.json: not in the manifest", "export the policy again"),
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_version_is_named_with_what_to_do(models: Path, broken: Callable[[Path], None]) -> None:
    """The older version would be active, and the finding of the broken one says why, without two checksums."""
    broken(models / "linear/2")
    found = look(models)
    state, remedy = BROKEN[broken]
    assert state in found["linear/2"].state
    assert remedy in found["linear/2"].remedy
    assert len(found["linear/2"].state) < 200
    assert "1 would be active" in found["linear"].state
    assert found["linear"].ok
    assert set(found) == {"models", "linear", "linear/2"}


def test_a_server_takes_the_versions_that_the_doctor_calls_sound(tmp_path: Path) -> None:
    """One policy for each kind of damage: the server has the same active version, and refuses the same ones."""
    for broken in BROKEN:
        name = broken.__name__
        linear_policy(tmp_path / "models", name=name)
        linear_policy(tmp_path / "models", name=name, version=2)
        broken(tmp_path / "models" / name / "2")
    found = look(tmp_path / "models")
    with running_server(tmp_path / "models", tmp_path / "log") as server:
        served = {one["name"]: one["version"] for one in server.ask(get_request("/v1/policies")).json["policies"]}
        refused = {
            name: [one["version"] for one in server.ask(get_request(f"/v1/policies/{name}")).json["failed"]]
            for name in served
        }
    assert served == {name: found[name].facts["active"] for name in served}
    assert refused == {name: [2] for name in served}
    assert len(served) == len(BROKEN)
    assert all(not found[f"{name}/2"].ok for name in served)


def test_a_policy_without_a_sound_version_is_wrong(models: Path) -> None:
    for version in (1, 2):
        damage(models / f"linear/{version}")
    assert "none can be served" in look(models)["linear"].state
    assert not look(models)["linear"].ok


def test_a_policy_without_a_version_waits_for_one(models: Path) -> None:
    """As the folder of a training that has not published yet."""
    (models / "coming").mkdir()
    assert look(models)["coming"].ok


@pytest.mark.parametrize(
    ("labels", "says"),
    [("{", "expected version numbers by label"), ('{"stable": "2"}', "expected version numbers by label")],
)
def test_labels_that_cannot_be_read_are_wrong(models: Path, labels: str, says: str) -> None:
    (models / "linear/labels.json").write_text(labels)
    found = look(models)
    assert says in found["linear/labels.json"].state
    assert '{"stable": 2}' in found["linear/labels.json"].remedy
    assert found["linear"].facts["active"] is None  # a server that starts now does not serve it


def test_a_label_decides_what_would_be_active(models: Path) -> None:
    """And one that names a version that is not there is wrong."""
    (models / "linear/labels.json").write_text('{"stable": 1}')
    assert look(models)["linear"].facts["active"] == 1
    (models / "linear/labels.json").write_text('{"stable": 1, "canary": 7}')
    assert "canary is version 7" in look(models)["linear/labels.json"].state


def test_only_an_abandoned_draft_is_wrong(models: Path) -> None:
    """An exporter locks its draft; one that was killed has left it without a lock. A new one may not be locked yet."""
    draft = models / "linear/.3.abcdefgh"
    draft.mkdir()
    assert set(look(models)) == {"models", "linear"}
    os.utime(draft, (0, 0))
    lock = os.open(draft, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert set(look(models)) == {"models", "linear"}
    os.close(lock)
    found = look(models)["linear/.3.abcdefgh"]
    assert "half-written" in found.state
    assert str(draft) in found.remedy


@pytest.fixture
def unprivileged(whole: Path) -> Iterator[Path]:
    """A copy of the folder where a user without rights can reach it; the test is that user."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        models = Path(shutil.copytree(whole, Path(place) / "models"))
        user = os.geteuid()
        yield models
        os.seteuid(user)
        for path in (models, models / "linear", models / "linear/2"):
            path.chmod(0o755)


@pytest.mark.parametrize("closed", ["", "linear", "linear/2", "linear/2/manifest.json", "linear/2/model.onnx"])
def test_what_this_user_cannot_read_is_told(unprivileged: Path, closed: str) -> None:
    """The folder, a policy, a version or a file; the remedy is a command."""
    (unprivileged / closed).chmod(0)
    if os.geteuid() == 0:  # whom no mode stops
        os.seteuid(NOBODY)
    found = look(unprivileged)
    subject = "models" if not closed else "/".join(closed.split("/")[:2])
    assert "ermission denied" in found[subject].state
    assert found[subject].remedy
    assert not closed or f"chmod -R a+rX {unprivileged / '/'.join(closed.split('/')[:2])}" in found[subject].remedy


def test_a_folder_that_is_none_gets_the_servers_own_sentence(whole: Path) -> None:
    """A policy's folder is given: what it is, and the folder to give instead."""
    (found,) = models_folder(whole / "linear", asked_for=True)
    assert found.state == "is one policy's folder"
    assert f"`rlway serve {whole}`" in found.remedy


def test_only_a_folder_that_was_asked_for_has_to_exist(tmp_path: Path) -> None:
    """Who has just installed RLway has no models, and nothing is wrong with that."""
    (usual,) = models_folder(tmp_path / "models", asked_for=False)
    assert usual.ok
    (asked,) = models_folder(tmp_path / "models", asked_for=True)
    assert asked.state == "no such folder"
    assert "rlway export" in asked.remedy
