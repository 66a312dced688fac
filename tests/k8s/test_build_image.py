"""What `k8s/build-image`, which `make image` runs, promises: it finds a builder, and tells it everything."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "k8s" / "build-image"


def test_a_docker_without_its_daemon_is_passed_over(tmp_path: Path) -> None:
    """The first builder that works is taken, not the first that is installed."""
    _fake(tmp_path, "docker", works=False)
    _fake(tmp_path, "podman", works=True)
    _fake(tmp_path, "buildah", works=True)
    result = _build(tmp_path)
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1].startswith("podman build --format docker --file Dockerfile --target serve ")


def test_no_builder_is_one_sentence(tmp_path: Path) -> None:
    """It says what to install."""
    result = _build(tmp_path)
    assert result.returncode == 2
    assert result.stderr == (
        "build-image: no docker (with its daemon running), podman or buildah here; install one of them\n"
    )


@pytest.mark.parametrize("name", ["serve", "train"])
def test_an_image_is_named_after_its_target_and_version(tmp_path: Path, name: str) -> None:
    """So that the manifests find it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    _fake(tmp_path, "docker", works=True)
    words = _build(tmp_path, name).stdout.splitlines()[-1].split()
    assert words[words.index("--tag") + 1] == f"rlway-{name}:{version}"
    assert f"VERSION={version}" in words
    assert "--format" not in words  # docker has no such option


def test_an_unknown_target_is_refused(tmp_path: Path) -> None:
    """Before anything is built."""
    _fake(tmp_path, "docker", works=True)
    result = _build(tmp_path, "srve")
    assert result.returncode == 2
    assert result.stderr == "build-image: no target 'srve'; expected serve or train\n"


def test_the_builder_can_be_chosen_with_its_options(tmp_path: Path) -> None:
    """What a machine without mounts and namespaces needs can be said."""
    _fake(tmp_path, "docker", works=True)
    _fake(tmp_path, "buildah", works=True)
    result = _build(tmp_path, BUILDER="buildah --storage-driver vfs", BUILDER_ARGS="--isolation chroot")
    command = result.stdout.splitlines()[-1]
    assert command.startswith(
        "buildah --storage-driver vfs build --isolation chroot --format docker --file Dockerfile "
    )


def test_pips_settings_reach_the_build(tmp_path: Path) -> None:
    """The index as an argument; the certificate and the configuration, which may hold a password, as secrets."""
    _fake(tmp_path, "docker", works=True)
    (tmp_path / "ca.pem").touch()
    (tmp_path / "pip.conf").touch()
    command = _build(
        tmp_path,
        PIP_INDEX_URL="index.example",
        PIP_CERT=str(tmp_path / "ca.pem"),
        PIP_CONFIG_FILE=str(tmp_path / "pip.conf"),
        BASE_IMAGE="localhost/base",
    ).stdout.splitlines()[-1]
    assert "--build-arg PIP_INDEX_URL=index.example" in command
    assert "--build-arg BASE_IMAGE=localhost/base" in command
    assert f"--secret id=ca,src={tmp_path}/ca.pem --build-arg PIP_CERT=/run/secrets/ca" in command
    assert f"--secret id=pip.conf,src={tmp_path}/pip.conf" in command


def _fake(folder: Path, name: str, *, works: bool) -> None:
    """A builder that prints how it was called."""
    script = folder / name
    check = 'case $1 in info | --version) exit 0 ;; esac; echo "$(basename "$0") $*"' if works else "exit 1"
    script.write_text(f"#!/bin/sh\n{check}\n")
    script.chmod(0o755)


def _build(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the script where only the fakes in a folder, and what the script itself uses, can be found."""
    for tool in ("dirname", "basename", "sed", "head", "git"):
        found = shutil.which(tool)
        assert found is not None or tool == "git"
        if found is not None:
            (folder / tool).symlink_to(found)
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), *arguments],
        env={"PATH": str(folder), "HOME": str(folder), **environment},
        cwd=os.sep,
        capture_output=True,
        text=True,
        timeout=120,
    )
