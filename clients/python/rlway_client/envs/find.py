"""Finds an environment by its name, whoever wrote it.

In:      a name, in one of six forms:
           CartPole-v1, rlway/GridWorld-v0     registered in gymnasium
           MinitaurBulletEnv-v0                one of PyBullet's, where it is installed
           MinAtar/Breakout-v1, ALE/Pong-v5    a game of MinAtar's or Atari's, where they are installed
           my_package.my_module:Maze-v0        registered by a module when it is imported
           my_package.my_module:Maze           a class in a module, which may lie in the current folder
           envs/maze.py:Maze                   a class in a file
         The class derives from gymnasium.Env or TF-Agents' PyEnvironment; it may also be a function that makes one.
Out:     gymnasium's EnvSpec, which `gymnasium.make` takes in place of an id.
Refuses: a name that stands for no environment (EnvironmentFault, which suggests others); gymnasium or TF-Agents not
         installed (UsageError).
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from rlway_client.common.muting import quiet_tensorflow
from rlway_client.common.packages import missing
from rlway_client.common.quote import named
from rlway_client.common.suggest import near
from rlway_client.contract.errors import EnvironmentFault, RlwayError, UsageError

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec


def find_environment(name: str) -> EnvSpec:
    """The environment of this name. Raises EnvironmentFault or UsageError."""
    try:
        import gymnasium
    except ModuleNotFoundError:
        raise UsageError(missing("playing", "gymnasium", "rlway-client[play]")) from None
    from rlway_client.envs.worlds import register_worlds

    register_worlds()
    if name.startswith("MinAtar/") and ":" not in name:
        from rlway_client.envs.worlds.minatar import minatar_spec

        return minatar_spec(name)
    if name.startswith("ALE/") and ":" not in name:
        from rlway_client.envs.worlds.atari import atari_spec

        return atari_spec(name)
    source, _, attribute = name.rpartition(":")
    if attribute.endswith(".py"):  # a file, without a class
        source, attribute = name, ""
    if source.endswith(".py"):
        _check_file(source, attribute or "Class")
        if not attribute:
            raise EnvironmentFault(_which(source))
    if source:
        module = load_code(source)
        known_in_gymnasium = attribute in gymnasium.registry and not source.endswith(".py")
        if hasattr(module, attribute) or not known_in_gymnasium:
            return _own_spec(name, module, attribute)
    try:
        return _registered_spec(name, attribute)
    except gymnasium.error.Error as error:
        if not source and "bullet" in name.lower():
            from rlway_client.envs.worlds.bullet import bullet_spec

            return bullet_spec(name)
        raise EnvironmentFault(f"there is no environment {name!r}{_remedy(attribute, error)}") from error


def load_code(source: str) -> ModuleType:
    """A module, or a file whose name ends in .py, once it has run. Raises EnvironmentFault or UsageError."""
    return _load_file(source) if source.endswith(".py") else _load_module(source)


def sentence(error: BaseException) -> str:
    """An exception of another library on one line; an RlwayError is a sentence already."""
    if isinstance(error, RlwayError):
        return str(error).rstrip(".")
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def _remedy(name: str, error: Exception) -> str:
    import gymnasium

    alike = near(name, gymnasium.registry)
    if alike:
        return f"; did you mean {' or '.join(alike)}?"
    if isinstance(error, gymnasium.error.NamespaceNotFound):
        return "; a module that registers it goes before it: module:Id."
    return "; name one of gymnasium's, or module:Class or path/to/file.py:Class for your own."


def _load_module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:  # as with `python -m`; the installed command does not do it
        sys.path.insert(0, here)
    quiet_tensorflow()
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _unimportable(name, error) from error


def _load_file(path: str) -> ModuleType:
    file = Path(path)
    if not file.is_file():
        raise EnvironmentFault(f"{path}: no such file.")
    main = sys.modules["__main__"]
    if Path(getattr(main, "__file__", None) or "").resolve() == file.resolve():
        return main  # the program itself, which would run a second time
    name = f"rlway_environment_{file.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(file.resolve()):
        return loaded
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    assert spec is not None  # the name ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up by its name
    folder = str(file.parent.resolve())
    if folder not in sys.path:  # as for a script, which can import the modules beside it
        sys.path.insert(0, folder)
    quiet_tensorflow()
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _unimportable(path, error) from error
    return module


def _check_file(path: str, attribute: str) -> None:
    if not Path(path).is_file():
        elsewhere = f"path/to/{Path(path).name}:{attribute}"
        raise EnvironmentFault(f"{path}: no such file here; if it lies elsewhere, say where: --env {elsewhere}")


def _unimportable(what: str, error: BaseException) -> EnvironmentFault:
    from rlway_client.envs.maker import explain_missing

    if isinstance(error, ModuleNotFoundError):
        explain_missing(what, error)
    return EnvironmentFault(f"{what}: could not be imported: {sentence(error)}")


def _registered_spec(name: str, registered: str) -> EnvSpec:
    """What gymnasium has under this id, which may also be a class of TF-Agents' or a wrapper."""
    import gymnasium

    from rlway_client.envs.maker import Maker

    spec = gymnasium.spec(registered)
    kind = spec.entry_point
    if not callable(kind) or (
        isinstance(kind, type) and issubclass(kind, gymnasium.Env) and not issubclass(kind, gymnasium.Wrapper)
    ):
        return spec
    return replace(spec, entry_point=Maker(name, kind, spec.kwargs))


def _own_spec(name: str, module: ModuleType, attribute: str) -> EnvSpec:
    from gymnasium.envs.registration import EnvSpec

    from rlway_client.envs.maker import Maker

    found = getattr(module, attribute, None)
    if found is None:
        classes = _environments_in(module)
        listed = difflib.get_close_matches(attribute, classes, n=3, cutoff=0.4) or classes[:3]
        hint = f"; its environments: {', '.join(listed)}" if listed else ", and no environment at all"
        raise EnvironmentFault(f"{name}: the module has no {attribute!r}{hint}.")
    # gymnasium splits an id at its colon, so the class's own name is the id; our messages say `name`.
    return EnvSpec(id=f"{attribute}-v0", entry_point=Maker(name, found))


def _environments_in(module: ModuleType) -> list[str]:
    from rlway_client.envs.maker import is_environment

    return [name for name, value in vars(module).items() if is_environment(value) and not name.startswith("_")]


def _which(path: str) -> str:
    """The sentence for a file that was named without a class."""
    classes = _environments_in(_load_file(path))
    if not classes:
        return (
            f"{path}: has no class derived from gymnasium.Env or TF-Agents' PyEnvironment; write one, or name a "
            f"function that makes one: {path}:make."
        )
    return f"{path}: has {named(classes)}; name one of them, such as {path}:{classes[0]}."
