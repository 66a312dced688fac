"""An environment by its name, whoever wrote it.

In:      a name, in one of five forms:
           CartPole-v1, rlway/GridWorld-v0     registered in gymnasium
           MinitaurBulletEnv-v0                one of PyBullet's, where it is installed
           my_package.my_module:Maze-v0        registered by a module when it is imported
           my_package.my_module:Maze           a class in a module; the current folder's modules, too
           envs/maze.py:Maze                   a class in a file
Out:     gymnasium's EnvSpec, which `gymnasium.make` takes in place of an id.
Refuses: a name that leads nowhere (EnvironmentFault names near ones), gymnasium not installed (UsageError).
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rlway_client.errors import EnvironmentFault, UsageError

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

Adapt = Callable[[Any], Any]  # an object that is no gymnasium.Env -> what makes one of it, or None


def find_environment(name: str, adapt: Adapt = lambda _: None) -> EnvSpec:
    """The environment of this name. `adapt` may know further kinds of classes than gymnasium.Env."""
    try:
        import gymnasium
    except ModuleNotFoundError:
        raise UsageError("playing needs gymnasium: pip install 'rlway-client[play]'.") from None
    from rlway_client.worlds import register_worlds

    register_worlds()
    source, _, attribute = name.rpartition(":")
    if source:
        module = _load_file(source) if source.endswith(".py") else _load_module(source)
        known_in_gymnasium = attribute in gymnasium.registry and not source.endswith(".py")
        if hasattr(module, attribute) or not known_in_gymnasium:
            return _class_spec(name, module, attribute, adapt)
    try:
        return gymnasium.spec(attribute)
    except gymnasium.error.Error as error:
        if not source and "bullet" in name.lower():
            from rlway_client.worlds.bullet import bullet_spec

            return bullet_spec(name)
        raise EnvironmentFault(f"there is no environment {name!r}{_remedy(attribute, error)}") from error


def sentence(error: BaseException) -> str:
    """Somebody else's exception, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def near(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that look like this one, whatever the case."""
    lower = {one.lower(): one for one in known}
    return [lower[found] for found in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]


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
    if here not in sys.path:  # as `python -m` has it; the installed command does not
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise EnvironmentFault(f"{name}: could not be imported: {sentence(error)}") from error


def _load_file(path: str) -> ModuleType:
    file = Path(path)
    if not file.is_file():
        raise EnvironmentFault(f"{path}: no such file.")
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
    if folder not in sys.path:  # as for a script: the modules beside it
        sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise EnvironmentFault(f"{path}: could not be imported: {sentence(error)}") from error
    return module


def _class_spec(name: str, module: ModuleType, attribute: str, adapt: Adapt) -> EnvSpec:
    from gymnasium.envs.registration import EnvSpec

    found = getattr(module, attribute, None)
    if found is None:
        classes = [other for other, value in vars(module).items() if _is_environment(value)]
        listed = difflib.get_close_matches(attribute, classes, n=3, cutoff=0.4) or classes[:3]
        hint = f"; its environments: {', '.join(listed)}" if listed else ", and no gymnasium.Env at all"
        raise EnvironmentFault(f"{name}: the module has no {attribute!r}{hint}.")
    entry_point = found if _is_environment(found) else adapt(found)
    if entry_point is None:
        what = f"class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
        raise EnvironmentFault(f"{name}: expected a class derived from gymnasium.Env, got {what}.")
    # gymnasium splits an id at its colon, so the class's own name is the id; we say `name` ourselves.
    return EnvSpec(id=f"{attribute}-v0", entry_point=entry_point)


def _is_environment(value: Any) -> bool:
    import gymnasium

    return (
        isinstance(value, type) and issubclass(value, gymnasium.Env) and value.__module__.split(".")[0] != "gymnasium"
    )
