"""`rlway new`: a folder that appears whole, with files that name the project; tests/e2e runs what they say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rlway_client.common.installations import Installation, this_installation
from rlway_client.project.writing import TEMPLATE, write_project
from tests.clients.conftest import MISUSED, Fail, Succeed

FILES = {
    ".gitignore",
    "Makefile",
    "README.md",
    "local.mk",
    "requirements-serve.txt",
    "requirements-train.txt",
    "test_my_boat.py",
    "my_boat.py",
}


@pytest.fixture(autouse=True)
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_file_has_the_projects_names(at: Path, succeed: Succeed) -> None:
    """No name of the template is left, and all files are there."""
    said = succeed("new", "my_boat")
    assert "make train export" in said
    written = {path.name: path.read_text() for path in (at / "my_boat").iterdir()}
    assert set(written) == FILES
    assert len(list(TEMPLATE.iterdir())) == len(FILES) - 1
    for name, text in written.items():
        assert "my_project" not in text, name
        assert "MyProject" not in text, name
    assert "class MyBoat(gymnasium.Env):" in written["my_boat.py"]
    assert "ENV := my_boat.py:MyBoat" in written["Makefile"]
    assert f"RLWAY_SERVE ?= {this_installation().command}" in written["local.mk"]


def test_the_environment_is_short() -> None:
    """About forty lines, so that it can be replaced."""
    assert len((TEMPLATE / "my_project.py").read_text().splitlines()) <= 40


def test_a_path_is_taken_and_an_empty_folder_filled(at: Path, succeed: Succeed) -> None:
    """Its last part is the name."""
    (at / "deep/my_boat").mkdir(parents=True)
    succeed("new", at / "deep/my_boat")
    succeed("new", "work/of/today/my_boat")
    assert {path.name for path in (at / "deep/my_boat").iterdir()} == FILES
    assert {path.name for path in (at / "work/of/today/my_boat").iterdir()} == FILES


@pytest.mark.parametrize("name", ["my-boat", "random", "class", ".", "2"])
def test_a_name_that_is_none_leaves_nothing(at: Path, name: str, fail: Fail) -> None:
    assert "how about '" in fail("new", name, status=MISUSED)
    assert list(at.iterdir()) == []


def test_what_is_there_stays_as_it_is(at: Path, fail: Fail) -> None:
    """A folder that holds something, a file, a link that leads nowhere, a file above: each in one sentence."""
    (at / "my_boat").mkdir()
    (at / "my_boat/mine").write_text("mine")
    (at / "file").write_text("mine")
    (at / "elsewhere").mkdir()
    (at / "link").symlink_to("elsewhere")
    before = sorted(at.rglob("*"))
    for name in ("my_boat", "file", "link"):
        assert f"{name}: is there already, and is no empty folder" in fail("new", name, status=MISUSED)
    assert "cannot be written" in fail("new", "file/my_boat", status=MISUSED)
    assert sorted(at.rglob("*")) == before
    assert (at / "my_boat/mine").read_text() == "mine"


def test_nothing_half_written_is_left(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full at the third file: neither the folder nor a draft of it stays, nor a folder above."""
    writes: list[Path] = []
    write_text = Path.write_text

    def fail_third(path: Path, text: str) -> int:
        writes.append(path)
        if len(writes) == 3:
            raise OSError(28, "No space left on device")
        return write_text(path, text)

    monkeypatch.setattr(Path, "write_text", fail_third)
    with pytest.raises(Exception, match="cannot be written: No space left on device"):
        write_project(at / "work/my_boat", None, None)
    assert len(writes) == 3
    assert all(path.parent.name.startswith(".my_boat.") for path in writes)
    assert list(at.iterdir()) == []


def test_make_finds_commands_whose_paths_have_signs(at: Path) -> None:
    """Of make and of the shell; and a variable that is given wins over local.mk."""
    odd = at / "it's $HOME #1 (new)/bin"
    odd.mkdir(parents=True)
    command = odd / "rlway"
    command.write_text('#!/bin/sh\necho "ran $0 with $*"\n')
    command.chmod(0o755)
    found = Installation(command, {})
    write_project(at / "my_boat", found, found)

    def make(*words: str) -> str:
        done = subprocess.run(["make", "-s", *words], cwd=at / "my_boat", capture_output=True, text=True, check=True)
        return done.stdout

    assert make("play", "PORT=9") == (
        f"ran {command} with play --url http://127.0.0.1:9 --policy my_boat --env my_boat.py:MyBoat\n"
    )
    assert make("serve") == f"ran {command} with serve models --port 8080\n"
    assert make("play", "RLWAY_TRAIN=echo").startswith("play --url")
    (at / "my_boat/local.mk").unlink()
    usual = at / "my_boat/.venv/bin"
    usual.mkdir(parents=True)
    (usual / "rlway").symlink_to(command)
    assert make("serve") == "ran .venv/bin/rlway with serve models --port 8080\n"


def test_export_without_a_run_says_what_to_do(at: Path) -> None:
    write_project(at / "my_boat", None, None)
    done = subprocess.run(["make", "-s", "export"], cwd=at / "my_boat", capture_output=True, text=True)
    assert done.returncode != 0
    assert "no finished run below runs/; make train first" in done.stderr
    assert not (at / "my_boat/local.mk").exists()
