"""Which environments of this machine hold RLway: real folders as venv and pip make them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlway_client.common.installations import NAMES, other_installations, this_installation


def environment(folder: Path, **packages: str) -> Path:
    """An environment with the metadata of these packages, and a command."""
    for name, version in packages.items():
        metadata = folder / f"lib/python3.11/site-packages/{name}-{version}.dist-info/METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")
    command = folder / "bin/rlway"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    return command


def test_this_environment_has_its_own_packages() -> None:
    here = this_installation()
    assert "rlway-client" in here.packages
    assert here.command.is_file()
    assert here.python.is_file()


def test_environments_are_found_on_path_and_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, through links too; one without RLway's packages is none, and neither is this one."""
    training = environment(tmp_path / "work/.venv-train", rlway_client="1.0", rlway_train="2.0", other="3.0")
    environment(tmp_path / "work/.venv", other="1.0")
    piped = environment(tmp_path / "pipx/venvs/rlway", rlway_client="1.5", rlway_serve="1.5")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/rlway").symlink_to(piped)
    (tmp_path / "work/venv").symlink_to(tmp_path / "work/.venv-train")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = {one.command: one.packages for one in other_installations() if tmp_path in one.command.parents}
    assert found == {
        piped: {"rlway-client": "1.5", "rlway-serve": "1.5"},
        training: {"rlway-client": "1.0", "rlway-train": "2.0"},
    }
    assert {".venv", ".venv-train"} <= set(NAMES)
    assert this_installation().command not in [one.command for one in other_installations()]
