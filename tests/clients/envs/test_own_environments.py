"""A user's own classes, wrappers and functions in place of an environment's name, and the refusal of others."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rlway_client.contract.errors import EnvironmentFault, UsageError
from rlway_client.envs.episodes import make_env, open_env, play_locally
from rlway_client.envs.find import find_environment
from rlway_client.envs.names import name_of, portable

FILE = """
import functools, gymnasium, sys
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import FlattenObservation

class Board(gymnasium.Env):
    observation_space, action_space = Box(0, 1, (3, 3)), Discrete(2)
    metadata = {"render_modes": ["rgb_array"]}
    def __init__(self, size=3, render_mode=None):
        self.size, self.render_mode = size, render_mode
        self.observation_space = Box(0, 1, (size, size))
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.low, {}
    def step(self, action):
        return self.observation_space.low, float(self.size), True, False, {}

class Flat(FlattenObservation):
    def __init__(self):
        super().__init__(Board())

class Unfilled(FlattenObservation): ...

class Sized(Board):
    def __init__(self, size):
        super().__init__(size)

class Odd(Board):
    metadata = None

class _Hidden(Board): ...

def make(): return Flat()
def sized(size, *more, colour="red", **rest): return Board(size)
def nothing(): ...
def wrong(): return SIZE
def many(): return gymnasium.make_vec("CartPole-v1", 2)
def quits(): raise SystemExit(3)
partial = functools.partial(sized, 5)
shorter = lambda: Board(2)
board = Board()
vector = type("Vector", (gymnasium.vector.VectorEnv,), {})
SIZE = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "boards.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("name", "shape"),
    [("Board", (3, 3)), ("Flat", (9,)), ("make", (9,)), ("partial", (5, 5)), ("shorter", (2, 2))],
)
def test_anything_that_makes_an_environment_without_arguments_is_taken(
    name: str, shape: tuple[int, ...], file: Path
) -> None:
    """A class, a wrapper, a function, a partial, a lambda."""
    assert make_env(f"{file}:{name}").observation_space.shape == shape
    played = play_locally(open_env(f"{file}:{name}"), lambda _: 1, 2, 0, lambda _: None)
    assert played.steps == 2


