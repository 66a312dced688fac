"""No command runs code because a bundle, a run or a server names it."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

import pytest

from rlway_client.contract.errors import RlwayError, UsageError
from rlway_client.envs.consent import trained_environment
from rlway_client.envs.find import find_environment


@pytest.mark.parametrize("name", ["CartPole-v1", "rlway/GridWorld-v0", "MinitaurBulletEnv-v0"])
def test_a_registered_environment_needs_no_consent(name: str) -> None:
    """It is installed here, and the name brings no code along."""
    assert trained_environment(name) == name


@pytest.mark.parametrize(
    "name", ["os:system", "evil.py:Env", "a folder/$(rm x).py:Env", "my_package:Maze-v0", "evil.py"]
)
def test_code_runs_only_if_the_user_names_it(name: str) -> None:
    """The sentence advises an option; given to a shell, that option names exactly this environment."""
    with pytest.raises(UsageError, match="never runs unasked") as refused:
        trained_environment(name)
    advised = shlex.split(str(refused.value))
    assert advised[-2:] == ["--env", name]
    assert trained_environment(name, advised[-1]) == name


@pytest.mark.parametrize(
    "form",
    ["{}.py:Maze", "{}.py:", "{}.py", "./{}.py", "{}:Maze", "{}:", "{}:Maze-v0", "{}", "{}/Maze-v0", ":{}", "{}.pyc"],
)
def test_no_form_of_a_name_runs_a_file_without_consent(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is taken for no code is looked up, and that imports no file of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("evil_maze.py").write_text("open('it ran', 'w')")
    with suppress(RlwayError):
        find_environment(trained_environment(form.format("evil_maze")))
    assert not Path("it ran").exists()


def test_the_users_name_goes_before_the_manifests() -> None:
    """Whichever of the two is code."""
    assert trained_environment("evil.py:Env", "CartPole-v1") == "CartPole-v1"
    assert trained_environment("CartPole-v1", "own.py:Env") == "own.py:Env"
    assert trained_environment(None, "own.py:Env") == "own.py:Env"


@pytest.mark.parametrize("name", [None, ""])
def test_an_environment_that_is_not_known_must_be_named(name: str | None) -> None:
    """The source did not say in which environment its policy was trained."""
    with pytest.raises(UsageError, match="name one with --env"):
        trained_environment(name)


@pytest.mark.parametrize("name", ["x:" + "y" * 5000, "x:\x1b[2J\n" * 30])
def test_a_name_that_a_terminal_cannot_show_is_not_shown(name: str) -> None:
    """A manifest may hold any text; the error is one short line without control characters."""
    with pytest.raises(UsageError) as refused:
        trained_environment(name)
    assert len(str(refused.value)) < 300
    assert str(refused.value).isprintable()