def test_a_function_in_a_module_is_taken(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As a class is, and nothing is printed about either."""
    monkeypatch.chdir(file.parent)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert make_env("boards:make").observation_space.shape == (9,)
    assert make_env("boards:Board").observation_space.shape == (3, 3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "says", "advice"),
    [
        ("Unfilled", "`def make(): return Unfilled(YourEnv())`", "return Unfilled(Board())"),
        ("Sized", "cannot be called without size; name a function", "return Sized(4)"),
        ("sized", "cannot be called without size; name a function", "return sized(4)"),
        ("board", "`def make(): return Board(…)`", "return Board()"),
        ("vector", "name the class or function of a single one", "return Board()"),
        ("many", "name the class or function of a single one", "return gymnasium.make('CartPole-v1')"),
        ("nothing", "expected that it makes an environment, got a NoneType; return one", "return Board()"),
        ("wrong", "expected that it makes an environment, got a int; return one", "return Board()"),
        ("SIZE", "or a function that makes such an environment, got a int", "return Board()"),
        ("Path", "expected a class derived from gymnasium.Env or TF-Agents' PyEnvironment", "return Board()"),
    ],
)
def test_anything_else_is_refused_with_advice_that_works(name: str, says: str, advice: str, file: Path) -> None:
    """One sentence; the test follows its advice, and the environment is made."""
    file.write_text(f"from pathlib import Path\n{FILE}\ndef made(): {advice}\n")
    with pytest.raises(EnvironmentFault) as refused:
        make_env(f"{file}:{name}")
    sentence = str(refused.value)
    assert says in sentence
    assert "\n" not in sentence
    assert len(sentence.replace(str(file), "boards.py")) <= 300
    make_env(f"{file}:made").reset(seed=0)


def test_metadata_that_are_no_dict_are_refused(file: Path) -> None:
    """gymnasium would raise an error of its own kind where it reads them."""
    with pytest.raises(EnvironmentFault, match="metadata: expected a dict, got a NoneType"):
        make_env(f"{file}:Odd")


@pytest.mark.parametrize("alone", ["{file}", "{file}:"])
def test_a_file_alone_is_answered_with_its_classes(alone: str, file: Path) -> None:
    """Without gymnasium's own classes and those whose names begin with an underscore."""
    with pytest.raises(EnvironmentFault) as refused:
        find_environment(alone.format(file=file))
    told = f"{file}: has Board, Flat, Unfilled, Sized, Odd; name one of them, such as {file}:Board."
    assert str(refused.value) == told


@pytest.mark.parametrize(("kind", "named"), [(":Maze", "Maze"), ("", "Class")])
def test_a_file_that_is_not_there_is_answered_with_how_to_name_another(kind: str, named: str) -> None:
    """A bundle names its file relative to the folder of its export, and that may be another one here."""
    with pytest.raises(EnvironmentFault) as refused:
        find_environment(f"envs/maze.py{kind}")
    assert str(refused.value) == (
        f"envs/maze.py: no such file here; if it lies elsewhere, say where: --env path/to/maze.py:{named}"
    )


@pytest.fixture
def boards(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file's classes, in a module that has already run; its name is the parameter."""
    module = ModuleType(request.param)
    monkeypatch.setitem(sys.modules, request.param, module)
    monkeypatch.setattr(sys, "path", [*sys.path])
    exec(FILE, vars(module))
    return module


@pytest.mark.parametrize("boards", ["boards", "__main__"], indirect=True)
def test_a_class_is_found_by_its_name(boards: ModuleType) -> None:
    """In an installed module, and in a notebook, which has no file."""
    name = name_of(boards.Board)
    assert name == f"{boards.__name__}:Board"
    assert isinstance(make_env(name).unwrapped, boards.Board)


@pytest.mark.parametrize("boards", ["__main__"], indirect=True)
def test_a_class_of_the_program_itself_has_its_file(boards: ModuleType, tmp_path: Path) -> None:
    """A bundle can then be played by another program. This one does not run a second time to find it."""
    program = tmp_path / "program.py"
    program.write_text("raise SystemExit('it ran again')")
    boards.__file__ = str(program)
    assert name_of(boards.Board) == f"{program}:Board"
    assert isinstance(make_env(f"{program}:Board").unwrapped, boards.Board)


def test_what_no_name_finds_is_refused() -> None:
    """A class in a function, and an environment: several are needed."""

    class Local: ...

    for env, says in ((Local, "is not found by this name in .*; define it at the top"), (3, "a class, got int")):
        wrong: Any = env
        with pytest.raises(UsageError, match=f"^env: .*{says}"):
            name_of(wrong)
    assert name_of("CartPole-v1") == "CartPole-v1"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("{here}/envs/maze.py:Maze", "envs/maze.py:Maze"),
        ("{here}/../maze.py:Maze", "maze.py:Maze"),
        ("envs/maze.py:Maze", "envs/maze.py:Maze"),
        ("my.maze:Maze-v0", "my.maze:Maze-v0"),
        ("CartPole-v1", "CartPole-v1"),
    ],
)
def test_a_name_for_a_bundle_has_no_absolute_path(
    name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is relative to the folder in which the export runs, or the file's name; other names stay as they are."""
    monkeypatch.chdir(tmp_path)
    assert portable(name.format(here=tmp_path)) == expected


def test_a_file_without_classes_says_what_to_do(file: Path) -> None:
    """The test then does it."""
    file.write_text("import gymnasium\n")
    with pytest.raises(EnvironmentFault, match=r"write one, or name a function that makes one: .*boards\.py:make\."):
        find_environment(str(file))
    other = file.with_name("others.py")
    other.write_text("import gymnasium\ndef make(): return gymnasium.make('CartPole-v1')\n")
    make_env(f"{other}:make").reset(seed=0)


def test_a_file_that_ends_the_program_is_an_error(file: Path) -> None:
    """A script without a guard would end the command with an exit status of its own, and without a sentence."""
    file.write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(EnvironmentFault, match="could not be imported: SystemExit: 0"):
        find_environment(f"{file}:Board")


@pytest.mark.skipif(find_spec("tensorflow") is not None, reason="TensorFlow is installed here")
@pytest.mark.parametrize("package", ["tensorflow", "tf_agents.environments"])
@pytest.mark.parametrize("inside", [False, True])
def test_where_tf_agents_is_missing_one_sentence_says_where_to_play(inside: bool, package: str, tmp_path: Path) -> None:
    """Whether the file imports it, or the function in it."""
    path = tmp_path / "cards.py"
    path.write_text(f"def make():\n    import {package}\n" if inside else f"import {package}\ndef make(): ...\n")
    with pytest.raises(UsageError, match=rf"needs {package.split('.')[0]}, .*'rlway-train'.*\.venv-train"):
        make_env(f"{path}:make")


def test_tensorflow_is_imported_only_by_an_environment_that_needs_it(file: Path) -> None:
    """Nor is TF-Agents, if they are installed."""
    code = f"import sys; from rlway_client.envs.episodes import make_env; make_env({f'{file}:Flat'!r}); "
    code += "print([name for name in ('tensorflow', 'tf_agents') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
